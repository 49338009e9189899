"""Between activate and deactivate: streams, policy loop and inference thread, stepped by events.

Frames and joints come on the reading thread, results on the inference thread, requests and the
watchdog on the executor's: whoever has news steps the loop at once, under one lock.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from evo1_msgs.msg import PolicyStatus, StreamStatus

from evo1_policy.action_chunk import Floats
from evo1_policy.control.held import HeldStates
from evo1_policy.control.meters import ChunkTimes, LatencyLog, SeamLog
from evo1_policy.control.policy_loop import LoopSettings, PolicyLoop
from evo1_policy.control.signals import (
    InferenceDone,
    InferenceFailed,
    LoopInput,
    LoopOutput,
    LoopState,
    LoopStatus,
    Request,
    StopCode,
    TakeoverMode,
    Transition,
)
from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.control.watchdog import DeadMan
from evo1_policy.kinematics.config import collisions_text
from evo1_policy.observation import Missing, Observation
from evo1_policy.perception.frames import Frame
from evo1_policy.perception.streams import Streams
from evo1_policy.robot_config import RobotConfig
from evo1_policy.ros.inference_thread import InferenceThread, Inferred
from evo1_policy.ros.outputs import Outputs
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.status import describe, diagnostics_message

QUIET_S = 0.03
NEXT_FRAME_NS = (
    80_000_000  # all but the slowest cameras have a fresher one by then: worth the wait
)
HELD_S = 0.015


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What stays the same while the node is configured."""

    robot: RobotConfig  # with resolved topics
    model_hash: str
    horizon: int
    settings: LoopSettings


