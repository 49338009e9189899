"""Joining the small files of a v3.0 dataset up to LeRobot's limits.

Must not import ROS or torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evo1_training.datasets.lerobot.contents import CHUNK
from evo1_training.datasets.lerobot.schema import MAX_SECONDS
from evo1_training.datasets.lerobot.tables import join_tables
from evo1_training.datasets.lerobot.transaction import Transaction
from evo1_training.datasets.lerobot.video import VideoFacts, concatenate, read_facts

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_LIMIT_MB, VIDEO_LIMIT_MB = 100, 200  # LeRobot's defaults
_MB = 1024**2


@dataclass(frozen=True, kw_only=True)
class _File:
    number: int
    path: Path
    size: int


def at(number: int) -> dict[str, int]:
    """LeRobot's two numbers of a file."""
    return {"chunk_index": number // CHUNK, "file_index": number % CHUNK}


def stage_joined(transaction: Transaction, root: Path, videos: Sequence[str]) -> None:
    """Stage joined tables, videos and the list of episodes; files that are large enough stay.

    Args:
        transaction: of the dataset.
        root: its folder.
        videos: keys of its videos.
    """
    listed = sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not listed:
        return
    episodes = pa.concat_tables([pq.read_table(path) for path in listed])
    episodes = _join_data(transaction, root, episodes)
    for key in videos:
        episodes = _join_videos(transaction, root, episodes, key)
    zeros = [0] * len(episodes)
    episodes = _with_numbers(episodes, "meta/episodes/", zeros)
    pq.write_table(episodes, transaction.stage(EPISODES_PATH.format(**at(0))))
    for path in listed:
        transaction.delete(path.relative_to(root).as_posix())


def _join_data(transaction: Transaction, root: Path, episodes: pa.Table) -> pa.Table:
    numbers = _numbers(episodes, "data/")
    files = _files(root, numbers, DATA_PATH)
    groups = _groups(files, DATA_LIMIT_MB * _MB, lambda group, file: True)
    _stage_groups(transaction, root, groups, DATA_PATH, join_tables)
    renumbered = _renumbered(groups)
    return _with_numbers(episodes, "data/", [renumbered[number] for number in numbers])


def _join_videos(transaction: Transaction, root: Path, episodes: pa.Table, key: str) -> pa.Table:
    prefix = f"videos/{key}/"
    template = VIDEO_PATH.replace("{video_key}", key)
    numbers = _numbers(episodes, prefix)
    files = _files(root, numbers, template)
    facts = {file.number: read_facts(file.path) for file in files}

    def fits(group: list[_File], file: _File) -> bool:
        frames = sum(facts[one.number].frames for one in (*group, file))
        first: VideoFacts = facts[group[0].number]
        return first.joins(facts[file.number]) and frames / first.fps <= MAX_SECONDS

    groups = _groups(files, VIDEO_LIMIT_MB * _MB, fits)
    _stage_groups(transaction, root, groups, template, concatenate)
    # Frames before each file in the one that it becomes part of.
    before = {
        file.number: sum(facts[one.number].frames for one in group[:position])
        for group in groups
        for position, file in enumerate(group)
    }
    for name in ("from_timestamp", "to_timestamp"):
        column = f"{prefix}{name}"
        times = [
            (round(time * float(facts[number].fps)) + before[number]) / float(facts[number].fps)
            for time, number in zip(episodes.column(column).to_pylist(), numbers, strict=True)
        ]
        episodes = _replaced(episodes, column, pa.array(times, pa.float64()))
    renumbered = _renumbered(groups)
    return _with_numbers(episodes, prefix, [renumbered[number] for number in numbers])


def _files(root: Path, numbers: Sequence[int], template: str) -> list[_File]:
    paths = {number: root / template.format(**at(number)) for number in dict.fromkeys(numbers)}
    return [
        _File(number=number, path=path, size=path.stat().st_size) for number, path in paths.items()
    ]


def _groups(
    files: Sequence[_File], limit: int, fits: Callable[[list[_File], _File], bool]
) -> list[list[_File]]:
    """Neighbours that become one file."""
    groups: list[list[_File]] = []
    for file in files:
        size = sum(one.size for one in groups[-1]) + file.size if groups else 0
        if groups and size < limit and fits(groups[-1], file):
            groups[-1].append(file)
        else:
            groups.append([file])
    return groups


def _stage_groups(
    transaction: Transaction,
    root: Path,
    groups: Sequence[Sequence[_File]],
    template: str,
    join: Callable[[Sequence[Path], Path], None],
) -> None:
    for number, group in enumerate(groups):
        path = template.format(**at(number))
        if len(group) == 1 and group[0].number == number:
            continue
        if len(group) == 1:
            transaction.stage_copy(path, group[0].path)
        else:
            join([file.path for file in group], transaction.stage(path))
    kept = set(range(len(groups)))
    for file in (file for group in groups for file in group):
        if file.number not in kept:
            transaction.delete(file.path.relative_to(root).as_posix())


def _renumbered(groups: Sequence[Sequence[_File]]) -> dict[int, int]:
    return {file.number: number for number, group in enumerate(groups) for file in group}


def _numbers(episodes: pa.Table, prefix: str) -> list[int]:
    chunks = episodes.column(f"{prefix}chunk_index").to_pylist()
    files = episodes.column(f"{prefix}file_index").to_pylist()
    return [chunk * CHUNK + file for chunk, file in zip(chunks, files, strict=True)]


def _with_numbers(episodes: pa.Table, prefix: str, numbers: Sequence[int]) -> pa.Table:
    for name in ("chunk_index", "file_index"):
        values = pa.array([at(number)[name] for number in numbers], pa.int64())
        episodes = _replaced(episodes, f"{prefix}{name}", values)
    return episodes


def _replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)
