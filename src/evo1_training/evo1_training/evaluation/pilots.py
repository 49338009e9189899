"""Who moves the arm in a trial: a policy through the loop that also runs live, or the expert.

Must not import ROS or torch.
"""

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import ActionChunk, Guidance, Trajectory
from evo1_policy.control.policy_loop import PolicyLoop
from evo1_policy.control.signals import (
    InferenceDone,
    InferenceRequest,
    LoopInput,
    LoopSettings,
    LoopStatus,
    Request,
)
from evo1_policy.observation import JointSample, Observation
from evo1_policy.robot_config import RobotConfig
from evo1_sim.experts import Expert
from evo1_sim.world import World

Vector = npt.NDArray[np.float64]
Images = Mapping[str, npt.NDArray[np.uint8]]

LOOP_STEPS = 3  # of the policy loop between two frames: about its 100 Hz on a robot


class Infers(Protocol):
    """What a policy is to a pilot."""

    @property
    def horizon(self) -> int:
        """H, actions of a chunk."""
        ...

    def infer(self, observation: Observation, guidance: Guidance | None = None) -> ActionChunk:
        """Predict the actions that follow an observation, beginning with `guidance`."""
        ...


class Pilot(ABC):
    """Gives a joint target for every frame of a trial."""

    @abstractmethod
    def begin(self, world: World, instruction: str) -> None:
        """Start a trial in a world that was just reset.

        Raises:
            ExpertError: the start state is out of the expert's reach.
        """

    @abstractmethod
    def act(self, images: Images, state: Vector, now_ns: int) -> Vector:
        """Where the joints (D,) [rad] shall be one step after now, seeing what is now."""

    @property
    def stopped(self) -> tuple[str, str]:
        """Code and message of what ended the motion for good; ('', '') while it goes on."""
        return "", ""

    @property
    def status(self) -> LoopStatus | None:
        """Counters of the policy loop, where there is one."""
        return None

    @property
    def inference_ms(self) -> float | None:
        """Median time of an inference on this machine, since begin [ms]."""
        return None


class PolicyPilot(Pilot):
    """Runs a policy as the policy node does: the same loop, splices, checks and stop reasons.

    Only the clock is simulated: a chunk arrives `latency_ns` after its observation's frame,
    however long this machine took, so that a trial gives the same result on every machine.

    Args:
        policy: what infers.
        robot: its robot file.
        latency_ns: from frame to chunk [ns], or what gives it for each inference.
        settings: of the loop.
        jitter_ns: by so much the latency is more or less, drawn for each inference by the seed of
            the scene [ns].
    """

    def __init__(
        self,
        policy: Infers,
        robot: RobotConfig,
        *,
        latency_ns: int | Callable[[], int],
        settings: LoopSettings | None = None,
        jitter_ns: int = 0,
    ) -> None:
        self._policy = policy
        self._jitter_ns = jitter_ns
        self._robot = robot
        self._latency_ns = latency_ns if callable(latency_ns) else lambda: latency_ns
        self._settings = settings or LoopSettings()

    def begin(self, world: World, instruction: str) -> None:
        """See Pilot."""
        self._instruction = instruction
        self._loop = PolicyLoop(self._robot, self._settings, self._policy.horizon)
        self._requests: tuple[Request, ...] = (Request.START,)
        self._flying: InferenceDone | None = None
        self._executing: Trajectory | None = None
        self._start = world.targets
        self._status: LoopStatus | None = None
        self._took_ms: list[float] = []
        self._rng = np.random.default_rng([world.seed, 0x1A7E])

    def act(self, images: Images, state: Vector, now_ns: int) -> Vector:
        """See Pilot."""
        observation = Observation(
            images=images,
            state=state,
            instruction=self._instruction,
            stamp_ns=now_ns,
            received_ns=now_ns,
            skew_ns=0,
        )
        measured = JointSample(positions=state, stamp_ns=now_ns)
        step_ns = self._robot.step_ns
        for part in range(LOOP_STEPS):
            self._step(observation, measured, now_ns + part * step_ns // LOOP_STEPS)
        if self._executing is None:
            return self._start
        return self._executing.sample(now_ns + step_ns)[0]

    @property
    def executing(self) -> Trajectory | None:
        """What the arm is commanded; None before the first chunk."""
        return self._executing

    @property
    def stopped(self) -> tuple[str, str]:
        """See Pilot."""
        reason = self._status.reason if self._status else None
        if reason is None or reason.code.recovers:
            return "", ""
        return reason.code.value, reason.message

    @property
    def status(self) -> LoopStatus | None:
        """See Pilot."""
        return self._status

    @property
    def inference_ms(self) -> float | None:
        """See Pilot."""
        return statistics.median(self._took_ms) if self._took_ms else None

    def _step(self, observation: Observation, measured: JointSample, now_ns: int) -> None:
        result = self._flying
        if result is not None and result.finished_ns > now_ns:
            result = None
        if result is not None:
            self._flying = None
        output = self._loop.step(
            LoopInput(
                now_ns=now_ns,
                observation=observation,
                measured=measured,
                inference=result,
                requests=self._requests,
            )
        )
        self._requests = ()
        self._status = output.status
        if output.command is not None:
            self._executing = output.command.trajectory
        if output.infer is not None:
            self._flying = self._infer(output.infer, now_ns)

    def _infer(self, request: InferenceRequest, now_ns: int) -> InferenceDone:
        began = time.perf_counter()
        chunk = self._policy.infer(request.observation, request.guidance)
        self._took_ms.append((time.perf_counter() - began) * 1e3)
        return InferenceDone(
            request_id=request.request_id,
            chunk=chunk,
            started_ns=now_ns,
            finished_ns=now_ns + self._drawn_latency_ns(),
        )

    def _drawn_latency_ns(self) -> int:
        latency_ns = self._latency_ns()
        if self._jitter_ns:
            latency_ns += round(self._rng.uniform(-1.0, 1.0) * self._jitter_ns)
        return max(latency_ns, 0)


class ExpertPilot(Pilot):
    """The scripted expert in place of a policy: shows that the tasks can be done."""

    def begin(self, world: World, instruction: str) -> None:
        """See Pilot."""
        del instruction  # it knows the task
        self._plan = Expert(world).plan()
        self._next = 0

    def act(self, images: Images, state: Vector, now_ns: int) -> Vector:
        """See Pilot."""
        del images, state, now_ns  # it planned once, from the start state
        target: Vector = self._plan[min(self._next, len(self._plan) - 1)]
        self._next += 1
        return target
