"""One episode, encoded and not yet part of a dataset.

    <folder>/table.parquet     recorded columns
    <folder>/<camera>.mp4      where images are kept as video
    <folder>/encoded.json      written last: without it the folder is not complete

Must not import ROS or torch.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.paths import write_whole
from evo1_policy.untrusted import UntrustedError, read_json
from evo1_training.datasets.lerobot import schema as names
from evo1_training.datasets.lerobot.schema import (
    AlignedFrame,
    DatasetSchema,
    camera_key,
    features,
    stamp_key,
)
from evo1_training.datasets.lerobot.staging import telling_where
from evo1_training.datasets.lerobot.statistics import PictureStatistics, Statistics, of_values
from evo1_training.datasets.lerobot.tables import FrameTable
from evo1_training.datasets.lerobot.video import VideoWriter
from evo1_training.recording.episode import EpisodeError
from evo1_training.recording.packing import png

TABLE, SUMMARY = "table.parquet", "encoded.json"
_LAYOUT = 2


@dataclass(frozen=True, kw_only=True)
class EncodedEpisode:
    """What encode_episode left in a folder.

    Attributes:
        folder: where it is.
        source: what it was made of; a dataset holds each source once.
        instruction: the label.
        tasks: of each frame, where they have several.
        fps: frames a second.
        length: frames.
        offsets_ms: median of arrival minus stamp, by stream, as recorded.
        packed: how the images of cameras were compressed while they were recorded.
        scene: JSON of what a simulation varied in its scene; empty: nothing.
        features: as in info.json; a dataset takes only episodes with its own.
        statistics: of state, action and every camera.
    """

    folder: Path
    source: str
    instruction: str
    fps: int
    length: int
    offsets_ms: Mapping[str, float]
    features: Mapping[str, Mapping[str, Any]]
    statistics: Mapping[str, Statistics]
    tasks: tuple[str, ...] = ()
    packed: Mapping[str, str] = field(default_factory=dict)
    scene: str = ""

    @property
    def instructions(self) -> tuple[str, ...]:
        """Every label, each once."""
        return tuple(dict.fromkeys(self.tasks or (self.instruction,)))

    @property
    def table(self) -> Path:
        """The recorded columns."""
        return self.folder / TABLE

    def video(self, key: str) -> Path:
        """The video of a feature such as 'observation.images.image_1'."""
        return self.folder / f"{key.removeprefix(names.CAMERA_PREFIX)}.mp4"


def encode_episode(
    frames: Iterable[AlignedFrame],
    *,
    schema: DatasetSchema,
    instruction: str,
    source: str,
    folder: Path,
    offsets_ms: Mapping[str, float] = MappingProxyType({}),
    packed: Mapping[str, str] = MappingProxyType({}),
    scene: str = "",
) -> EncodedEpisode:
    """Encode aligned frames as they come; images are never held.

    Args:
        frames: at least one; consecutive frames are one step apart.
        schema: of the dataset that they are for.
        instruction: the label of frames that have none of their own; may be empty.
        source: what they were made of, unique in a dataset.
        folder: to write; what an unfinished attempt left there is replaced.
        offsets_ms: median of arrival minus stamp, by stream, to be told beside the episode.
        packed: how the images of cameras were compressed while recorded, to be told likewise.
        scene: JSON of what a simulation varied, to be told likewise; empty: nothing.

    Raises:
        EpisodeError: no frame, or one that does not fit the schema.
        SchemaError: a robot or camera that no LeRobot dataset can hold.
        OSError: the disk is full or gone.
    """
    found = features(schema)
    episode = _Encoder(schema, found, source)
    with telling_where(folder), ExitStack() as files:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMMARY).unlink(missing_ok=True)
        episode.open(folder, files)
        for frame in frames:
            episode.add(frame)
    if episode.length == 0:
        raise EpisodeError(f"{source}: no frames")
    tasks = [task or instruction for task in episode.instructions]
    encoded = EncodedEpisode(
        folder=folder,
        source=source,
        instruction=tasks[0],
        tasks=tuple(tasks) if len(set(tasks)) > 1 else (),
        packed=packed,
        scene=scene,
        fps=schema.fps,
        length=episode.length,
        offsets_ms=offsets_ms,
        features=found,
        statistics=episode.statistics(),
    )
    _write_summary(encoded)
    return encoded


def load_encoded(folder: Path) -> EncodedEpisode:
    """Read what encode_episode left.

    Raises:
        EpisodeError: the folder is not complete, or was written by another version.
    """
    path = folder / SUMMARY
    try:
        data = read_json(path, what="encoded episode")
        if data.pop("layout", None) != _LAYOUT:
            raise EpisodeError(f"{path}: written by another version; delete it and convert again")
        data["tasks"] = tuple(data.get("tasks", ()))
        stats = {name: Statistics.from_dict(item) for name, item in data.pop("statistics").items()}
        return EncodedEpisode(folder=folder, statistics=stats, **data)
    except (UntrustedError, LookupError, TypeError, AttributeError) as error:
        raise EpisodeError(
            f"{folder}: not encoded completely ({SUMMARY}: {error}); delete it and convert again"
        ) from error


def _write_summary(encoded: EncodedEpisode) -> None:
    data = {
        "layout": _LAYOUT,
        "source": encoded.source,
        "instruction": encoded.instruction,
        "tasks": encoded.tasks,
        "packed": dict(encoded.packed),
        "scene": encoded.scene,
        "fps": encoded.fps,
        "length": encoded.length,
        "offsets_ms": dict(encoded.offsets_ms),
        "features": encoded.features,
        "statistics": {name: item.to_dict() for name, item in encoded.statistics.items()},
    }
    write_whole(encoded.folder / SUMMARY, json.dumps(data, ensure_ascii=False), sync=False)


class _Encoder:
    """Takes one episode's frames apart into columns, videos and statistics."""

    def __init__(
        self, schema: DatasetSchema, features: Mapping[str, Mapping[str, Any]], source: str
    ) -> None:
        self._schema = schema
        self._features = features
        self._source = source
        self._vectors: dict[str, list[npt.NDArray[np.float32]]] = {
            names.STATE: [],
            names.ACTION: [],
        }
        self._pictures = {camera: PictureStatistics() for camera in schema.image_sizes}
        self._videos: dict[str, VideoWriter] = {}
        self._table: FrameTable
        self.instructions: list[str] = []  # of each frame

    @property
    def length(self) -> int:
        """Frames so far."""
        return len(self.instructions)

    def open(self, folder: Path, files: ExitStack) -> None:
        """Open the files; `files` closes them."""
        self._table = files.enter_context(FrameTable(folder / TABLE, self._features))
        codec = self._schema.storage
        if codec == "png":
            return
        for camera, size in self._schema.image_sizes.items():
            path = folder / f"{camera}.mp4"
            video = VideoWriter(path, codec=codec, fps=self._schema.fps, size=size)
            self._videos[camera] = files.enter_context(video)

    def add(self, frame: AlignedFrame) -> None:
        """Take in a frame.

        Raises:
            EpisodeError: it does not fit the schema.
        """
        row: dict[str, Any] = {
            names.STATE: self._vector(names.STATE, frame.state, frame),
            names.ACTION: self._vector(names.ACTION, frame.action, frame),
        }
        if self._schema.streams:
            row |= {
                names.TICK: frame.tick_ns,
                names.SKEW: frame.skew_ns / 1e6,
                names.HELD: frame.held,
                names.INTERVENTION: frame.intervention,
            }
        for stream in self._schema.streams:
            if stream not in frame.source_stamps_ns:
                raise self._error(frame, f"no stamp of '{stream}'")
            row[stamp_key(stream)] = frame.source_stamps_ns[stream]
        for camera in self._schema.image_sizes:
            image = self._image(camera, frame)
            self._pictures[camera].add(image)
            if camera in self._videos:
                self._videos[camera].add(image)
            else:
                name = f"frame-{self.length:06d}.png"
                row[camera_key(camera)] = {"bytes": png(image).tobytes(), "path": name}
        self._table.add(row)
        self.instructions.append(frame.instruction)

    def statistics(self) -> dict[str, Statistics]:
        """Of state, action and every camera."""
        found = {name: of_values(np.stack(rows)) for name, rows in self._vectors.items()}
        for camera, picture in self._pictures.items():
            found[camera_key(camera)] = picture.statistics()
        return found

    def _vector(
        self, name: str, values: npt.NDArray[np.float64], frame: AlignedFrame
    ) -> npt.NDArray[np.float32]:
        interface = self._schema.interface
        known = interface.action if name == names.ACTION else interface.state
        if values.shape != (len(known),):
            raise self._error(frame, f"{name}: expected {len(known)} numbers, got {values.shape}")
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            which = known[wrong[0]]
            raise self._error(frame, f"{name}: {which} is {values[wrong[0]]}, expected a number")
        narrow = values.astype(np.float32)
        self._vectors[name].append(narrow)
        return narrow

    def _image(self, camera: str, frame: AlignedFrame) -> npt.NDArray[np.uint8]:
        height, width = self._schema.image_sizes[camera]
        image = frame.images.get(camera)
        if image is None:
            raise self._error(frame, f"no image of '{camera}'")
        if image.dtype != np.uint8 or image.shape != (height, width, 3):
            raise self._error(
                frame,
                f"camera '{camera}': expected {width}x{height} RGB uint8, got shape "
                f"{image.shape} {image.dtype}; the size must not change within a dataset",
            )
        return image

    def _error(self, frame: AlignedFrame, problem: str) -> EpisodeError:
        at = f"frame {self.length} (tick {frame.tick_ns} ns)"
        return EpisodeError(f"{self._source}: {at}: {problem}")
