"""What was demonstrated: the target of every joint at any time, out of the recorded messages.

The teleop topic is read as the live relay reads it: the same messages are refused, and the same
curve is put together (TargetCurve). Where nobody demonstrates, the commands that the arm got
count.

Silence: a message counts up to its last point, and its last target MAX_SILENCE_NS longer. Before
the first message, and where a silence lasts longer than that, there is no action: the plan of the
episode drops such frames at its ends, and has a gap of their real length in its middle. The bound
is for the source, not for a joint: a joint that is named seldom keeps its target while others are
named. So of a pause at most the first half second is a held target, which is also all that can
look like lag of the arm.

Must not import ROS or torch. Letters: T times, D joints, K named joints.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evo1_policy.control.teleop_target import (
    TIMEOUT_NS,
    TargetCurve,
    TeleopSettings,
    TeleopTarget,
    read_target,
    target_problem,
)
from evo1_policy.perception.messages import MessageError, deserialize
from evo1_training.datasets.recorded_streams import Rejections
from evo1_training.recording.bag_reader import Episode
from evo1_training.recording.cdr import TRAJECTORY
from evo1_training.recording.episode import TELEOP, EpisodeError
from evo1_training.recording.mcap_records import RawMessage, Wanted
from evo1_training.recording.pre_roll import INTERVENTION, read_change

COMMAND = "command"
POLICY_TRACE = "evo1_msgs/msg/ActionChunk"  # a policy drove where such messages were recorded
MAX_SILENCE_NS = 500_000_000  # so long a target outlives its message; then newer commands count
_JUMP_NS = 1_000  # how long a target takes to jump after a silence; floats tell that apart
_LONG_NS = 10**15
_FOREVER_NS = np.iinfo(np.int64).max
# A command may plan far ahead, and what was recorded late was still sent.
_COMMAND_SETTINGS = TeleopSettings(max_delay_ns=_LONG_NS, max_ahead_ns=_LONG_NS)

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Demonstrated:
    """The demonstrated motion at some times.

    Attributes:
        actions: (T, D) float64 [rad]; NaN where nothing was asked of a joint yet; the last target
            where nobody speaks any more.
        silence_ns: (T,) how long nobody had spoken for that time; 0 where somebody had [ns].
        topics: where actions were looked for, for people.
        intervention: (T,) a person drove, in an episode of the policy.
        rejections: messages that could not be followed.
    """

    actions: Floats
    silence_ns: Times
    topics: str
    intervention: npt.NDArray[np.bool_]
    rejections: Rejections

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where there is an action (T,): of every joint, and not from too long ago."""
        complete = np.isfinite(self.actions).all(axis=1)
        return np.asarray(complete & (self.silence_ns <= MAX_SILENCE_NS))

    def reason(self) -> str:
        """Why there is no action where `known` is False, for people."""
        return (
            f"nobody demonstrates: no target on {self.topics} for over {MAX_SILENCE_NS / 1e9:g} s"
        )


@dataclass(frozen=True, kw_only=True)
class Interventions:
    """The take-overs of an episode: [begin, end) each, increasing [ns]."""

    spans: tuple[tuple[int, int], ...]

    def at(self, times_ns: Times) -> npt.NDArray[np.bool_]:
        """(T,) whether a person drove at each time."""
        driven = np.zeros(len(times_ns), np.bool_)
        for begin, end in self.spans:
            driven |= (times_ns >= begin) & (times_ns < end)
        return driven


