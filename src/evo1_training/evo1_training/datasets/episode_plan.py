"""From an episode to aligned frames: first a plan without any image, then the images, once each.

A gap is where two consecutive ticks that have an observation and an action are more than 1.5 steps
apart: images or joints are missing, or nobody demonstrated (see action_curve). Its time is never
taken out of sight: the plan says where it is and what was done about it. Must not import ROS or
torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from evo1_policy.perception.messages import MessageError, decode_image, deserialize
from evo1_policy.robot_config import JOINT_STREAM
from evo1_training.datasets.action_curve import Demonstrated, demonstrated
from evo1_training.datasets.alignment import (
    Gap,
    Segment,
    align_recording,
    cut,
    find_gaps,
    hold,
    split,
)
from evo1_training.datasets.lerobot.schema import AlignedFrame
from evo1_training.datasets.recorded_streams import (
    RecordedStreams,
    camera_topic,
    read_streams,
    time_ns,
)
from evo1_training.recording.bag_reader import Episode
from evo1_training.recording.episode import EpisodeError
from evo1_training.recording.mcap_records import RawMessage, Wanted

Gaps = Literal["auto", "split", "hold", "refuse"]
SHORT_GAP_FRAMES = 3  # so many missing frames are held by "auto"; more begin a new episode


class UnreadableFrameError(EpisodeError):
    """A frame of the plan cannot be decoded; plan again with decode=True."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodePlan:
    """What becomes of one recorded episode.

    Attributes:
        segments: the episodes that it gives, in order.
        gaps: where observations or actions are missing.
        dropped: recorded ticks that are in no segment.
        arrivals_ns: when the first and the last frame of each segment were received [ns].
        problems: what a person should know, one line each.
        offsets_ms: median of arrival minus stamp, by stream.
        decoded: every image was decoded in advance, and corrupt ones were rejected.
    """

    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...]
    dropped: int
    arrivals_ns: tuple[tuple[int, int], ...]
    problems: tuple[str, ...]
    offsets_ms: Mapping[str, float]
    decoded: bool = False

    @property
    def frames(self) -> int:
        """Frames of all segments."""
        return sum(len(segment) for segment in self.segments)


def plan_episode(
    episode: Episode,
    *,
    gaps: Gaps,
    min_frames: int = 1,
    max_frames: int | None = None,
    decode: bool = False,
) -> EpisodePlan:
    """Decide which ticks of an episode become which frames.

    Args:
        episode: the recording; read without its images.
        gaps: 'split' begins a new episode after each, 'hold' repeats the last frame with a mark,
            'auto' holds up to SHORT_GAP_FRAMES and splits where more are missing, 'refuse' raises.
        min_frames: shorter segments are dropped, and reported.
        max_frames: longer segments are cut into equal parts, and reported; None: no limit.
        decode: decode every image in advance; see read_streams.

    Raises:
        EpisodeError: the recording cannot be used, or has gaps that are refused.
    """
    robot, source = episode.robot, str(episode.bag)
    streams = read_streams(episode, decode=decode)
    aligned, failures = align_recording(streams, robot, source=source)
    if not len(aligned):
        raise EpisodeError(f"{source}: no frame can be aligned: {failures[0][1]}")
    ticks, wanted, left_out_ns = _with_actions(episode, aligned, failures, streams, gaps)
    ticks, usable, undriven = _between_ends(ticks, wanted, source=source)
    reasons, camera = sorted([*failures, *undriven]), robot.cameras[0].topic
    breaks = find_gaps(ticks.ticks_ns[usable], robot.step_ns, reasons, reference=camera)
    found = tuple(gap for gap in breaks if not _holds_any(gap, left_out_ns))
    if found and gaps == "refuse":
        raise EpisodeError(_refusal(source, found))
    held = [gap for gap in found if _is_held(gap, gaps, robot.step_ns)]
    ticks = _with_held(ticks, usable, held)
    parts = split(ticks, [gap for gap in breaks if gap not in held])
    segments = tuple(
        piece
        for part in parts
        if len(part) >= min_frames
        for piece in cut(part, max_frames or len(part))
    )
    recorded = len(aligned) + len(failures)
    return EpisodePlan(
        segments=segments,
        gaps=found,
        dropped=recorded - sum(_recorded(segment, aligned) for segment in segments),
        arrivals_ns=tuple(_arrivals(segment, streams) for segment in segments),
        problems=(
            *streams.rejections.lines(),
            *wanted.rejections.lines(),
            *([f"{len(left_out_ns)} frames left out, as marked"] if len(left_out_ns) else []),
            *_unused_ends(aligned, failures, ticks, rate_hz=robot.rate_hz),
            *_odd_lengths(parts, ticks, min_frames, max_frames),
        ),
        offsets_ms=streams.offsets_ms,
        decoded=decode,
    )


