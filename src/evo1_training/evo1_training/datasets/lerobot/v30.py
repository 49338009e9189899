"""LeRobot v3.0: many episodes a file. Must not import ROS or torch.

Each episode that is added gets files of its own, so that adding costs the same however large the
dataset is and touches nothing that was there; `tidy` joins small files up to LeRobot's limits.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evo1_training.datasets.lerobot.contents import CHUNK, Addition, Contents
from evo1_training.datasets.lerobot.joining import (
    DATA_LIMIT_MB,
    DATA_PATH,
    EPISODES_PATH,
    VIDEO_LIMIT_MB,
    VIDEO_PATH,
    at,
    stage_joined,
)
from evo1_training.datasets.lerobot.schema import CAMERA_PREFIX, Version, video_keys
from evo1_training.datasets.lerobot.statistics import Statistics
from evo1_training.datasets.lerobot.tables import complete_table
from evo1_training.datasets.lerobot.transaction import Transaction

_TASKS = "meta/tasks.parquet"
_NUMBERS = re.compile(r"chunk-(\d+)/file-(\d+)\.")


class LayoutV30:
    """Writes what is particular to v3.0."""

    version: Version = "v3.0"

    def __init__(self, features: dict[str, dict[str, Any]]) -> None:
        self._features = features
        self._videos = video_keys(features)

    def info(self, contents: Contents) -> dict[str, Any]:
        """The keys of info.json that are v3.0's, and the paths."""
        return {
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_LIMIT_MB,
            "video_files_size_in_mb": VIDEO_LIMIT_MB,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._videos else None,
        }

    def tasks(self, root: Path) -> tuple[str, ...]:
        """The instructions in the order of task_index."""
        table = pq.read_table(root / _TASKS)
        return tuple(table.column("task").to_pylist())

    def stage(
        self, transaction: Transaction, root: Path, addition: Addition, after: Contents
    ) -> None:
        """Stage the files of an episode, and its row in the list of episodes."""
        encoded, place = addition.encoded, addition.place
        data = _next_file(root / "data")
        complete_table(
            encoded.table,
            transaction.stage(DATA_PATH.format(**at(data))),
            features=self._features,
            version=self.version,
            place=place,
            fps=encoded.fps,
        )
        row: dict[str, Any] = {
            "episode_index": place.episode_index,
            "tasks": [encoded.instruction],
            "length": encoded.length,
            **_prefixed("data/", at(data)),
            "dataset_from_index": place.first_index,
            "dataset_to_index": place.first_index + encoded.length,
        }
        for key in self._videos:
            video = _next_file(root / "videos" / key)
            path = VIDEO_PATH.format(video_key=key, **at(video))
            transaction.stage_copy(path, encoded.video(key))
            row |= _prefixed(f"videos/{key}/", at(video))
            row[f"videos/{key}/from_timestamp"] = 0.0
            row[f"videos/{key}/to_timestamp"] = encoded.length / encoded.fps
        row |= _statistics_row(addition.statistics)
        listed = _next_file(root / "meta" / "episodes")
        row |= _prefixed("meta/episodes/", at(listed))
        table = pa.Table.from_pylist([row], schema=_row_schema(row))
        pq.write_table(table, transaction.stage(EPISODES_PATH.format(**at(listed))))
        if addition.new_task:
            pq.write_table(_task_table(after.tasks), transaction.stage(_TASKS))

    def tidy(self, transaction: Transaction, root: Path) -> None:
        """Stage files joined up to LeRobot's limits."""
        stage_joined(transaction, root, self._videos)


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
        picture = name.startswith(f"stats/{CAMERA_PREFIX}")
        vector = pa.list_(pa.float64())
        return pa.list_(pa.list_(vector)) if picture else vector
    if name == "tasks":
        return pa.list_(pa.string())
    return pa.float64() if isinstance(value, float) else pa.int64()


def _task_table(tasks: tuple[str, ...]) -> pa.Table:
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
