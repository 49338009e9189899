"""What to convert: the request, the episodes that fit, and the account of what became of each.

Must not import ROS or torch.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from evo1_policy.command_line import printable
from evo1_policy.perception.messages import MessageError, decode_image, deserialize
from evo1_policy.robot_config import CameraConfig, differences, parse_robot
from evo1_training.datasets.conversion_job import EpisodeResult, episode_key
from evo1_training.datasets.episode_plan import Gaps
from evo1_training.datasets.lerobot.schema import DatasetSchema, Storage, Version
from evo1_training.datasets.recorded_streams import camera_topic, type_problem
from evo1_training.recording.bag_reader import Episode, open_episode
from evo1_training.recording.episode import (
    SCRIPTED_OPERATOR,
    SIDECAR,
    SIMULATION_OPERATOR,
    EpisodeError,
)
from evo1_training.recording.foreign_bag import ForeignBags, ForeignTake
from evo1_training.recording.mcap_records import Wanted

_MANY = 3  # episodes that say the same are listed one by one
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


class ConversionError(ValueError):
    """A conversion that cannot begin or go on; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to convert, and how.

    Attributes:
        episodes: folders of episodes, or folders that hold some.
        dataset: folder to write.
        version: of LeRobot's format.
        storage: of images.
        gaps: what to do about them.
        min_frames: shorter segments are dropped, and reported.
        workers: processes.
        append: add to a dataset that is there already.
        include_failed: take episodes with the grade 'fail', too.
        shard: (k, N): only encode every N-th episode, beginning with the k-th, counted from 1.
        foreign: what is told of bags that another recorder wrote; None: episodes of ours.
    """

    episodes: Sequence[Path]
    dataset: Path
    version: Version = "v2.1"
    storage: Storage = "h264"
    gaps: Gaps = "auto"
    min_frames: int = 30
    workers: int = 1
    append: bool = False
    include_failed: bool = False
    shard: tuple[int, int] | None = None
    foreign: ForeignBags | None = None


@dataclass(kw_only=True)
class Summary:
    """What a conversion did.

    Attributes:
        results: of the episodes that were converted, in order.
        failed: (folder, reason) of those that cannot be used.
        left_out: (folder, reason) of those that were not wanted.
        added: episodes of the dataset that were written; fewer than encoded for a shard.
    """

    results: list[EpisodeResult] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    added: int = 0


class Progress(Protocol):
    """Who watches a conversion."""

    def expect(self, frames: int) -> None:
        """So many frames were recorded."""

    def advance(self, frames: int) -> None:
        """So many more are done."""

    def note(self, text: str) -> None:
        """Something that a person should know at once."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An episode that can be converted, as far as a first look tells."""

    folder: Path
    key: str
    schema: DatasetSchema
    recorded: int  # frames, as far as known
    simulated: bool = False  # as far as its operator tells
    foreign: ForeignTake | None = None


def look_at(
    folders: Sequence[Path], request: Request, summary: Summary, progress: Progress
) -> list[Candidate]:
    """Open every episode once, so that what cannot work is said before the long work begins.

    What cannot be used, or is not wanted, goes into the summary with its reason.
    """
    candidates: dict[str, Candidate] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        try:
            takes = [None] if request.foreign is None else request.foreign.takes(folder)
            for take in takes:
                episode = open_episode(folder) if take is None else take.open()
                reason = _unwanted(episode, request)
                key = episode_key(episode.sidecar.facts)
                if key in candidates:
                    reason = f"the same take as {candidates[key].folder}"
                if reason:
                    summary.left_out.append((folder, reason))
                else:
                    candidates[key] = _candidate(episode, key, request.storage, take)
        except EpisodeError as error:
            fail(folder, error, summary, progress)
    return list(candidates.values())


def _candidate(
    episode: Episode, key: str, storage: Storage, take: ForeignTake | None
) -> Candidate:
    operator = episode.sidecar.facts.operator
    return Candidate(
        folder=episode.folder,
        key=key,
        schema=schema_of(episode, storage),
        recorded=_frames_recorded(episode),
        simulated=operator in (SCRIPTED_OPERATOR, SIMULATION_OPERATOR),
        foreign=take,
    )


def _unwanted(episode: Episode, request: Request) -> str:
    """Why an episode is left out; empty where it is not.

    Raises:
        EpisodeError: it did not end, or has no label.
    """
    outcome = episode.sidecar.outcome
    if outcome is None or episode.torn:
        raise EpisodeError(
            f"{episode.folder}: it did not end: stop the recorder, or 'recover' what was cut off"
        )
    if not episode.sidecar.facts.instruction.strip():
        raise EpisodeError(
            f"{episode.folder}: no instruction; a policy learns nothing without its label: write "
            f"it into {SIDECAR}"
        )
    if outcome.grade == "fail" and not request.include_failed:
        why = "; ".join(outcome.reasons) or "no reason given"
        return f"graded fail: {why} (--include-failed takes it)"
    return ""