def _with_actions(
    episode: Episode,
    aligned: Segment,
    failures: Sequence[tuple[int, str]],
    streams: RecordedStreams,
    gaps: Gaps,
) -> tuple[Segment, Demonstrated, npt.NDArray[np.int64]]:
    """All ticks with what was demonstrated, and with those that fill gaps of the observations.

    The last of what is returned are the times of ticks that a person marked to be left out [ns].
    """
    robot = episode.robot
    unseen = find_gaps(aligned.ticks_ns, robot.step_ns, failures, reference=robot.cameras[0].topic)
    filled = [gap for gap in unseen if _is_held(gap, gaps, robot.step_ns)]
    ticks = hold(aligned, filled, streams, robot)
    wanted = demonstrated(episode, ticks.ticks_ns)
    left_out = _left_out(episode, ticks.ticks_ns)
    wanted = replace(wanted, actions=np.where(left_out[:, None], np.nan, wanted.actions))
    ticks = replace(ticks, actions=wanted.actions, intervention=wanted.intervention)
    return ticks, wanted, ticks.ticks_ns[left_out]


def _left_out(episode: Episode, ticks_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of T ticks (T,) [ns] lie where a label without words says that nothing is shown."""
    outcome = episode.sidecar.outcome
    labels = outcome.labels if outcome is not None else ()
    silent = np.array([False, *(not label.instruction for label in labels)])
    return silent[np.searchsorted([label.from_ns for label in labels], ticks_ns, side="right")]


def _holds_any(gap: Gap, times_ns: npt.NDArray[np.int64]) -> bool:
    return bool(((times_ns > gap.after_ns) & (times_ns < gap.before_ns)).any())


def _is_held(gap: Gap, gaps: Gaps, step_ns: int) -> bool:
    missing = round((gap.before_ns - gap.after_ns) / step_ns) - 1
    return gaps == "hold" or (gaps == "auto" and missing <= SHORT_GAP_FRAMES)


def frames(
    episode: Episode,
    plan: EpisodePlan,
    index: int,
    *,
    image_sizes: Mapping[str, tuple[int, int]] | None = None,
) -> Iterator[AlignedFrame]:
    """Give the frames of a segment, decoding each image once as the bag is read.

    Args:
        episode: the recording.
        plan: made of it.
        index: which segment.
        image_sizes: (height, width) by camera name; None takes the first images'.

    Raises:
        UnreadableFrameError: an image is corrupt, and the plan did not know.
        EpisodeError: a camera changed its size, or the bag is damaged.
    """
    segment = plan.segments[index]
    images = _ImageWindow(episode, segment, dict(image_sizes or {}), decoded=plan.decoded)
    first_ns, last_ns = plan.arrivals_ns[index]
    wanted = Wanted(topics=images.topics, first_ns=first_ns, last_ns=last_ns)
    row = 0
    for message in episode.read(wanted):
        images.add(message)
        while row < len(segment) and images.has(row):
            yield _frame(episode, segment, row, images)
            row += 1
            images.drop_before(row)
    if row < len(segment):
        raise EpisodeError(
            f"{episode.bag}: frames that were there a moment ago are missing; is it being written?"
        )


class _ImageWindow:
    """Decoded images between the first camera's and the last camera's message of a tick."""

    def __init__(
        self,
        episode: Episode,
        segment: Segment,
        image_sizes: dict[str, tuple[int, int]],
        *,
        decoded: bool,
    ) -> None:
        self._cameras = cameras = episode.robot.cameras
        self._episode = episode
        self._decoded = decoded
        self._sizes = image_sizes
        self.names = [camera.name for camera in cameras]
        self._stamps = segment.frame_stamps_ns
        self._wanted = [set(column.tolist()) for column in segment.frame_stamps_ns.T]
        self._images: list[dict[int, npt.NDArray[np.uint8]]] = [{} for _ in cameras]
        self._columns = {camera_topic(episode, camera): i for i, camera in enumerate(cameras)}

    @property
    def topics(self) -> frozenset[str]:
        return frozenset(self._columns)

    def add(self, message: RawMessage) -> None:
        """Decode a message if one of the ticks shows it."""
        column = self._columns[message.topic]
        try:
            stamp = time_ns(message, self._cameras[column])
            if stamp not in self._wanted[column]:
                return
            content = deserialize(message.data, message.type, topic=message.topic)
            image = decode_image(content, topic=message.topic)
        except MessageError as error:
            if self._decoded:
                return  # it was rejected; another message has the stamp
            raise UnreadableFrameError(f"{self._episode.bag}: {error}") from error
        self._wanted[column].discard(stamp)
        self._check_size(self.names[column], message.topic, image.shape[:2])
        self._images[column][stamp] = image

    def has(self, row: int) -> bool:
        return all(
            int(stamp) in images
            for stamp, images in zip(self._stamps[row], self._images, strict=True)
        )

    def of(self, row: int) -> dict[str, npt.NDArray[np.uint8]]:
        return {
            name: images[int(stamp)]
            for name, stamp, images in zip(
                self.names, self._stamps[row], self._images, strict=True
            )
        }

    def drop_before(self, row: int) -> None:
        """Forget what no later tick shows."""
        if row == len(self._stamps):
            return
        for stamp, images in zip(self._stamps[row], self._images, strict=True):
            for old in [one for one in images if one < stamp]:
                del images[old]

    def _check_size(self, name: str, topic: str, shape: tuple[int, ...]) -> None:
        size = (shape[0], shape[1])
        expected = self._sizes.setdefault(name, size)
        if size != expected:
            raise EpisodeError(
                f"{self._episode.bag}: {topic} changes its size from {expected[1]}x{expected[0]} "
                f"to {size[1]}x{size[0]}; one dataset holds one size: fix it in the camera's "
                "driver and record again"
            )


def _frame(episode: Episode, segment: Segment, row: int, images: _ImageWindow) -> AlignedFrame:
    stamps = dict(zip(images.names, segment.frame_stamps_ns[row].tolist(), strict=True))
    return AlignedFrame(
        tick_ns=int(segment.ticks_ns[row]),
        images=images.of(row),
        state=segment.states[row],
        action=segment.actions[row],
        source_stamps_ns={**stamps, JOINT_STREAM: int(segment.joint_stamps_ns[row])},
        skew_ns=int(segment.skew_ns[row]),
        held=bool(segment.held[row]),
        intervention=bool(segment.intervention[row]),
        instruction=episode.sidecar.instruction_at(int(segment.ticks_ns[row])),
    )


def _between_ends(
    ticks: Segment, wanted: Demonstrated, *, source: str
) -> tuple[Segment, npt.NDArray[np.bool_], list[tuple[int, str]]]:
    """Leave out what comes before the first and after the last observation with an action.

    Returns:
        The ticks between; which of them have an observation and an action; times of the others
        that have an observation [ns], with the reason for people.

    Raises:
        EpisodeError: there is none with both.
    """
    usable = wanted.known & ~ticks.held
    rows = np.flatnonzero(usable)
    if not rows.size:
        raise EpisodeError(f"{source}: no frame has an action: {wanted.reason()}")
    undriven = ticks.ticks_ns[~usable & ~ticks.held].tolist()
    between = slice(int(rows[0]), int(rows[-1]) + 1)
    reason = wanted.reason()
    return ticks.take(between), usable[between], [(tick_ns, reason) for tick_ns in undriven]


def _with_held(ticks: Segment, usable: npt.NDArray[np.bool_], held: Sequence[Gap]) -> Segment:
    """Keep what is usable, and mark what stands in gaps that are held; its last action repeats."""
    kept = usable.copy()
    for gap in held:
        kept |= (ticks.ticks_ns > gap.after_ns) & (ticks.ticks_ns < gap.before_ns)
    complete = np.isfinite(ticks.actions).all(axis=1)
    last = np.maximum.accumulate(np.where(complete, np.arange(len(ticks)), 0))
    return replace(ticks, actions=ticks.actions[last], held=~usable).take(kept)


def _recorded(segment: Segment, aligned: Segment) -> int:
    """How many of its ticks are recorded ones, and not made to fill a gap."""
    return int(np.isin(segment.ticks_ns, aligned.ticks_ns).sum())


def _arrivals(segment: Segment, streams: RecordedStreams) -> tuple[int, int]:
    first, last = [], []
    for column, (stamps, arrivals) in enumerate(
        zip(streams.frame_stamps, streams.frame_arrivals, strict=True)
    ):
        used = arrivals[np.searchsorted(stamps, segment.frame_stamps_ns[:, column])]
        first.append(int(used.min()))
        last.append(int(used.max()))
    return min(first), max(last)


def _refusal(source: str, found: tuple[Gap, ...]) -> str:
    return (
        f"{source}: {len(found)} gap{'s' if len(found) > 1 else ''}; the first is "
        f"{found[0].seconds * 1e3:.0f} ms long: {found[0].reason}; --gaps split or --gaps hold "
        "takes such episodes"
    )


def _unused_ends(
    aligned: Segment, failures: Sequence[tuple[int, str]], ticks: Segment, *, rate_hz: float
) -> list[str]:
    """Say where more than half a second at an end has no observation or action."""
    lines = []
    first_ns, last_ns = ticks.ticks_ns[0], ticks.ticks_ns[-1]
    before = [why for tick_ns, why in failures if tick_ns < first_ns]
    idle = int((aligned.ticks_ns < first_ns).sum())
    after = [why for tick_ns, why in failures if tick_ns > last_ns]
    done = int((aligned.ticks_ns > last_ns).sum())
    if idle > rate_hz / 2:
        lines.append(f"{idle} frames at the start dropped: nobody demonstrates yet")
    if done > rate_hz / 2:
        lines.append(f"{done} frames at the end dropped: nobody demonstrates any more")
    if len(before) > rate_hz / 2:
        lines.append(f"{len(before)} frames at the start dropped: {before[-1]}")
    if len(after) > rate_hz / 2:
        lines.append(f"{len(after)} frames at the end dropped: {after[0]}")
    return lines


def _odd_lengths(
    parts: Sequence[Segment], ticks: Segment, min_frames: int, max_frames: int | None
) -> Iterator[str]:
    """Say which parts are dropped or cut for their length."""
    for part in parts:
        if len(part) < min_frames:
            at_s = (part.ticks_ns[0] - ticks.ticks_ns[0]) / 1e9
            yield (
                f"{len(part)} frames at {at_s:.1f} s dropped: fewer than {min_frames} in a row "
                "(--min-frames)"
            )
        elif max_frames is not None and len(part) > max_frames:
            yield (
                f"{len(part)} frames without a gap cut into {len(cut(part, max_frames))} "
                f"episodes: the format holds {max_frames} in one"
            )
