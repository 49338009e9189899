"""The grade of a take: pass, warn or fail, with every reason in words.

'fail' means that converting would refuse or cut the episode; 'warn' that somebody should look.
Must not import ROS or torch.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evo1_policy.perception.alignment import max_distance_ns
from evo1_policy.perception.buffers import clock_problem
from evo1_policy.robot_config import IMAGE_TYPES, JOINT_STREAM, RobotConfig
from evo1_training.recording.episode import TELEOP, Label, Outcome, RecordedTopic, StreamFacts
from evo1_training.recording.mcap_records import RawMessage, Wanted
from evo1_training.recording.stream_monitor import StreamMonitor, WatchedTake
from evo1_training.recording.stream_watch import StreamFigures

PASS, WARN, FAIL = "pass", "warn", "fail"
LONG_GAP_MS = 500.0  # that much is missing from the middle of a movement
SLOW_WARN, SLOW_FAIL = 0.97, 0.9  # of the robot file's rate
FAST_WARN = 1.1
LOST_FAIL = 0.01  # of a topic's messages
SKEW_FAIL = 0.05  # of the reference frames
STUCK_RAD = 0.002  # moved less than this ...
ASKED_RAD = 0.05  # ... although asked to move more than this
SHORT_S = 1.0
_HEAD_BYTES = 256  # of an image: its stamp and size

Reason = tuple[str, str]  # grade, words


def grade(robot: RobotConfig, take: WatchedTake) -> tuple[str, tuple[str, ...]]:
    """Return 'pass', 'warn' or 'fail', and why not 'pass', the worst first."""
    reasons = sorted(_reasons(robot, take), key=lambda reason: reason[0] != FAIL)
    levels = {level for level, _ in reasons}
    level = FAIL if FAIL in levels else WARN if WARN in levels else PASS
    return level, tuple(words for _, words in reasons)


def outcome(
    robot: RobotConfig,
    take: WatchedTake,
    *,
    written: Mapping[str, int],
    labels: Sequence[Label] = (),
) -> Outcome:
    """Grade a take.

    Args:
        robot: the robot file.
        take: what came in.
        written: messages that the bag holds, by topic; what is missing counts as lost.
        labels: what replaced the first label.
    """
    streams = tuple(_with_unwritten(one, written.get(one.topic, 0)) for one in take.streams)
    level, reasons = grade(robot, replace(take, streams=streams))
    return Outcome(
        ended_ns=take.ended_ns,
        grade=level,
        reasons=reasons,
        streams=tuple(
            StreamFacts(
                topic=stream.topic,
                role=stream.role,
                messages=stream.messages,
                lost=stream.lost,
                rate_hz=round(stream.rate_hz, 3),
                max_gap_ms=round(stream.max_gap_ms, 3),
                offset_ms=round(stream.offset_ms, 3),
            )
            for stream in streams
        ),
        recovered=take.recovered,
        labels=tuple(labels),
    )


def grade_messages(
    robot: RobotConfig,
    topics: Sequence[RecordedTopic],
    read: Callable[[Wanted], Iterator[RawMessage]],
    *,
    awaited: Collection[str] = (),
    recovered: bool = False,
    labels: Sequence[Label] = (),
) -> Outcome:
    """Grade what a bag holds, as if it were being recorded.

    Args:
        robot: the robot file.
        topics: that count.
        read: gives the bag's messages in the order of arrival.
        awaited: topics without which the take has not begun.
        recovered: whether it was cut off and made readable afterwards.
        labels: what replaced the first label.
    """
    monitor = StreamMonitor(robot, topics)
    names = frozenset(topic.name for topic in topics)
    images = frozenset(topic.name for topic in topics if topic.type in IMAGE_TYPES)
    written = dict.fromkeys(names, 0)
    missing, begun, last_ns = set(awaited), False, 0
    for message in read(Wanted(topics=names, head_only=images, head_bytes=_HEAD_BYTES)):
        missing.discard(message.topic)
        if not begun and not missing:
            monitor.begin(message.log_ns)
            written, begun = dict.fromkeys(names, 0), True
        monitor.add(message.topic, message.data, message.log_ns)
        written[message.topic] += 1
        last_ns = max(last_ns, message.log_ns)
    take = replace(monitor.end(last_ns), recovered=recovered)
    return outcome(robot, take, written=written, labels=labels)


def _with_unwritten(stream: StreamFigures, written: int) -> StreamFigures:
    """Count what came in but did not reach the disk as lost."""
    unwritten = max(0, stream.messages - written)
    return replace(stream, messages=stream.messages - unwritten, lost=stream.lost + unwritten)


def _reasons(robot: RobotConfig, take: WatchedTake) -> Iterator[Reason]:
    if take.fault:
        yield FAIL, f"the take was cut short: {take.fault}"
    if take.recovered:
        yield WARN, "cut off before it was saved; look whether the task was finished"
    if take.duration_s < SHORT_S:
        yield WARN, f"the take is {take.duration_s:.1f} s short"
    for note in take.notes:
        yield WARN, note
    for stream in take.streams:
        yield from _stream(stream, take.max_unusable)
        if stream.role.startswith("camera:") and stream.messages > 1:
            yield from _rate(stream, robot.rate_hz)
    yield from _action(take)
    yield from _skew(robot, take)
    yield from _joints(take)


def _stream(stream: StreamFigures, max_unusable: float) -> Iterator[Reason]:
    required = stream.role.startswith("camera:") or stream.name == JOINT_STREAM
    if required and stream.messages == 0:
        yield FAIL, f"{stream.name}: no message on {stream.topic}"
        return
    if stream.lost:
        total = stream.messages + stream.lost
        yield (
            FAIL if stream.lost > LOST_FAIL * total else WARN,
            f"{stream.name}: {stream.lost} of {total} messages lost",
        )
    if stream.rejected:
        total = max(stream.messages, stream.rejected)
        allowed = max(1, max_unusable * total) if max_unusable else 0  # one is never many
        yield (
            FAIL if stream.rejected > allowed or stream.rejected == total else WARN,
            f"{stream.name}: {stream.rejected} of {total} messages on {stream.topic} unusable "
            f"(allowed are {max_unusable:.1%}): {stream.rejection}",
        )
    yield from _clock(stream)
    if len(stream.sizes) > 1:
        sizes = ", ".join(f"{width}x{height}" for width, height in stream.sizes)
        yield FAIL, f"{stream.name}: images of several sizes: {sizes}"
    if not stream.bound_ms:  # commands carry the time that they begin, which may repeat
        return
    if stream.disordered:
        yield WARN, f"{stream.name}: {stream.disordered} stamps did not go forward"
    if stream.end_gap_ms > LONG_GAP_MS:
        yield FAIL, f"{stream.name}: stopped {stream.end_gap_ms / 1e3:.1f} s before the end"
    elif stream.max_gap_ms > LONG_GAP_MS:
        yield FAIL, f"{stream.name}: {_gaps(stream)}"
    elif stream.gaps:
        yield WARN, f"{stream.name}: {_gaps(stream)}"


def _clock(stream: StreamFigures) -> Iterator[Reason]:
    offset_ns, max_age_ns = (round(ms * 1e6) for ms in (stream.offset_ms, stream.max_age_ms))
    problem = clock_problem(stream.topic, offset_ns, max_age_ns=max_age_ns)
    if problem:
        yield FAIL, f"{stream.name}: {problem}"


def _gaps(stream: StreamFigures) -> str:
    count = max(1, stream.gaps)
    return (
        f"{count} gap{'s' if count > 1 else ''} of more than {stream.bound_ms:.0f} ms, "
        f"the longest {stream.max_gap_ms:.0f} ms"
    )


def _rate(stream: StreamFigures, rate_hz: float) -> Iterator[Reason]:
    words = f"{stream.name}: {stream.rate_hz:.1f} Hz, the robot file says {rate_hz:g} Hz"
    if stream.rate_hz < SLOW_FAIL * rate_hz:
        yield FAIL, words
    elif stream.rate_hz < SLOW_WARN * rate_hz or stream.rate_hz > FAST_WARN * rate_hz:
        yield WARN, words


def _action(take: WatchedTake) -> Iterator[Reason]:
    """The demonstrated action comes from the teleop topic, or else from the commands."""
    teleop = sum(stream.messages for stream in take.streams if stream.role == TELEOP)
    if teleop:
        return
    if any(s.messages for s in take.streams if s.role.startswith("command:")):
        yield WARN, "no message on the teleop topic; the commands will be taken as the action"
    else:
        yield FAIL, "no message on the teleop topic nor on a command topic: no action is shown"


def _skew(robot: RobotConfig, take: WatchedTake) -> Iterator[Reason]:
    cameras = [stream for stream in take.streams if stream.role.startswith("camera:")]
    if len(cameras) < 2 or not all(len(camera.stamps) for camera in cameras):
        return
    reference = np.asarray(cameras[0].stamps, dtype=np.int64)
    for camera in cameras[1:]:
        stamps = np.sort(np.asarray(camera.stamps, dtype=np.int64))
        distance_ms = _nearest(reference, stamps) / 1e6
        allowed_ms = max_distance_ns(stamps, max_skew_ns=round(robot.max_skew_ms * 1e6)) / 1e6
        apart = int((distance_ms > allowed_ms).sum())
        # of the first and last frames the partner may lie outside of the take
        if apart > 2:
            yield (
                FAIL if apart > SKEW_FAIL * len(reference) else WARN,
                f"{camera.name}: {apart} of {len(reference)} frames of {cameras[0].name} have no "
                f"frame within {allowed_ms:.0f} ms; typically {np.median(distance_ms):.0f} ms",
            )


def _nearest(ticks: npt.NDArray[np.int64], stamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Distance of each tick to the nearest stamp [ns]."""
    right = np.clip(np.searchsorted(stamps, ticks), 0, len(stamps) - 1)
    left = np.maximum(right - 1, 0)
    nearest: npt.NDArray[np.int64] = np.minimum(
        np.abs(stamps[right] - ticks), np.abs(stamps[left] - ticks)
    )
    return nearest


def _joints(take: WatchedTake) -> Iterator[Reason]:
    told = [joint for joint in take.joints if joint.moved >= 0]
    silent = [joint.name for joint in take.joints if joint.moved < 0]
    if silent and told:
        yield FAIL, f"{JOINT_STREAM}: nothing of {', '.join(silent)}"
    for joint in told:
        if joint.moved < STUCK_RAD and joint.asked > ASKED_RAD:
            yield (
                FAIL,
                f"{joint.name}: stuck; asked to move {joint.asked:.2f} rad, it moved "
                f"{joint.moved:.3f} rad",
            )
    if told and all(joint.moved < STUCK_RAD for joint in told):
        yield WARN, "no joint moved"
