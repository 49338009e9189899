"""The ticks of a recording, what belongs to each, the gaps between, and what is done about them.

What was recorded is aligned by `evo1_policy.perception.alignment.align`, the function that serves
the live node: its rule over a whole bag. Must not import ROS or torch. Letters: T ticks, C
cameras, D joints.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.perception.alignment import Unaligned, align, joints_at
from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.recorded_streams import RecordedStreams
from evo1_training.recording.episode import GAP_STEPS, EpisodeError

RATE_TOLERANCE = 0.05  # between the camera's rate and a whole multiple of the robot file's
_FEW_FRAMES = 8  # below this many a rate means nothing
_MS = 1_000_000

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Ticks that have an observation, and what each is made of; T rows in each array.

    Attributes:
        ticks_ns: (T,) true times: stamps of the reference camera [ns].
        frame_stamps_ns: (T, C) stamps of the frames used [ns].
        joint_stamps_ns: (T,) stamp of the newest joint row used [ns].
        states: (T, D) float64 [rad].
        actions: (T, D) float64 [rad]; NaN where none is known.
        skew_ns: (T,) largest difference between two frames used [ns].
        held: (T,) frames that fill a gap.
        intervention: (T,) a person drove, in an episode of the policy.
    """

    ticks_ns: Times
    frame_stamps_ns: Times
    joint_stamps_ns: Times
    states: Floats
    actions: Floats
    skew_ns: Times
    held: npt.NDArray[np.bool_]
    intervention: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ticks_ns)

    def take(self, rows: npt.NDArray[Any] | slice) -> "Segment":
        """Some of its ticks."""
        return replace(self, **{one.name: getattr(self, one.name)[rows] for one in fields(self)})


def align_recording(
    streams: RecordedStreams, robot: RobotConfig, *, source: str
) -> tuple[Segment, tuple[tuple[int, str], ...]]:
    """Align every tick of a recording.

    Args:
        streams: what was recorded.
        robot: whose rules hold; topics only for messages.
        source: the bag, for errors.

    Returns:
        The ticks that give an observation, without actions yet; and those that give none [ns], in
        order, with the reason for people.

    Raises:
        EpisodeError: the reference camera does not run at a multiple of rate_hz.
    """
    ticks = choose_ticks(streams.frame_stamps[0], robot, source=source)
    kept: list[int] = []
    failures: list[tuple[int, str]] = []
    frame_stamps = np.zeros((len(ticks), len(streams.frame_stamps)), np.int64)
    joint_stamps, skew = np.zeros(len(ticks), np.int64), np.zeros(len(ticks), np.int64)
    states = np.zeros((len(ticks), robot.width))
    nothing = np.zeros(len(ticks), np.bool_)
    for place, tick_ns in enumerate(ticks.tolist()):
        aligned = align(
            tick_ns,
            streams.frame_stamps,
            streams.joint_stamps,
            streams.joint_rows,
            max_skew_ns=round(robot.max_skew_ms * _MS),
            max_joint_age_ns=round(robot.state.max_age_ms * _MS),
        )
        if isinstance(aligned, Unaligned):
            failures.append((tick_ns, _why(aligned, robot)))
            continue
        kept.append(place)
        frame_stamps[place] = [
            stamps[frame]
            for stamps, frame in zip(streams.frame_stamps, aligned.frames, strict=True)
        ]
        joint_stamps[place] = streams.joint_stamps[aligned.joint_rows[-1]]
        states[place], skew[place] = aligned.positions, aligned.skew_ns
    every = Segment(
        ticks_ns=ticks,
        frame_stamps_ns=frame_stamps,
        joint_stamps_ns=joint_stamps,
        states=states,
        actions=np.full_like(states, np.nan),
        skew_ns=skew,
        held=nothing,
        intervention=nothing,
    )
    return every.take(np.array(kept, np.int64)), tuple(failures)


def state_at(
    tick_ns: int, streams: RecordedStreams, robot: RobotConfig
) -> tuple[int, npt.NDArray[np.float64]] | None:
    """Stamp of the newest joint row used [ns] and state (D,) [rad]; None where joints are absent.

    For a time at which no camera has a frame.
    """
    found = joints_at(
        tick_ns,
        streams.joint_stamps,
        streams.joint_rows,
        max_age_ns=round(robot.state.max_age_ms * _MS),
    )
    if isinstance(found, Unaligned):
        return None
    rows, positions = found
    return int(streams.joint_stamps[rows[-1]]), positions


def choose_ticks(stamps: Times, robot: RobotConfig, *, source: str) -> Times:
    """Choose the reference camera's frames that lie one step apart; never move one.

    A camera that runs at a whole multiple of the rate gives every k-th frame, by its stamps.

    Args:
        stamps: of the reference camera, increasing [ns].
        robot: its rate.
        source: the bag, for errors.

    Raises:
        EpisodeError: the camera's rate is no whole multiple of the robot file's.
    """
    if len(stamps) < _FEW_FRAMES:
        return stamps
    intervals = np.diff(stamps)
    # The mean without gaps: a camera stamped by a coarse clock alternates about its interval.
    interval = float(intervals[intervals < 1.6 * np.median(intervals)].mean())
    ratio = robot.step_ns / interval
    every = round(ratio)
    if every < 1 or abs(ratio / every - 1) > RATE_TOLERANCE:
        raise EpisodeError(
            f"{source}: {robot.cameras[0].topic} runs at {1e9 / interval:.1f} Hz, but rate_hz is "
            f"{robot.rate_hz:g}; expected that rate or a whole multiple of it, because frames are "
            "never moved in time: set the camera's rate or rate_hz, and record again"
        )
    return stamps if every == 1 else _every(stamps, robot.step_ns)


