"""What differs between LeRobot's versions: a table and a video an episode, or many in each.

v2.1 has a table and a video a camera for each episode. v3.0 has many episodes a file: what is
added gets files of its own, joined up to LeRobot's limits; data and videos that are there already
are never written again, and of the list of episodes only a last file that is small.
Must not import ROS or torch.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evo1_training.datasets.lerobot.contents import CHUNK, Addition, Contents, Identity
from evo1_training.datasets.lerobot.schema import MAX_SECONDS, Version, video_keys
from evo1_training.datasets.lerobot.staging import Staging
from evo1_training.datasets.lerobot.statistics import Statistics
from evo1_training.datasets.lerobot.tables import complete_tables
from evo1_training.datasets.lerobot.video import concatenate, read_facts

DATA_V21 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_V21 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_EPISODES, _TASKS_V21 = "meta/episodes.jsonl", "meta/tasks.jsonl"
_STATISTICS = "meta/episodes_stats.jsonl"

DATA_V30 = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_V30 = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_LIMIT_MB, VIDEO_LIMIT_MB = 100, 200  # LeRobot's defaults
_MB = 1024**2
_LIST = "meta/episodes"
_LIST_LIMIT = 1 << 20  # bytes of its last file, up to which it is written again with more
_TASKS_V30 = "meta/tasks.parquet"
_NUMBERS = re.compile(r"chunk-(\d+)/file-(\d+)\.")


class Layout(ABC):
    """Writes what is particular to a version.

    Args:
        identity: of the dataset.
    """

    version: Version

    def __init__(self, identity: Identity) -> None:
        self._columns = identity.table(self.version)
        self._videos = video_keys(identity.features)

    @abstractmethod
    def info(self, contents: Contents) -> dict[str, Any]:
        """The keys of info.json that are this version's, and the paths."""

    @abstractmethod
    def stage(
        self, staging: Staging, root: Path, additions: Sequence[Addition], after: Contents
    ) -> None:
        """Stage the files of new episodes, and what the lists say of them."""