class SourceCurve:
    """The curve of one source, sampled at given times while its messages go by.

    Args:
        joints: the robot's joints, D.
        times_ns: increasing, T [ns].
        settings: which messages count, and from what silence on a curve begins anew.
    """

    def __init__(self, joints: Sequence[str], times_ns: Times, settings: TeleopSettings) -> None:
        self._joints = list(joints)
        self._times = times_ns
        self._settings = settings
        self._curve = TargetCurve(len(joints))
        self._first = np.full(len(joints), np.iinfo(np.int64).max)
        self._last = np.full(len(joints), np.iinfo(np.int64).min)
        self._sampled = np.full((len(times_ns), len(joints)), np.nan)
        self._done = 0
        self._heard_ns = 0
        self._stamps = array("q")
        self._reaches = array("q")

    def add(self, target: TeleopTarget, received_ns: int) -> str:
        """Take the next message; says why not where it cannot be followed."""
        problem = target_problem(target, self._joints, self._settings, now_ns=received_ns)
        if problem:
            return problem
        stamp = target.stamp_ns or received_ns
        columns = [self._joints.index(name) for name in target.joint_names]
        times = [stamp + offset for offset in target.offsets_ns]
        self._sample_until(self._heard_ns)
        self._hold(columns, stamp)
        self._curve.add(columns, times, target.positions, stamp_ns=stamp)
        self._first[columns] = np.minimum(self._first[columns], times[0])
        self._last[columns] = times[-1]
        self._heard_ns = max(self._heard_ns, stamp)
        self._stamps.append(self._heard_ns)
        self._reaches.append(max(times[-1], self._reaches[-1] if self._reaches else 0))
        return ""

    def known(self, target: TeleopTarget) -> TeleopTarget:
        """Leave out joints that the robot file does not name, such as a controller's mimics."""
        kept = [i for i, name in enumerate(target.joint_names) if name in self._joints]
        if len(kept) == len(target.joint_names) or not target.positions.size:
            return target
        names = tuple(target.joint_names[i] for i in kept)
        return replace(target, joint_names=names, positions=target.positions[:, kept])

    def finish(self) -> Floats:
        """Targets (T, D) [rad] at the times; NaN before a joint's first one."""
        self._sample_until(np.iinfo(np.int64).max)
        self._sampled[self._times[:, np.newaxis] < self._first] = np.nan
        return self._sampled

    def heard(self) -> Times:
        """The newest stamp (T,) at or before each time; 0 where there is none [ns]."""
        return self._newest(self._stamps)

    def reached(self) -> Times:
        """How far messages stamped at or before each time spoke (T,); 0: none [ns]."""
        return self._newest(self._reaches)

    def _newest(self, values: "array[int]") -> Times:
        place = np.searchsorted(np.array(self._stamps, np.int64), self._times, side="right")
        return np.concatenate([[0], np.array(values, np.int64)])[place]

    def _sample_until(self, time_ns: int) -> None:
        """Sample the times that no later message changes."""
        end = int(np.searchsorted(self._times, time_ns, side="right"))
        if end > self._done:
            begin, self._done = self._done, end
            absent = np.full(len(self._joints), np.nan)
            self._sampled[begin:end] = self._curve.sample(self._times[begin:end], absent)
        self._curve.forget_before(time_ns)

    def _hold(self, columns: list[int], stamp: int) -> None:
        """A joint that was asked nothing for a while stood still: no ramp over the silence."""
        quiet = [column for column in columns if 0 < self._last[column] < stamp - TIMEOUT_NS]
        if quiet:
            before = stamp - _JUMP_NS
            at = np.array([before], np.int64)
            values = self._curve.sample(at, np.full(len(self._joints), np.nan))
            self._curve.add(quiet, [before], values[:, quiet], stamp_ns=before)


def demonstrated(episode: Episode, ticks_ns: Times) -> Demonstrated:
    """Find the action of each tick: the demonstrated target one step later.

    Args:
        episode: the recording; its targets are read once, and not kept.
        ticks_ns: increasing, T [ns].

    Raises:
        EpisodeError: a topic has another type, or nothing was demonstrated at all.
    """
    robot = episode.robot
    times = ticks_ns + robot.step_ns
    teleop_topics = {topic.name for topic in episode.topics(TELEOP)}
    command_topics = {topic.name for topic in episode.topics(COMMAND)} - teleop_topics
    teleop = SourceCurve(robot.joint_names, times, TeleopSettings())
    commands = SourceCurve(robot.joint_names, times, _COMMAND_SETTINGS)
    rejections = Rejections()
    for message in episode.read(Wanted(topics=frozenset(teleop_topics | command_topics))):
        if message.type != TRAJECTORY:
            raise EpisodeError(
                f"{episode.bag}: {message.topic} carries {message.type}; expected {TRAJECTORY}: "
                "correct the robot file or the remapping, and record again"
            )
        by_person = message.topic in teleop_topics
        problem = _take(message, teleop if by_person else commands, restrict=not by_person)
        if problem:
            rejections.add(message.topic, problem)
    driven = read_interventions(episode)
    actions, silence_ns = _merge(teleop, commands, times, driven)
    if np.isnan(actions).any(axis=1).all():
        raise EpisodeError(_nothing(episode, actions, teleop_topics | command_topics, rejections))
    intervention = np.zeros(len(times), np.bool_)
    if driven is not None:
        intervention = driven.at(times)
    elif _policy_drove(episode):  # a policy node that tells of no take-overs
        intervention = times - teleop.heard() < MAX_SILENCE_NS
    return Demonstrated(
        actions=actions,
        silence_ns=silence_ns,
        topics=_listed(teleop_topics | command_topics),
        intervention=intervention,
        rejections=rejections,
    )


