"""Converting one episode: plan it, encode its segments, and say what came of it.

Runs in a worker process. What is complete on disk is not done again. Must not import ROS or torch.
"""

import glob
import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from evo1_policy.paths import confined, write_whole
from evo1_policy.untrusted import read_json
from evo1_training.datasets.episode_plan import (
    EpisodePlan,
    Gaps,
    UnreadableFrameError,
    frames,
    plan_episode,
)
from evo1_training.datasets.lerobot.encoding import encode_episode
from evo1_training.datasets.lerobot.schema import MAX_SECONDS, AlignedFrame, DatasetSchema
from evo1_training.datasets.lerobot.staging import locked
from evo1_training.recording.bag_reader import Episode, open_episode, packed_cameras
from evo1_training.recording.episode import EpisodeError, EpisodeFacts, checked
from evo1_training.recording.foreign_bag import ForeignTake

T = TypeVar("T")
_AHEAD = 4  # frames that wait, decoded
Advance = Callable[[int], None]  # told how many more frames are encoded


@dataclass(frozen=True, kw_only=True)
class Job:
    """One episode to convert.

    Attributes:
        folder: the episode, or the bag of another recorder.
        foreign: which episode of that bag; None: one of ours.
        work: folder of everything that is encoded but in no dataset yet.
        schema: of the dataset.
        gaps: what to do about them.
        min_frames: shorter segments are dropped.
        read_ahead: read and decode in a thread of its own, where a core is free for it.
    """

    folder: Path
    work: Path
    schema: DatasetSchema
    gaps: Gaps
    min_frames: int
    read_ahead: bool = False
    foreign: ForeignTake | None = None


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """What came of one recorded episode.

    Attributes:
        folder: the episode.
        key: its name below the work folder.
        frames: of each segment.
        held: frames that fill gaps.
        dropped: recorded frames that are in no segment.
        gaps: how many.
        gap_seconds: their real length together [s].
        seconds: length of its segments [s].
        notes: what a person should know.
    """

    folder: str
    key: str
    frames: tuple[int, ...]
    held: int
    dropped: int
    gaps: int
    gap_seconds: float
    seconds: float
    notes: tuple[str, ...]

    def sources(self) -> tuple[str, ...]:
        """Names of its segments in the dataset."""
        return tuple(source_name(self.key, index) for index in range(len(self.frames)))


def episode_key(facts: EpisodeFacts) -> str:
    """Return a name that no other take has, wherever its folder is moved."""
    identity = f"{facts.episode_id} {facts.started_ns} {facts.started_utc}"
    return f"{facts.episode_id}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def source_name(key: str, index: int) -> str:
    """Name of a segment in the dataset."""
    return f"{key}#{index}"


def segment_folder(work: Path, key: str, index: int) -> Path:
    """Where an encoded segment lies."""
    return confined(work, f"{key}-{index:03d}", "episode_id")


def load_result(work: Path, key: str) -> EpisodeResult | None:
    """Return what an earlier run encoded completely; None where it did not."""
    try:
        data = read_json(confined(work, f"{key}.json", "episode_id"), what="encoded episode")
        frames = tuple(int(count) for count in data["frames"])
        notes = tuple(str(note) for note in data["notes"])
        result = checked(EpisodeResult, {**data, "frames": frames, "notes": notes})
    except (ValueError, TypeError, LookupError):
        return None
    complete = all(
        segment_folder(work, key, index).is_dir() for index in range(len(result.frames))
    )
    return result if complete else None


def forget(work: Path, key: str) -> None:
    """Remove what was encoded of an episode."""
    confined(work, f"{key}.json", "episode_id").unlink(missing_ok=True)
    for folder in work.glob(f"{glob.escape(key)}-*"):
        shutil.rmtree(folder)


def convert_episode(job: Job, advance: Advance) -> EpisodeResult:
    """Encode all segments of an episode below the work folder.

    Raises:
        EpisodeError: it cannot be used; nothing of it is left behind.
        OSError: the disk is full or gone.
    """
    episode = open_episode(job.folder) if job.foreign is None else job.foreign.open()
    key = episode_key(episode.sidecar.facts)
    done = load_result(job.work, key)
    if done is not None:
        advance(sum(done.frames))
        return done
    counted = _Counted(advance)
    busy = f"{job.folder}: another conversion works on it; wait for its end and convert again"
    with locked(job.work / f".{key}.lock", EpisodeError(busy)):
        try:
            result = _encode(job, episode, key, counted)
        except UnreadableFrameError:
            counted.take_back()
            result = _encode(job, episode, key, counted, decode=True)
        write_whole(job.work / f"{key}.json", json.dumps(asdict(result)), sync=False)
    return result


def _encode(
    job: Job, episode: Episode, key: str, counted: "_Counted", *, decode: bool = False
) -> EpisodeResult:
    """Plan and encode; leaves nothing behind where that fails."""
    plan = plan_episode(
        episode,
        gaps=job.gaps,
        min_frames=job.min_frames,
        max_frames=int(MAX_SECONDS * job.schema.fps),
        decode=decode,
    )
    if not plan.segments:
        raise EpisodeError(f"{episode.folder}: nothing is left of it: {'; '.join(plan.problems)}")
    forget(job.work, key)
    try:
        for index in range(len(plan.segments)):
            found = frames(episode, plan, index, image_sizes=job.schema.image_sizes)
            if job.read_ahead:
                found = read_ahead(found, items=_AHEAD)
            encode_episode(
                counted.iterate(found),
                schema=job.schema,
                instruction=episode.sidecar.facts.instruction,
                source=source_name(key, index),
                folder=segment_folder(job.work, key, index),
                offsets_ms=plan.offsets_ms,
                packed=packed_cameras(episode),
                scene=episode.sidecar.facts.scene,
            )
    except BaseException:
        forget(job.work, key)
        raise
    return _result(job, episode, key, plan)


def _result(job: Job, episode: Episode, key: str, plan: EpisodePlan) -> EpisodeResult:
    packed = packed_cameras(episode).items()
    notes = [f"{name}: images were compressed while recorded: {how}" for name, how in packed]
    notes += plan.problems
    lengths = tuple(len(segment) for segment in plan.segments)
    return EpisodeResult(
        folder=str(episode.folder),
        key=key,
        frames=lengths,
        held=sum(int(segment.held.sum()) for segment in plan.segments),
        dropped=plan.dropped,
        gaps=len(plan.gaps),
        gap_seconds=sum(gap.seconds for gap in plan.gaps),
        seconds=sum(lengths) / job.schema.fps,
        notes=tuple(notes),
    )


class _Counted:
    """Tells how many frames went by, and takes it back."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._told = 0

    def iterate(self, source: Iterable[AlignedFrame]) -> Iterator[AlignedFrame]:
        for frame in source:
            yield frame
            self._told += 1
            self._advance(1)

    def take_back(self) -> None:
        """Start again."""
        self._advance(-self._told)
        self._told = 0


def read_ahead(source: Iterator[T], *, items: int) -> Iterator[T]:
    """Give what `source` gives, while a thread gets the next items.

    Args:
        source: used by the thread only.
        items: how many may wait.

    Raises:
        Exception: whatever the source raises, at its place.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read_ahead")
    try:
        waiting = deque(pool.submit(next, source, end) for _ in range(items + 1))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]  # only the source's items are left
    finally:
        pool.shutdown(cancel_futures=True)