class LayoutV21(Layout):
    """Writes what is particular to v2.1."""

    version = "v2.1"

    def info(self, contents: Contents) -> dict[str, Any]:
        """The keys of info.json that are v2.1's, and the paths."""
        return {
            "total_videos": contents.episodes * len(self._videos),
            "total_chunks": -(-contents.episodes // CHUNK),
            "chunks_size": CHUNK,
            "data_path": DATA_V21,
            "video_path": VIDEO_V21 if self._videos else None,
        }

    def stage(
        self, staging: Staging, root: Path, additions: Sequence[Addition], after: Contents
    ) -> None:
        """Stage the files of new episodes, and their lines in the lists."""
        episodes, statistics = [], []
        for addition in additions:
            encoded, index = addition.encoded, addition.place.episode_index
            where = {"episode_chunk": index // CHUNK, "episode_index": index}
            complete_tables(
                [(encoded.table, addition.place)],
                staging.file(DATA_V21.format(**where)),
                schema=self._columns,
                fps=encoded.fps,
            )
            for key in self._videos:
                staging.copy(VIDEO_V21.format(video_key=key, **where), encoded.video(key))
            episode = {"tasks": list(encoded.instructions), "length": encoded.length}
            episodes.append({"episode_index": index, **episode})
            stats = {
                name: item.to_dict(quantiles=False) for name, item in addition.statistics.items()
            }
            statistics.append({"episode_index": index, "stats": stats})
        staging.lines(_EPISODES, _lines(episodes))
        staging.lines(_STATISTICS, _lines(statistics))
        tasks = [{"task_index": index, "task": task} for index, task in enumerate(after.tasks)]
        staging.text(_TASKS_V21, "".join(f"{line}\n" for line in _lines(tasks)))


class LayoutV30(Layout):
    """Writes what is particular to v3.0."""

    version = "v3.0"

    def info(self, contents: Contents) -> dict[str, Any]:
        """The keys of info.json that are v3.0's, and the paths."""
        return {
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_LIMIT_MB,
            "video_files_size_in_mb": VIDEO_LIMIT_MB,
            "data_path": DATA_V30,
            "video_path": VIDEO_V30 if self._videos else None,
        }

    def stage(
        self, staging: Staging, root: Path, additions: Sequence[Addition], after: Contents
    ) -> None:
        """Stage the files of new episodes, joined up to LeRobot's limits, and their rows."""
        rows = [_row(addition) for addition in additions]
        sizes = [one.encoded.table.stat().st_size for one in additions]
        number = _next_file(root / "data")
        for group in _groups(sizes, DATA_LIMIT_MB):
            complete_tables(
                [(additions[one].encoded.table, additions[one].place) for one in group],
                staging.file(DATA_V30.format(**_at(number))),
                schema=self._columns,
                fps=additions[0].encoded.fps,
            )
            for one in group:
                rows[one] |= _prefixed("data/", _at(number))
            number += 1
        for key in self._videos:
            self._stage_videos(staging, root, key, additions, rows)
        listed = [
            row | _statistics_row(one.statistics) for row, one in zip(rows, additions, strict=True)
        ]
        self._stage_list(staging, root, listed)
        pq.write_table(_task_table(after.tasks), staging.file(_TASKS_V30))

    def _stage_videos(
        self,
        staging: Staging,
        root: Path,
        key: str,
        additions: Sequence[Addition],
        rows: Sequence[dict[str, Any]],
    ) -> None:
        paths = [one.encoded.video(key) for one in additions]
        facts = [read_facts(path) for path in paths]

        def fits(group: list[int], one: int) -> bool:
            first = facts[group[0]]
            frames = sum(facts[other].frames for other in (*group, one))
            return first.joins(facts[one]) and frames / first.fps <= MAX_SECONDS

        number = _next_file(root / "videos" / key)
        sizes = [path.stat().st_size for path in paths]
        for group in _groups(sizes, VIDEO_LIMIT_MB, fits):
            where = VIDEO_V30.format(video_key=key, **_at(number))
            if len(group) == 1:
                staging.copy(where, paths[group[0]])
            else:
                concatenate([paths[one] for one in group], staging.file(where))
            frame = 0
            for one in group:
                encoded = additions[one].encoded
                rows[one] |= _prefixed(f"videos/{key}/", _at(number))
                rows[one][f"videos/{key}/from_timestamp"] = frame / encoded.fps
                frame += encoded.length
                rows[one][f"videos/{key}/to_timestamp"] = frame / encoded.fps
            number += 1

    def _stage_list(self, staging: Staging, root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stage the last file of the list with more rows, or a further one where it is large."""
        number = _next_file(root / _LIST)
        path = root / EPISODES_PATH.format(**_at(number - 1))
        last = [] if number == 0 or path.stat().st_size > _LIST_LIMIT else [pq.read_table(path)]
        number -= len(last)
        places = _prefixed(f"{_LIST}/", _at(number))
        added = [{**row, **places} for row in rows]
        schema = pq.read_schema(path) if path.is_file() else _row_schema(added[0])
        table = pa.concat_tables([*last, pa.Table.from_pylist(added, schema=schema)])
        pq.write_table(table, staging.file(EPISODES_PATH.format(**_at(number))))


def _row(addition: Addition) -> dict[str, Any]:
    encoded, place = addition.encoded, addition.place
    return {
        "episode_index": place.episode_index,
        "tasks": list(encoded.instructions),
        "length": encoded.length,
        "dataset_from_index": place.first_index,
        "dataset_to_index": place.first_index + encoded.length,
        **_prefixed(f"{_LIST}/", _at(0)),
    }


def _groups(
    sizes: Sequence[int],
    limit_mb: float,
    fits: Callable[[list[int], int], bool] = lambda _group, _one: True,
) -> list[list[int]]:
    """Neighbours that become one file, by position."""
    groups: list[list[int]] = []
    for one, size in enumerate(sizes):
        together = size + sum(sizes[other] for other in groups[-1]) if groups else 0
        if groups and together < limit_mb * _MB and fits(groups[-1], one):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _at(number: int) -> dict[str, int]:
    """LeRobot's two numbers of a file."""
    return {"chunk_index": number // CHUNK, "file_index": number % CHUNK}


def _next_file(folder: Path) -> int:
    """The first number that no file of a folder has."""
    paths = (path.relative_to(folder).as_posix() for path in folder.glob("chunk-*/file-*.*"))
    found = [_NUMBERS.match(path) for path in paths]
    return max((int(m[1]) * CHUNK + int(m[2]) + 1 for m in found if m), default=0)


def _prefixed(prefix: str, items: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in items.items()}


def _statistics_row(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    return {
        f"stats/{feature}/{name}": value
        for feature, item in statistics.items()
        for name, value in item.to_dict().items()
    }


def _row_schema(row: Mapping[str, Any]) -> pa.Schema:
    return pa.schema([(name, _row_type(name, value)) for name, value in row.items()])


def _row_type(name: str, value: object) -> pa.DataType:
    if name.startswith("stats/"):
        if name.endswith("/count"):
            return pa.list_(pa.int64())
        kind = pa.float64()
        while isinstance(value, list):
            kind, value = pa.list_(kind), value[0]
        return kind
    if name == "tasks":
        return pa.list_(pa.string())
    return pa.float64() if isinstance(value, float) else pa.int64()


def _task_table(tasks: Sequence[str]) -> pa.Table:
    """A table that pandas reads as column task_index with the instruction as index.

    LeRobot takes the index of a row for the instruction; without this metadata it would be a
    number.
    """
    columns = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode"},
    ]
    numpy_types = {"task_index": "int64", "task": "object"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"},
            }
        ],
        "columns": [
            {**column, "numpy_type": numpy_types[column["name"]], "metadata": None}
            for column in columns
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    schema = pa.schema(
        [("task_index", pa.int64()), ("task", pa.string())],
        metadata={"pandas": json.dumps(pandas)},
    )
    arrays = [pa.array(range(len(tasks)), pa.int64()), pa.array(tasks, pa.string())]
    return pa.Table.from_arrays(arrays, schema=schema)


def _lines(records: Sequence[dict[str, Any]]) -> list[str]:
    return [json.dumps(record, ensure_ascii=False) for record in records]
