"""The policy's chunks on an arm: for which words, when the next is due, how one joins the other.

Ensembling over time is the weighted mean of all chunks that cover an instant. No ROS, no torch.
Letters: H horizon, K guided actions, D joints, C chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import ActionChunk, Floats, Guidance, Trajectory, interpolate
from evo1_policy.control.chunk_check import check_chunk
from evo1_policy.control.execution import first_tick_after, plan_chunk
from evo1_policy.control.motion import Motion
from evo1_policy.control.signals import (
    SPLICE_LEAD_NS,
    ExecutionMode,
    LoopInput,
    LoopSettings,
    SafeTrajectory,
    SeamReport,
    StopCode,
    StopReason,
    Transition,
)
from evo1_policy.observation import JointSample, Observation
from evo1_policy.robot_config import RobotConfig


class InstructionWatch:
    """The instruction that chunks must be for.

    Attributes:
        words: it; None before it is known.
        transition: of its last change.
    """

    def __init__(self, default: Transition) -> None:
        """`default` is the transition where a change does not say."""
        self._default = default
        self.words: str | None = None
        self.transition = default

    def changed(self, inputs: LoopInput) -> bool:
        """Whether these inputs replace an instruction by another one."""
        words = inputs.instruction
        if words is None and isinstance(inputs.observation, Observation):
            words = inputs.observation.instruction
        if words is None or words == self.words:
            return False
        before, self.words = self.words, words
        self.transition = inputs.transition or self._default
        return before is not None


def unseen(words: str, learnt: Sequence[str]) -> str:
    """Warn of an instruction that is none of those a policy learnt; '' where it is one.

    Args:
        words: the instruction.
        learnt: all that the policy was trained with; empty where that is not known.
    """
    if not learnt or _plain(words) in map(_plain, learnt):
        return ""
    return (
        f"the policy never saw '{words}' in training and may do anything; it learnt "
        f"{len(learnt)} instructions, such as '{learnt[0]}'"
    )


def _plain(words: str) -> str:
    return " ".join(words.lower().replace(".", " ").split())


def at_speed(chunk: ActionChunk, speed: float) -> ActionChunk:
    """The chunk with its time slowed, from its observation on; its path stays."""
    if speed == 1.0:
        return chunk
    seen_ns = chunk.observation_stamp_ns
    return replace(
        chunk,
        start_ns=seen_ns + round((chunk.start_ns - seen_ns) / speed),
        step_ns=round(chunk.step_ns / speed),
    )


OUTSIDE_RAD = 0.1  # how far beyond its position limits an arm may be to start, inwards
LATENESS_NS = 200_000_000  # that a chunk may have at least before the arm begins to brake


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A chunk that became a command."""

    command: SafeTrajectory
    chunk: ActionChunk
    seam: SeamReport
    cut: str = ""  # why it ends before it was meant to