def _take(message: RawMessage, curve: SourceCurve, *, restrict: bool) -> str:
    """Add a message to its curve; says why not where it cannot be used."""
    try:
        target = read_target(deserialize(message.data, TRAJECTORY, topic=message.topic))
    except MessageError as error:
        return str(error)
    if restrict:
        target = curve.known(target)
    return curve.add(target, message.log_ns)


def _merge(
    teleop: SourceCurve, commands: SourceCurve, times: Times, driven: Interventions | None
) -> tuple[Floats, Times]:
    """Prefer the person's targets; where those are absent or given up, take the commands.

    Returns:
        Targets (T, D) [rad], and how long their source had been silent (T,) [ns].
    """
    by_person, by_command = teleop.finish(), commands.finish()
    if driven is not None:  # a leader arm may go on while the policy drives
        by_person[~driven.at(times)] = np.nan
    spoken = teleop.reached()
    given_up = (times - spoken > MAX_SILENCE_NS) & (commands.heard() > spoken)
    complete = ~np.isnan(by_command).any(axis=1)
    replaced = np.isnan(by_person) | (given_up & complete)[:, np.newaxis]
    reached = np.where(replaced.all(axis=1), commands.reached(), spoken)
    return np.where(replaced, by_command, by_person), np.maximum(times - reached, 0)


def _policy_drove(episode: Episode) -> bool:
    topics = {topic.name for topic in episode.sidecar.facts.topics if topic.type == POLICY_TRACE}
    wanted = Wanted(topics=frozenset(topics), head_only=frozenset(topics))
    return bool(topics) and any(True for _ in episode.read(wanted))


def _nothing(episode: Episode, actions: Floats, topics: set[str], rejections: Rejections) -> str:
    """Say which joint has no action, and why."""
    absent = np.asarray(np.isnan(actions).all(axis=0))
    names = [
        name for name, gone in zip(episode.robot.joint_names, absent, strict=True) if gone
    ] or list(episode.robot.joint_names)
    why = "; ".join(rejections.lines())
    return (
        f"{episode.bag}: nothing was demonstrated for {', '.join(names)}: no usable message on "
        f"{_listed(topics)}"
        + (f" ({why})" if why else "; record while a person or a policy drives the arm")
    )


def _listed(topics: set[str]) -> str:
    return " or ".join(sorted(topics)) or "any teleop or command topic"


def read_interventions(episode: Episode) -> Interventions | None:
    """The take-overs that an episode's policy node told of; None where it told of none."""
    topics = {topic.name for topic in episode.sidecar.facts.topics if topic.type == INTERVENTION}
    if not topics:
        return None
    messages = episode.read(Wanted(topics=frozenset(topics)))
    told = [read_change(message.data) for message in messages]
    return Interventions(spans=_spans(sorted(set(told)))) if told else None


def _spans(changes: Iterable[tuple[int, bool]]) -> tuple[tuple[int, int], ...]:
    spans: list[tuple[int, int]] = []
    begin: int | None = None
    for stamp_ns, active in changes:
        if active and begin is None:
            begin = stamp_ns
        elif not active and begin is not None:
            spans.append((begin, stamp_ns))
            begin = None
    if begin is not None:  # the recording ended before the person handed back
        spans.append((begin, _FOREVER_NS))
    return tuple(spans)
