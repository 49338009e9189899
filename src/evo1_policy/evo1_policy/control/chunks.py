"""The policy's chunks on an arm: spliced one into the other, each checked. No ROS, no torch."""

from dataclasses import dataclass, replace

from evo1_policy.action_chunk import ActionChunk, Guidance, Trajectory
from evo1_policy.control import safety
from evo1_policy.control.ensemble import Ensemble
from evo1_policy.control.execution import first_tick_after, plan_chunk
from evo1_policy.control.guidance import left_over
from evo1_policy.control.instructions import InstructionWatch
from evo1_policy.control.modes import ExecutionMode, Transition
from evo1_policy.control.motion import Motion
from evo1_policy.control.schedule import executed_actions, is_due, used_up_ns
from evo1_policy.control.signals import (
    LoopInput,
    LoopSettings,
    SafeTrajectory,
    SeamReport,
    StopCode,
    StopReason,
)
from evo1_policy.observation import JointSample, Observation
from evo1_policy.robot_config import RobotConfig

LATENESS_NS = 200_000_000  # that a chunk may have at least before the arm begins to brake


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A chunk that became a command."""

    command: SafeTrajectory
    chunk: ActionChunk
    seam: SeamReport


class Chunks:
    """The chunk that an arm executes.

    Args:
        robot: it is for.
        settings: choices.
        motion: of the arm.
        horizon: H of the policy, checked on every chunk where it is known.

    Attributes:
        chunk: being executed; None while the arm rests, brakes, or does something else.
    """

    def __init__(
        self, robot: RobotConfig, settings: LoopSettings, motion: Motion, horizon: int | None
    ) -> None:
        self.chunk: ActionChunk | None = None
        self._robot = robot
        self._settings = settings
        self._motion = motion
        self._horizon = horizon
        self._ensemble = Ensemble(settings.ensemble_decay_per_s)
        self._tail_ns = 0  # when the braking tail of what was sent begins
        self._intended: Trajectory | None = None

    def used_up(self, now_ns: int) -> bool:
        """Whether the chunk being executed has reached its braking tail."""
        return self.chunk is not None and now_ns >= self._tail_ns

    def drop(self) -> None:
        """Nothing of the policy's is executed any more."""
        self.chunk = self._intended = None
        self._ensemble.clear()

    def next_is_due(
        self, inputs: LoopInput, words: InstructionWatch, *, lead_ns: int, running: bool
    ) -> bool:
        """Whether it is time to ask for the next chunk.

        Args:
            inputs: of the step.
            words: what chunks must be for.
            lead_ns: from asking until the chunk takes over [ns].
            running: not held.
        """
        seen = inputs.observation
        at_ns = seen.stamp_ns if isinstance(seen, Observation) else inputs.now_ns
        at_rest = self._motion.at_rest(at_ns)  # to look at, not only now
        if self.chunk is None:  # after a fault or a flush, resume from rest only
            return (running and words.transition is not Transition.FLUSH) or at_rest
        outdated = words.words != self.chunk.instruction
        if outdated and words.transition is Transition.BLEND:
            return True
        return is_due(
            self.chunk,
            self._settings,
            now_ns=inputs.now_ns,
            lead_ns=lead_ns,
            at_rest=at_rest,
            to_its_end=outdated,
        )

    def execute(
        self, chunk: ActionChunk, measured: JointSample | None, now_ns: int, *, lead_ns: int
    ) -> Accepted | StopReason:
        """Splice a chunk into the motion, or say why not.

        Args:
            chunk: of the policy.
            measured: newest joint sample.
            now_ns: the clock [ns].
            lead_ns: from asking for the next chunk until it takes over [ns].
        """
        motion, step_ns = self._motion, self._motion.limits.step_ns
        ahead_ns = max(self._settings.splice_lead_ns, motion.lead_ns)
        splice_tick = first_tick_after(now_ns + ahead_ns, step_ns)
        origin = motion.origin(measured, now_ns, anew=self._settings.dry_run)
        if isinstance(origin, StopReason):
            return origin
        outside = motion.outside(origin.sample(now_ns)[0], self._settings.outside_rad)
        if outside:
            return StopReason(code=StopCode.CHUNK_BREAKS_LIMITS, message=f"{outside}, then resume")
        if self._settings.mode is ExecutionMode.SYNCHRONOUS and motion.at_rest(now_ns):
            # The arm waited where the chunk begins: nothing of it is past.
            start_ns = splice_tick * step_ns + chunk.step_ns
            chunk = replace(chunk, start_ns=max(chunk.start_ns, start_ns))
        known = origin.knots(splice_tick, splice_tick)
        refused = safety.check_chunk(
            chunk,
            self._robot,
            commanded=known.positions[0],
            splice_ns=known.start_ns,
            horizon=self._horizon,
        )
        if refused is not None:
            return refused
        continued = origin is motion.executing and known.start_ns <= self._tail_ns
        late_ns = motion.late_ns if origin is motion.executing else 0
        plan = plan_chunk(
            self._shape(chunk),
            origin,
            now_ns=now_ns,
            splice_tick=splice_tick,
            until_ns=self._until_ns(chunk, lead_ns),
            intended=self._intended if continued and self._intended is not None else origin,
            limits=motion.limits,
            smoothing_rad=self._settings.smoothing_rad,
        )
        command = motion.send(plan, origin, measured, now_ns)
        if isinstance(command, StopReason):
            return command
        self.chunk, self._tail_ns, self._intended = chunk, plan.tail_ns, plan.intended
        self._ensemble.add(chunk)
        seam = replace(plan.seam, late_ms=late_ns / 1e6)
        return Accepted(command=command, chunk=chunk, seam=seam)

    def guidance(self, observation: Observation, *, takeover_ns: int) -> Guidance | None:
        """What the chunk from an observation shall begin with, in mode rtc but for the first."""
        settings, intended = self._settings, self._intended
        if settings.mode is not ExecutionMode.RTC or settings.dry_run:
            return None
        if intended is None or self.chunk is None:
            return None
        same = observation.instruction == self.chunk.instruction
        return left_over(
            intended,
            until_ns=max(min(self.chunk.end_ns, intended.end_ns), self._tail_ns),
            start_ns=observation.stamp_ns + self._robot.step_ns,
            step_ns=self._robot.step_ns,
            takeover_ns=takeover_ns,
            fall_actions=settings.rtc_fall_actions if same else 0,
        )

    def _until_ns(self, chunk: ActionChunk, lead_ns: int) -> int:
        """When the next chunk will have taken over, even if one result is of no use."""
        if self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return chunk.end_ns
        return used_up_ns(chunk, self._settings) + lead_ns + max(lead_ns, LATENESS_NS)

    def _shape(self, chunk: ActionChunk) -> ActionChunk:
        """What is planned of a chunk that passed the check."""
        if self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return replace(chunk, actions=chunk.actions[: executed_actions(chunk, self._settings)])
        if self._settings.mode is ExecutionMode.ENSEMBLE:
            return self._ensemble.mean(chunk)
        return chunk