class Chunks:
    """The chunk that an arm executes.

    Args:
        robot: it is for.
        settings: choices.
        motion: of the arm.
        horizon: H of the policy, checked on every chunk where it is known.

    Attributes:
        chunk: being executed; None while the arm rests, brakes, or does something else.
        cut: why it ends before it was meant to; empty where it does not.
    """

    def __init__(
        self, robot: RobotConfig, settings: LoopSettings, motion: Motion, horizon: int | None
    ) -> None:
        self.chunk: ActionChunk | None = None
        self.cut = ""
        self._robot = robot
        self._settings = settings
        self._motion = motion
        self._horizon = horizon
        self._ensemble = Ensemble(settings.ensemble_decay_per_s)
        self._tail_ns = 0  # when the braking tail of what was sent begins
        self._intended: Trajectory | None = None
        self._speed = 1.0  # of the chunk being executed

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
        if self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return at_rest
        if inputs.speed != self._speed or self.cut:
            return True
        if self._settings.mode is ExecutionMode.ENSEMBLE and not outdated:
            return True
        return inputs.now_ns + lead_ns >= self._used_up_ns(self.chunk)

    def execute(
        self,
        chunk: ActionChunk,
        measured: JointSample | None,
        now_ns: int,
        *,
        lead_ns: int,
        speed: float = 1.0,
    ) -> Accepted | StopReason:
        """Splice a chunk into the motion, or say why not.

        Args:
            chunk: of the policy.
            measured: newest joint sample.
            now_ns: the clock [ns].
            lead_ns: from asking for the next chunk until it takes over [ns].
            speed: share of the policy's own pace, SLOWEST to 1.
        """
        motion, limits = self._motion, self._motion.limits
        splice_tick = self._splice_tick(now_ns)
        origin = motion.origin(measured, now_ns, anew=self._settings.dry_run)
        if isinstance(origin, StopReason):
            return origin
        if outside := limits.outside(origin.sample(now_ns)[0], OUTSIDE_RAD):
            return StopCode.CHUNK_BREAKS_LIMITS.because(f"{outside}, then resume")
        known = origin.knots(splice_tick, splice_tick)
        chunk = self._anchored(at_speed(chunk, speed), known.start_ns, now_ns)
        refused = check_chunk(
            chunk,
            self._robot,
            limits,
            commanded=known.positions[0],
            splice_ns=known.start_ns,
            horizon=self._horizon,
            speed=speed,
        )
        if refused is not None:
            return refused
        self._at_pace(speed)
        continued = origin is motion.executing and known.start_ns <= self._tail_ns
        late_ms = motion.late_ns / 1e6 if origin is motion.executing else 0.0
        plan = plan_chunk(
            self._shape(chunk),
            origin,
            now_ns=now_ns,
            splice_tick=splice_tick,
            until_ns=self._until_ns(chunk, lead_ns),
            intended=self._intended if continued and self._intended is not None else origin,
            limits=limits,
            smoothing_rad=self._settings.smoothing_rad,
        )
        sent = motion.send(plan, origin, measured, now_ns)
        if isinstance(sent, StopReason):
            return sent
        command, plan = sent
        self.chunk, self.cut = chunk, plan.cut
        self._tail_ns, self._intended = plan.tail_ns, plan.intended
        self._ensemble.add(chunk)
        seam = replace(plan.seam, late_ms=late_ms)
        return Accepted(command=command, chunk=chunk, seam=seam, cut=plan.cut)

    def _splice_tick(self, now_ns: int) -> int:
        """The first grid point that a chunk can take over at."""
        ahead_ns = max(SPLICE_LEAD_NS, self._motion.lead_ns)
        return first_tick_after(now_ns + ahead_ns, self._motion.limits.step_ns)

    def _at_pace(self, speed: float) -> None:
        if speed != self._speed:
            self._ensemble.clear()  # at another pace they are of no use for a mean
        self._speed = speed

    def guidance(
        self, observation: Observation, *, takeover_ns: int, speed: float
    ) -> Guidance | None:
        """What the chunk from an observation shall begin with, in mode rtc but for the first."""
        step_ns = round(self._robot.step_ns / speed)
        settings, intended = self._settings, self._intended
        if settings.mode is not ExecutionMode.RTC or settings.dry_run:
            return None
        if intended is None or self.chunk is None:
            return None
        same = observation.instruction == self.chunk.instruction
        return left_over(
            intended,
            until_ns=max(min(self.chunk.end_ns, intended.end_ns), self._tail_ns),
            start_ns=observation.stamp_ns + step_ns,
            step_ns=step_ns,
            takeover_ns=takeover_ns,
            fall_actions=settings.rtc_fall_actions if same else 0,
        )

    def _anchored(self, chunk: ActionChunk, splice_ns: int, now_ns: int) -> ActionChunk:
        """The chunk from the splice on, where the arm waited where it begins: nothing is past."""
        if self._settings.mode is ExecutionMode.SYNCHRONOUS and self._motion.at_rest(now_ns):
            return replace(chunk, start_ns=max(chunk.start_ns, splice_ns + chunk.step_ns))
        return chunk

    def _executed_actions(self, chunk: ActionChunk) -> int:
        """How many actions of a chunk are executed before the next one takes over.

        At a lower speed fewer: the arm shall not act on what it saw for longer than at full speed.
        """
        settings = self._settings
        count = min(settings.execute_actions or max(chunk.horizon // 2, 1), chunk.horizon)
        if settings.mode is ExecutionMode.SYNCHRONOUS:
            return count  # it rests in between
        return max(round(count * self._speed), 1)

    def _used_up_ns(self, chunk: ActionChunk) -> int:
        """When a chunk has been executed as far as it shall be [ns]."""
        return chunk.start_ns + self._executed_actions(chunk) * chunk.step_ns

    def _until_ns(self, chunk: ActionChunk, lead_ns: int) -> int:
        """When the next chunk will have taken over, even if one result is of no use."""
        if self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return chunk.end_ns
        return self._used_up_ns(chunk) + lead_ns + max(lead_ns, LATENESS_NS)

    def _shape(self, chunk: ActionChunk) -> ActionChunk:
        """What is planned of a chunk that passed the check."""
        if self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return replace(chunk, actions=chunk.actions[: self._executed_actions(chunk)])
        if self._settings.mode is ExecutionMode.ENSEMBLE:
            return self._ensemble.mean(chunk)
        return chunk


def left_over(
    sent: Trajectory,
    *,
    until_ns: int,
    start_ns: int,
    step_ns: int,
    takeover_ns: int,
    fall_actions: int,
) -> Guidance | None:
    """What the next chunk shall begin with: what was sent, at the times of its actions.

    While an inference runs, the arm goes on along what was sent. A chunk that is denoised to begin
    with just that continues it, and needs no seam hidden (real-time chunking).

    Actions due before the chunk can take over are frozen: they are executed whatever it says.
    Behind them the weight falls in a line to 0.

    Args:
        sent: what the arm is commanded.
        until_ns: when its braking tail begins; what comes then was nobody's wish [ns].
        start_ns: when the next chunk's first action is due [ns].
        step_ns: time between its actions [ns].
        takeover_ns: when it is expected to take over [ns].
        fall_actions: over how many actions the weight falls.

    Returns:
        None where nothing is left of what was sent.
    """
    left = max((until_ns - start_ns) // step_ns + 1, 0)
    frozen = min(max(-(-(takeover_ns - start_ns) // step_ns), 0), left)
    count = min(frozen + fall_actions, left)
    if count == 0:
        return None
    since_s = (start_ns + np.arange(count) * step_ns - sent.start_ns) / 1e9
    inside = np.maximum(since_s, 0.0)  # before its first point a trajectory stands still
    actions, _ = interpolate(sent.positions, sent.velocities, sent.step_ns / 1e9, inside)
    falling = np.arange(count - frozen, 0, -1) / (count - frozen + 1)
    return Guidance(actions=actions, weights=np.concatenate([np.ones(frozen), falling]))


# A chunk that is not the newest loses its weight over this time before its end, or the mean
# would jump there.
TAPER_NS = 300_000_000


class Ensemble:
    """The chunks of one instruction since the arm last stopped.

    Args:
        decay_per_s: a chunk older than the newest by t counts exp(-t * decay_per_s) as much.
    """

    def __init__(self, decay_per_s: float) -> None:
        self._decay_per_s = decay_per_s
        self._chunks: list[ActionChunk] = []  # oldest first

    def clear(self) -> None:
        """Forget every chunk."""
        self._chunks = []

    def mean(self, chunk: ActionChunk) -> ActionChunk:
        """The newest chunk (H, D), with every chunk before it that covers its times mixed in."""
        times_ns = chunk.times_ns()
        total = chunk.actions.copy()  # (H, D)
        weights = np.ones(chunk.horizon)  # (H,)
        for older in self._alive(chunk):
            weight = self._weight(older, chunk, times_ns)  # (H,)
            total += weight[:, np.newaxis] * _at(older, times_ns)
            weights += weight
        return replace(chunk, actions=total / weights[:, np.newaxis])

    def add(self, chunk: ActionChunk) -> None:
        """Keep a chunk that is being executed; those it leaves behind are dropped."""
        self._chunks = [*self._alive(chunk), chunk]

    def _alive(self, newest: ActionChunk) -> list[ActionChunk]:
        return [
            chunk
            for chunk in self._chunks
            if chunk.end_ns > newest.start_ns and chunk.instruction == newest.instruction
        ]

    def _weight(
        self, older: ActionChunk, newest: ActionChunk, times_ns: npt.NDArray[np.int64]
    ) -> Floats:
        age_s = (newest.observation_stamp_ns - older.observation_stamp_ns) / 1e9
        left = np.minimum(np.maximum((older.end_ns - times_ns) / TAPER_NS, 0.0), 1.0)
        smooth = left * left * (3.0 - 2.0 * left)
        return np.asarray(np.exp(-self._decay_per_s * max(age_s, 0.0)) * smooth)


def _at(chunk: ActionChunk, times_ns: npt.NDArray[np.int64]) -> Floats:
    """A chunk's targets at other times, (H, D); its grid may lie between the newest one's."""
    since_s = (times_ns - chunk.start_ns) / 1e9
    step_s = chunk.step_ns / 1e9
    slopes = (
        np.gradient(chunk.actions, step_s, axis=0)
        if chunk.horizon > 1
        else np.zeros_like(chunk.actions)
    )
    inside = np.minimum(np.maximum(since_s, 0.0), (chunk.horizon - 1) * step_s)
    return interpolate(chunk.actions, slopes, step_s, inside)[0]
