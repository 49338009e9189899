"""Which episodes a dataset has, and in which files and at which times they lie.

Reads metadata only and checks that every file is there and whole, so that training stops before
its first step and not in its tenth hour. Must not import ROS or torch.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evo1_training.datasets.lerobot.staging import is_interrupted
from evo1_training.datasets.reader.info import DatasetError, DatasetInfo, read_info
from evo1_training.datasets.reader.layouts import EpisodeRow, read_v21, read_v30


@dataclass(frozen=True, kw_only=True)
class VideoSpan:
    """Where an episode begins in a video: its first frame is at start_s [s]."""

    path: Path
    start_s: float


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode: rows first_row .. first_row + length - 1 of the dataset."""

    index: int
    first_row: int
    length: int
    videos: Mapping[str, VideoSpan]


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A table: rows first_row .. first_row + rows - 1 of the dataset."""

    path: Path
    first_row: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class DatasetFolder:
    """A dataset whose metadata has been read and whose files are there."""

    info: DatasetInfo
    tasks: Mapping[int, str]
    episodes: tuple[Episode, ...]
    data_files: tuple[DataFile, ...]

    @property
    def root(self) -> Path:
        """The folder of the dataset."""
        return self.info.root

    @property
    def rows(self) -> int:
        """How many frames the dataset has."""
        return self.info.total_frames

    @property
    def files(self) -> list[Path]:
        """Every table and video, sorted."""
        videos = (span.path for episode in self.episodes for span in episode.videos.values())
        return sorted({*(file.path for file in self.data_files), *videos})


def open_folder(root: Path | str) -> DatasetFolder:
    """Read the metadata of a v2.1 or v3.0 dataset and check that its files are there and whole.

    Raises:
        DatasetError: another version; a file that is missing, cut off or not mentioned; counts
            that contradict each other, as a half-written dataset has.
    """
    if is_interrupted(Path(root)):
        raise DatasetError(
            f"{root}: a change to this dataset was cut off half-way; run the same convert command "
            "again, which finishes it"
        )
    info = read_info(Path(root))
    if info.total_episodes == 0:
        raise DatasetError(
            f"{info.path}: total_episodes: 0, the dataset has no episodes; record and convert at "
            "least one"
        )
    rows, tasks = read_v21(info) if info.layout == "v2.1" else read_v30(info)
    _check_episodes(info, rows)
    folder = DatasetFolder(
        info=info,
        tasks=tasks,
        episodes=tuple(_episodes(info, rows)),
        data_files=tuple(_data_files(rows)),
    )
    for path in folder.files:
        _check_whole(path)
    _check_no_others(info, folder)
    return folder


def _check_episodes(info: DatasetInfo, rows: list[EpisodeRow]) -> None:
    numbers = [row.index for row in rows]
    if numbers != list(range(info.total_episodes)):
        wrong = next((i for i, n in enumerate(numbers) if n != i), len(numbers))
        raise DatasetError(
            f"{info.root / 'meta'}: expected the episodes 0 .. {info.total_episodes - 1} that "
            f"info.json counts, got {len(numbers)} with the first difference at {wrong}; the "
            "dataset was not written to its end"
        )
    frames = sum(row.length for row in rows)
    if frames != info.total_frames:
        raise DatasetError(
            f"{info.path}: total_frames: {info.total_frames}, but the episodes have {frames}; the "
            "dataset was not written to its end"
        )
    for row in rows:
        if row.length < 1:
            raise DatasetError(f"{info.root / 'meta'}: episode {row.index} has no frames")


def _episodes(info: DatasetInfo, rows: Iterable[EpisodeRow]) -> Iterable[Episode]:
    first_row = 0
    for row in rows:
        videos = {
            key: VideoSpan(path=path, start_s=start_s)
            for key, (path, start_s) in row.videos.items()
        }
        yield Episode(index=row.index, first_row=first_row, length=row.length, videos=videos)
        first_row += row.length


def _data_files(rows: Iterable[EpisodeRow]) -> Iterable[DataFile]:
    """The tables in the order of their rows; episodes of one file follow each other."""
    sizes: dict[Path, int] = {}
    for row in rows:
        if row.data_path in sizes and next(reversed(sizes)) != row.data_path:
            raise DatasetError(
                f"{row.data_path}: episode {row.index} lies here, but the one before it lies in "
                f"{next(reversed(sizes))}; rows would be read in the wrong order"
            )
        sizes[row.data_path] = sizes.get(row.data_path, 0) + row.length
    first_row = 0
    for path, count in sizes.items():
        yield DataFile(path=path, first_row=first_row, rows=count)
        first_row += count


def _check_no_others(info: DatasetInfo, folder: DatasetFolder) -> None:
    """LeRobot finds rows of v3.0 by position over all files, so one too many shifts them."""
    found = sorted((info.root / "data").glob("*/*.parquet"))
    known = [file.path for file in folder.data_files]
    others = sorted(set(found) - set(known))
    if others:
        raise DatasetError(
            f"{others[0]}: no episode of meta/ lies in this file; the dataset was not written to "
            "its end, or the file does not belong to it"
        )
    if info.layout == "v3.0" and known != sorted(known):
        raise DatasetError(f"{info.root / 'data'}: the files are not in the order of the episodes")


def _check_whole(path: Path) -> None:
    """Refuse a file that is missing or was cut off, by its first and last bytes.

    Raises:
        DatasetError: it is.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if path.suffix == ".parquet":
                file.seek(max(size - 4, 0))
                whole = file.read(4) == b"PAR1"
            elif path.suffix == ".mp4":
                whole = _has_movie_header(file, size)
            else:
                whole = size > 0
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: missing, although meta/ names it") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    if not whole:
        raise DatasetError(f"{path}: cut off ({size} bytes): the writer did not reach its end")


def _has_movie_header(file: IO[bytes], size: int) -> bool:
    """Walk the boxes of an MP4: all must lie within the file, and one must be 'moov'."""
    position, found = 0, False
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:  # a 64-bit length follows
            extended = file.read(8)
            length = struct.unpack(">Q", extended)[0] if len(extended) == 8 else 0
        elif length == 0:  # to the end of the file
            length = size - position
        if length < 8 or position + length > size:
            return False
        found = found or kind == b"moov"
        position += length
    return found