class Runner:
    """Steps the policy loop on every image, result, request and timer tick.

    Args:
        setup: the configured robot and model.
        outputs: where commands and reports go.
        inference: the thread that runs the policy.
        now_ns: the node's clock.
        instruction: what to do at first.
        speed: share of the policy's own pace, at first.
        on_change: told the status whenever state or reason changed, on any thread.
        on_refused: told why a person's target was not followed, on any thread.
        heard_twice: names two that speak in turn on a topic that is listened to; None: nobody.
        dead_man: the button that has to be held, if any.
    """

    def __init__(
        self,
        *,
        setup: Setup,
        outputs: Outputs,
        inference: InferenceThread,
        now_ns: Callable[[], int],
        instruction: str,
        speed: float,
        on_change: Callable[[LoopStatus], None],
        on_refused: Callable[[str], object],
        heard_twice: Callable[[], str | None],
        dead_man: DeadMan | None,
    ) -> None:
        self._instruction, self._speed = instruction, speed
        self._transition: Transition | None = None  # to it; None: the settings'
        self.chunks_published = 0
        self._lock = threading.RLock()
        self._streams = Streams(setup.robot)
        self._setup = setup
        self._outputs = outputs
        self._inference = inference
        self._now_ns = now_ns
        self._loop = PolicyLoop(setup.robot, setup.settings, horizon=setup.horizon)
        self._stepped_s = 0.0  # monotonic
        self._requests: list[Request] = []
        self._latency = LatencyLog()
        self._seams = SeamLog()
        self._last_ns = 0
        self._newest: Observation | None = None
        self._held = HeldStates(
            setup.robot.joint_names, [output.joints for output in setup.robot.command]
        )
        self._controller_problem: str | None = None
        self._arm_fault: str | None = None
        self._on_change = on_change
        self._on_refused = on_refused
        self._heard_twice = heard_twice
        self._dead_man = dead_man
        self._targets: list[TeleopTarget] = []
        self._going_home = False
        self._unsettled = False  # a frame came in that no observation was made of yet
        self.status = LoopStatus(state=LoopState.IDLE, reason=None, lead_ms=0.0)

    def request(self, request: Request) -> LoopStatus:
        """Ask something of the loop, step it, and return where it stands then."""
        with self._lock:
            self._requests.append(request)
            return self.step()

    def set_instruction(self, instruction: str, transition: Transition | None) -> LoopStatus:
        """Change what to do, and step the loop; None changes as the settings say."""
        with self._lock:
            self._instruction, self._transition = instruction, transition
            return self.step()

    def set_speed(self, speed: float) -> None:
        """Change the share of the policy's own pace, and step the loop."""
        with self._lock:
            self._speed = speed
            self.step()

    def report_fault(self, fault: str) -> None:
        """The arm's driver says why it has stopped; empty: it has not. Step the loop."""
        with self._lock:
            self._arm_fault = fault or None
            self.step()

    def add_target(self, target: TeleopTarget) -> LoopStatus:
        """Take in what a person asks of the arm, and step the loop."""
        with self._lock:
            self._targets.append(target)
            return self.step()

    def add_buttons(self, buttons: Sequence[int]) -> None:
        """Take in the gamepad's buttons, and step the loop where that changes something."""
        if self._dead_man is None:
            return
        with self._lock:
            before = self._released()
            self._dead_man.hear(buttons, time.monotonic_ns())
            if (before is None) != (self._released() is None):
                self.step()

    def add_image(self, camera: str, frame: Frame, *, stamp_ns: int, received_ns: int) -> None:
        """Keep a frame as it came, and step the loop if it completes an observation."""
        with self._lock:
            self._streams.add_image(camera, frame, stamp_ns=stamp_ns, received_ns=received_ns)
            if self._streams.frames_settled():
                self._unsettled = True
                self.step()

    def add_joints(
        self,
        names: Sequence[str],
        positions: Floats,
        *,
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        """Keep joint positions (n,) [rad], and step the loop if frames waited for them."""
        with self._lock:
            self._streams.add_joints(names, positions, stamp_ns=stamp_ns, received_ns=received_ns)
            if self._unsettled:
                self.step()

    def add_held(self, output: int, message: Any, received_ns: int) -> None:
        """Keep what an output's controller says that it commands [rad, rad/s]."""
        with self._lock:
            self._held.add(output, message, received_ns)
            # what it left is seen here first, and before the next chunk is sent
            if time.monotonic() - self._stepped_s > HELD_S:
                self.step()

    def reject(self, stream: str, problem: str) -> None:
        """Count a message that could not be decoded."""
        with self._lock:
            self._streams.reject(stream, problem)

    def step(self) -> LoopStatus:
        """Look at everything once and do what the loop decides."""
        with self._lock:
            self._stepped_s = time.monotonic()
            inferred = self._inference.take()
            outcome = inferred.outcome if inferred else None
            if isinstance(outcome, InferenceFailed) and outcome.damaged is not None:
                self._streams.spoil(outcome.damaged)
            now_ns = self._now_ns()
            output = self._loop.step(self._inputs(now_ns, inferred))
            planned_ns = self._now_ns()
            if output.command is not None:
                self._outputs.send(output.command)
            published_ns = self._now_ns()
            if output.infer is not None:
                self._inference.submit(output.infer)
            if output.chunk is not None:
                self._report_chunk(output, inferred, planned_ns, published_ns)
            self._tell(output.status)
            if output.refused:
                self._on_refused(output.refused)
            return output.status

    def step_if_quiet(self) -> None:
        """Step because time passed, unless news stepped the loop a moment ago."""
        if time.monotonic() - self._stepped_s > QUIET_S:
            self.step()

    def come_home(self, *, park: bool) -> bool:
        """Bring the arm to rest before the process ends; to be asked until it is so.

        Args:
            park: at the robot file's park pose, where the arm was moved at all.
        """
        with self._lock:
            status, settings = self.status, self._setup.settings
            moved = status.chunks_accepted > 0 or status.takeovers > 0
            if not self._going_home and status.state is not LoopState.STOPPED:
                parks = park and moved and not settings.dry_run
                status = self.request(Request.PARK if parks else Request.FINISH)
            self._going_home = True
            return not (status.moving or _code(status) is StopCode.PARKING)

    @property
    def joint_parts(self) -> int:
        """How many nodes may each send a part of the joints, by what came."""
        with self._lock:
            return self._streams.joint_parts

    def told(self) -> PolicyStatus:
        """Return what the node does and why; ages and skews are -1 without an observation."""
        with self._lock:
            now_ns, last, loop = self._now_ns(), self._newest, self.status
            tool = loop.tool_error
            message = PolicyStatus(
                state=loop.state.value,
                reason_code=loop.reason.code.value if loop.reason else "",
                reason=loop.reason.message if loop.reason else "",
                recovers_by_itself=loop.recovers,
                dry_run=self._setup.settings.dry_run,
                robot=self._setup.robot.name,
                instruction=self._instruction,
                model_hash=self._setup.model_hash,
                streams=[StreamStatus(**asdict(each)) for each in self._streams.report(now_ns)],
                observation_age_ms=-1.0 if last is None else (now_ns - last.stamp_ns) / 1e6,
                observation_skew_ms=-1.0 if last is None else last.skew_ns / 1e6,
                chunks_published=self.chunks_published,
                chunks_rejected=loop.chunks_rejected,
                safety_interventions=loop.interventions,
                holds=loop.holds,
                **self._latency.percentiles(),
                lead_ms=float(loop.lead_ms),
                duty=self._inference.duty(),
                takeovers=loop.takeovers,
                dead_man_required=self._dead_man is not None,
                dead_man_held=self._dead_man is not None and self._released() is None,
                mode=loop.mode.value,
                idle_fraction=loop.idle_fraction,
                speed=self._speed,
                tool_error_mm=-1.0 if tool is None else 1e3 * tool.position_m,
                tool_error_mrad=-1.0 if tool is None else 1e3 * tool.rotation_rad,
                collisions=collisions_text(self._setup.robot.safety.collision),
            )
        message.header.stamp = time_message(now_ns)
        return message

    def diagnostics(self, node_name: str) -> DiagnosticArray:
        """Return the same as diagnostics, with the worst seams and the controllers."""
        with self._lock:
            problem = self._controller_problem or ""
            worst = self._seams.worst()
            return diagnostics_message(self.told(), worst, problem, node_name)

    def _released(self) -> str | None:
        # a simulated clock may stand still, a held button must not
        return self._dead_man.problem(time.monotonic_ns()) if self._dead_man else None

    def _inputs(self, now_ns: int, inferred: Inferred | None) -> LoopInput:
        measured = self._streams.measured()  # before a jump of the clock forgets it
        observation = self._observe(now_ns)
        self._controller_problem = self._outputs.controller_problem() or self._fallen_silent(
            now_ns
        )
        requests, self._requests = tuple(self._requests), []
        targets, self._targets = tuple(self._targets), []
        return LoopInput(
            now_ns=now_ns,
            observation=observation,
            measured=measured,
            held=self._held.state(now_ns),
            controller_problem=self._controller_problem,
            second_source=self._heard_twice() or self._outputs.second_source,
            arm_fault=self._arm_fault,
            dead_man=self._released(),
            teleop=targets,
            inference=inferred.outcome if inferred else None,
            requests=requests,
            instruction=self._instruction,
            transition=self._transition,
            speed=self._speed,
        )

    def _fallen_silent(self, now_ns: int) -> str | None:
        """A controller that no longer says what it follows, while joints still come."""
        silent, measured = self._held.silent(now_ns), self._streams.measured()
        if silent is None or measured is None:
            return None
        output, silence_ns = silent
        command = self._setup.robot.command[output]
        if now_ns - measured.stamp_ns > self._setup.robot.state.max_age_ms * 1e6:
            return None  # nothing comes: another reason
        return self._outputs.named(
            f"the controller of {command.topic} has said nothing on {command.state_topic} for "
            f"{silence_ns / 1e9:.1f} s: it was deactivated, or its process died"
        )

    def _observe(self, now_ns: int) -> Observation | Missing:
        """Return the newest observation when it is new, and again where no newer one comes soon.

        The loop infers from each once, and may have to wait until it can.
        """
        before_ns, self._last_ns = self._last_ns, now_ns
        if now_ns < before_ns:
            self._streams.reset()
            self._held.clear()
            self._newest = None
            # for one step nothing is known, so that the jump itself is the reason that people see
            return Missing(stream="clock", code="pending", message="the clock jumped back")
        observation = self._streams.sample(now_ns, self._instruction)
        if isinstance(observation, Missing):
            return replace(observation, message=self._outputs.named(observation.message))
        seen, self._newest = observation is self._newest, observation
        if not seen:
            self._unsettled = False
        elif now_ns - observation.received_ns < NEXT_FRAME_NS:
            return Missing(stream="cameras", code="pending", message="no newer frame yet")
        return observation

    def _tell(self, status: LoopStatus) -> None:
        before, self.status = self.status, status
        if (before.state, _code(before)) != (status.state, _code(status)):
            self._on_change(status)

    def _report_chunk(
        self, output: LoopOutput, inferred: Inferred | None, planned_ns: int, published_ns: int
    ) -> None:
        if output.chunk is None or output.seam is None or inferred is None:
            return
        if not isinstance(inferred.outcome, InferenceDone):
            return
        self.chunks_published += 1
        times = ChunkTimes(
            stamp_ns=output.chunk.observation_stamp_ns,
            received_ns=inferred.request.observation.received_ns,
            started_ns=inferred.outcome.started_ns,
            finished_ns=inferred.outcome.finished_ns,
            planned_ns=planned_ns,
            published_ns=published_ns,
        )
        self._latency.add(times)
        self._seams.add(output.seam)
        self._outputs.report_chunk(self.chunks_published, inferred.request, output, times)


def _code(status: LoopStatus) -> StopCode | None:
    return status.reason.code if status.reason else None


def unaskable(request: Request, status: LoopStatus, instruction: str, setup: Setup | None) -> str:
    """Why a request of a person makes no sense now, or ''."""
    if request is Request.RESUME and not instruction:
        return "no instruction; set one on the topic 'instruction' or ~/set_instruction"
    if request is Request.HAND_BACK and status.state is not LoopState.TAKEOVER:
        return f"nobody drives; {describe(status)}"
    if request is Request.PARK and setup is not None and setup.robot.park is None:
        return f"the robot file of {setup.robot.name} has no park pose (park)"
    if request is not Request.TAKE_OVER or setup is None:
        return ""
    if setup.settings.takeover is TakeoverMode.OFF:
        return "take-over is off; set the parameter takeover to topic or service"
    return ""
