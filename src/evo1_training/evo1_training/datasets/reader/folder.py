"""Which episodes a dataset has, and in which files and at which times they lie.

Reads metadata only and checks that every file is there and whole, so that training stops before
its first step and not in its tenth hour. Must not import ROS or torch.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evo1_policy.untrusted import UntrustedError, refuse_lfs_pointer
from evo1_training.datasets.lerobot.staging import is_interrupted
from evo1_training.datasets.reader.info import DatasetInfo, read_info
from evo1_training.datasets.reader.layouts import Episode, read_tasks, read_v21, read_v30
from evo1_training.datasets.reader.problems import DatasetError, Findings, Refusing


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A table: rows first_row .. first_row + rows - 1 of the dataset, and their episodes."""

    path: Path
    first_row: int
    rows: int
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetFolder:
    """A dataset whose metadata has been read: its episodes in order, its sentences by number."""

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
        return sum(file.rows for file in self.data_files)

    @property
    def files(self) -> list[Path]:
        """Every table and video of colour, sorted."""
        videos = (
            episode.videos[key].path
            for key in self.info.videos
            if self.info.features[key].is_camera
            for episode in self.episodes
        )
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
    problems = Refusing()
    info = read_info(Path(root), problems)
    folder = read_folder(info, problems) if info is not None else None
    if folder is None:
        raise DatasetError(f"{root}: cannot be read; check-dataset says why")
    for path in folder.files:
        _check_whole(path)
    check_tables(folder, problems)
    return folder


def read_folder(info: DatasetInfo, problems: Findings) -> DatasetFolder | None:
    """Read the metadata of all episodes and compare it; None where it cannot be read."""
    tables = (info.root / "data").glob("*/*.parquet")
    if info.counts.get("total_episodes") == 0 and next(tables, None) is None:
        problems.add("empty", info.path, "total_episodes: 0, the dataset has no episodes")
        return None
    episodes = (read_v21 if info.layout == "v2.1" else read_v30)(info, problems)
    if episodes is None:
        return None
    if not episodes:
        problems.add("empty", info.root / "meta", "no episodes")
        return None
    tasks = read_tasks(info, problems)
    _check_totals(info, episodes, tasks, problems)
    numbers = [episode.index for episode in episodes]
    if numbers != list(range(len(numbers))):
        wrong = next(place for place, number in enumerate(numbers) if place != number)
        what = f"expected episode {wrong} at place {wrong}, got {numbers[wrong]}"
        problems.add("episode-numbers", info.root / "meta", what)
    for episode in episodes:
        strange = sorted(set(episode.tasks) - set(tasks.values()))
        if strange and tasks:
            what = f"the task {strange[0]!r} is not among the dataset's"
            problems.add("episode-tasks", episode.label, what, episode=episode.index)
    files = _data_files(episodes, problems)
    if files is None:
        return None
    return DatasetFolder(info=info, tasks=tasks, episodes=tuple(episodes), data_files=tuple(files))


def check_tables(folder: DatasetFolder, problems: Findings) -> None:
    """LeRobot counts tables (v2.1), or finds rows by position over all of them (v3.0)."""
    known = [file.path for file in folder.data_files]
    found = set((folder.root / "data").glob("**/*.parquet"))
    for path in sorted(found - set(known)):
        problems.add("data-extra", path, "no episode of meta/ lies in this file")
    if folder.info.layout == "v3.0" and known != sorted(known):
        problems.add("rows-place", folder.root / "data", "files are not in the rows' order")


def _check_totals(
    info: DatasetInfo, episodes: Sequence[Episode], tasks: Mapping[int, str], problems: Findings
) -> None:
    counted = {
        "total_episodes": len(episodes),
        "total_frames": sum(episode.length for episode in episodes),
        "total_tasks": len(tasks),
        "total_videos": len(episodes) * len(info.videos),
        "total_chunks": -(-len(episodes) // info.chunks_size),
    }
    if info.layout == "v3.0":  # says nothing of these two
        del counted["total_videos"], counted["total_chunks"]
    for key, number in counted.items():
        claimed = info.counts.get(key, number)
        if claimed != number:
            code = "totals" if key in ("total_episodes", "total_frames") else "totals-minor"
            problems.add(code, info.path, f"{key}: {claimed}, but meta/ has {number}")


def _data_files(episodes: Sequence[Episode], problems: Findings) -> list[DataFile] | None:
    """The tables in the order of their rows; None where episodes of one do not follow each other.

    Their rows would be read in the wrong order.
    """
    groups: dict[Path, list[Episode]] = {}
    for episode in episodes:
        path = episode.data_path
        if path in groups and next(reversed(groups)) != path:
            what = f"{episode.label} lies here, the one before in {next(reversed(groups))}"
            problems.add("rows-place", path, what, episode=episode.index)
            return None
        groups.setdefault(path, []).append(episode)
    return [
        DataFile(
            path=path,
            first_row=group[0].first_row,
            rows=sum(episode.length for episode in group),
            episodes=tuple(group),
        )
        for path, group in groups.items()
    ]


def _check_whole(path: Path) -> None:
    """Refuse a file that is missing or was cut off, by its first and last bytes.

    Raises:
        DatasetError: it is.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise DatasetError(f"{path}: no regular file")
    try:
        refuse_lfs_pointer(path)
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
    except UntrustedError as error:
        raise DatasetError(str(error)) from error
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