def _every(stamps: Times, step_ns: int) -> Times:
    """Keep the frames nearest to one step after the frame kept before."""
    kept = [0]
    while True:
        due_ns = stamps[kept[-1]] + step_ns
        after = int(np.searchsorted(stamps, due_ns))
        if after == len(stamps):
            if due_ns - stamps[-1] < step_ns // 4 and kept[-1] < after - 1:
                kept.append(after - 1)
            return stamps[kept]
        before = max(after - 1, kept[-1] + 1)
        nearer = before if due_ns - stamps[before] <= stamps[after] - due_ns else after
        kept.append(nearer)


def _why(failure: Unaligned, robot: RobotConfig) -> str:
    distance_ms = failure.distance_ns / _MS
    if failure.code == "skew" and failure.camera is not None:
        return (
            f"the nearest frame on {robot.cameras[failure.camera].topic} is {distance_ms:.0f} ms "
            f"away, allowed are {failure.allowed_ns / _MS:.0f} ms (max_skew_ms, or by its rate)"
        )
    if failure.code == "joint" and failure.joint is not None:
        name = robot.joint_names[failure.joint]
        age = f"its last sample is {distance_ms:.0f} ms old" if distance_ms else "it has no sample"
        return (
            f"joint '{name}' on {robot.state.topic}: {age}, allowed are "
            f"{robot.state.max_age_ms:g} ms"
        )
    waiting = robot.state.topic if failure.camera is None else robot.cameras[failure.camera].topic
    return f"the recording ends before a later message on {waiting}"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A stretch without observations or actions, between two ticks that have both [ns]."""

    after_ns: int
    before_ns: int
    reason: str

    @property
    def seconds(self) -> float:
        """Its real length [s]."""
        return (self.before_ns - self.after_ns) / 1e9


def find_gaps(
    ticks_ns: Times, step_ns: int, failures: Sequence[tuple[int, str]], *, reference: str
) -> tuple[Gap, ...]:
    """Find where consecutive ticks are more than GAP_STEPS steps apart.

    Args:
        ticks_ns: increasing [ns].
        step_ns: time between two actions [ns].
        failures: ticks that could not be aligned or have no action [ns], in order, and why.
        reference: topic of the reference camera, for people.
    """
    found = []
    failed_ns = [tick_ns for tick_ns, _ in failures]
    for place in np.flatnonzero(np.diff(ticks_ns) > GAP_STEPS * step_ns).tolist():
        after_ns, before_ns = int(ticks_ns[place]), int(ticks_ns[place + 1])
        first = int(np.searchsorted(failed_ns, after_ns))
        if first < len(failures) and failed_ns[first] < before_ns:
            reason = failures[first][1]
        else:
            lost = round((before_ns - after_ns) / step_ns) - 1
            reason = f"{lost} frame{'s' if lost > 1 else ''} of {reference} missing"
        found.append(Gap(after_ns=after_ns, before_ns=before_ns, reason=reason))
    return tuple(found)


def split(segment: Segment, gaps: Sequence[Gap]) -> list[Segment]:
    """Cut at each gap."""
    cuts = np.searchsorted(segment.ticks_ns, [gap.before_ns for gap in gaps]).tolist()
    edges = [0, *cuts, len(segment)]
    return [
        segment.take(slice(begin, end)) for begin, end in itertools.pairwise(edges) if end > begin
    ]


def cut(segment: Segment, max_frames: int) -> list[Segment]:
    """Cut into as few parts of at most `max_frames` ticks as there can be, equal within one."""
    count = -(-len(segment) // max_frames)
    edges = [len(segment) * place // count for place in range(count + 1)]
    return [segment.take(slice(begin, end)) for begin, end in itertools.pairwise(edges)]


def hold(
    segment: Segment, gaps: Sequence[Gap], streams: RecordedStreams, robot: RobotConfig
) -> Segment:
    """Fill each gap with repetitions of the frame before it, at their true times, marked.

    The images are repeated; the state is measured at the time itself where joints were recorded.
    """
    parts = [segment]
    for gap in gaps:
        steps = round((gap.before_ns - gap.after_ns) / robot.step_ns)
        last = int(np.searchsorted(segment.ticks_ns, gap.after_ns))
        filled = segment.take(np.full(steps - 1, last))
        states, joint_stamps = filled.states.copy(), filled.joint_stamps_ns.copy()
        ticks = gap.after_ns + robot.step_ns * np.arange(1, steps, dtype=np.int64)
        for row, tick_ns in enumerate(ticks.tolist()):
            measured = state_at(tick_ns, streams, robot)
            if measured is not None:
                joint_stamps[row], states[row] = measured
        held = np.ones(len(ticks), np.bool_)
        parts.append(
            replace(filled, ticks_ns=ticks, states=states, joint_stamps_ns=joint_stamps, held=held)
        )
    order = np.argsort(np.concatenate([part.ticks_ns for part in parts]), kind="stable")
    return Segment(
        **{
            one.name: np.concatenate([getattr(part, one.name) for part in parts])[order]
            for one in fields(Segment)
        }
    )