def fitting(
    candidates: list[Candidate], schema: DatasetSchema, summary: Summary, progress: Progress
) -> list[Candidate]:
    """Keep the episodes of the first one's robot and image sizes."""
    kept = []
    for candidate in candidates:
        problem = schema_problem(candidate.schema, schema)
        if problem:
            fail(candidate.folder, EpisodeError(problem), summary, progress)
        else:
            kept.append(candidate)
    return kept


def _frames_recorded(episode: Episode) -> int:
    """Frames of the reference camera, as far as the recorder counted them."""
    outcome = episode.sidecar.outcome
    role = f"camera:{episode.robot.cameras[0].name}"
    streams = outcome.streams if outcome is not None else ()
    return sum(stream.messages for stream in streams if stream.role == role)


def fail(folder: Path, error: EpisodeError, summary: Summary, progress: Progress) -> None:
    """Take down that an episode cannot be used, and why."""
    kinds = {_kind(one, reason) for one, reason in summary.failed}
    summary.failed.append((folder, str(error)))
    if _kind(folder, str(error)) not in kinds:  # what all have in common is said once
        progress.note(f"{folder}: not converted: {str(error).removeprefix(f'{folder}: ')}")


def nothing_to_convert(summary: Summary) -> str:
    """Say why no episode is left."""
    lines = [*listed(summary.failed, numbers=False), *listed(summary.left_out)]
    return "none of the episodes can be converted:\n  " + "\n  ".join(
        printable(line, 2000) for line in lines
    )


def listed(entries: Sequence[tuple[Path, str]], *, numbers: bool = True) -> list[str]:
    """Lines of a list; what many episodes have to say is said once.

    Args:
        entries: folders, and what there is to say of each.
        numbers: whether texts that differ in numbers alone are each said; else the first's are.
    """
    alike: dict[str, list[tuple[str, str]]] = {}
    for folder, text in entries:
        said = text.removeprefix(f"{folder}: ")
        kind = said if numbers else _kind(folder, text)
        alike.setdefault(kind, []).append((folder.name, said))
    lines = []
    for those in alike.values():
        first, said = those[0]
        if len(those) > _MANY:
            lines.append(f"{len(those)} episodes, {first} to {those[-1][0]}: {said}")
        else:
            lines += [f"{name}: {text}" for name, text in those]
    return lines


def _kind(folder: Path, text: str) -> str:
    """What a text says, whatever its numbers."""
    return _NUMBER.sub("#", text.removeprefix(f"{folder}: "))


def schema_of(episode: Episode, storage: Storage) -> DatasetSchema:
    """Read the schema of an episode from its robot file and the first image of each camera.

    Raises:
        EpisodeError: rate_hz is no whole number, or a camera has no image that can be decoded.
    """
    robot = episode.robot
    fps = round(robot.rate_hz)
    if fps != robot.rate_hz:
        raise EpisodeError(
            f"{episode.folder}: rate_hz is {robot.rate_hz:g}; a LeRobot dataset needs a whole "
            "number of frames a second"
        )
    sizes = {camera.name: _image_size(episode, camera) for camera in robot.cameras}
    return DatasetSchema(interface=robot.interface, fps=fps, image_sizes=sizes, storage=storage)


def schema_problem(schema: DatasetSchema, expected: DatasetSchema) -> str:
    """Why an episode does not fit into a dataset; empty where it does."""
    robots = [parse_robot(one.interface.text) for one in (schema, expected)]
    for key, theirs, ours in differences(robots[0], robots[1]):
        return f"its {key}: {theirs}; the dataset has {ours}: convert it to a dataset of its own"
    for name, size in schema.image_sizes.items():
        if size != expected.image_sizes[name]:
            height, width = expected.image_sizes[name]
            return (
                f"camera '{name}' is {size[1]}x{size[0]}, the dataset has {width}x{height}: "
                "convert it to a dataset of its own"
            )
    return ""


def _image_size(episode: Episode, camera: CameraConfig) -> tuple[int, int]:
    """(height, width) of the first image of a camera."""
    topic = camera_topic(episode, camera)
    problem = "no message was recorded"
    for message in episode.read(Wanted(topics=frozenset([topic]))):
        foreign = type_problem(message, camera.type)
        if foreign:
            raise EpisodeError(f"{episode.bag}: {foreign}")
        try:
            content = deserialize(message.data, message.type, topic=topic)
            image = decode_image(content, topic=topic)
        except MessageError as error:
            problem = str(error)
            continue
        return image.shape[0], image.shape[1]
    raise EpisodeError(f"{episode.bag}: no image on {topic} can be used: {problem}")
