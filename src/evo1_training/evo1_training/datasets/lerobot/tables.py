"""Tables of frames: written while an episode is encoded, completed when it joins a dataset.

Must not import ROS or torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from evo1_training.datasets.lerobot.schema import (
    INDEX_COLUMNS,
    Features,
    arrow_schema,
    columns,
)
from evo1_training.datasets.lerobot.staging import Whole

_ROWS, ROWS_WITH_PICTURES = 65536, 8  # a row group: what is held, and what one random read costs


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an episode stands in its dataset.

    Attributes:
        episode_index: counted from 0.
        first_index: number of its first frame over the dataset.
        task_index: of its instruction, or (N,) of each frame's.
    """

    episode_index: int
    first_index: int
    task_index: int | npt.NDArray[np.int64]


def recorded(features: Features) -> dict[str, Mapping[str, Any]]:
    """The columns that an episode brings, without those that say where it stands."""
    return {name: item for name, item in columns(features).items() if name not in INDEX_COLUMNS}


class FrameTable(Whole):
    """Writes the recorded columns of one episode, frame by frame, in bounded memory."""

    def __init__(self, path: Path, features: Features) -> None:
        wanted = recorded(features)
        self._schema = arrow_schema(wanted)
        pictures = any(item["dtype"] == "image" for item in wanted.values())
        self._limit = ROWS_WITH_PICTURES if pictures else _ROWS
        self._writer = pq.ParquetWriter(path, self._schema)
        self._rows: dict[str, list[Any]] = {name: [] for name in wanted}
        self._count = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one frame: a value for every column."""
        for name, values in self._rows.items():
            values.append(row[name])
        self._count += 1
        if self._count == self._limit:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the footer."""
        if self._count:
            self._flush()
        self._writer.close()

    def _let_go(self) -> None:
        self._writer.close()

    def _flush(self) -> None:
        arrays = [_array(self._rows[field.name], field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        for values in self._rows.values():
            values.clear()
        self._count = 0


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.asarray(values, np.float32).ravel(), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
    return pa.array(values, kind)


def index_columns(place: Place, first_frame: int, count: int, fps: int) -> dict[str, Any]:
    """LeRobot's own columns of `count` frames of an episode, each (count,)."""
    frame_index = np.arange(first_frame, first_frame + count, dtype=np.int64)
    tasks = place.task_index
    if not isinstance(tasks, int):
        tasks = tasks[frame_index]
    return {
        "timestamp": (frame_index / fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full(count, place.episode_index, np.int64),
        "index": frame_index + place.first_index,
        "task_index": np.full(count, tasks, np.int64),
    }


def complete_tables(
    sources: Sequence[tuple[Path, Place]],
    target: Path,
    *,
    schema: pa.Schema,
    fps: int,
) -> None:
    """Write the tables of encoded episodes into one, and add where each stands in the dataset."""
    with pq.ParquetWriter(target, schema) as writer:
        for source, place in sources:
            table = pq.ParquetFile(source)
            frame = 0
            for group in range(table.num_row_groups):
                rows = table.read_row_group(group)
                index = index_columns(place, frame, rows.num_rows, fps)
                arrays = [
                    pa.array(index[field.name], field.type)
                    if field.name in index
                    else rows.column(field.name)
                    for field in schema
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                frame += rows.num_rows


def read_vectors(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Columns of numbers as (N, D), whichever way they are nested."""
    table = pq.read_table(path, columns=list(names))
    return {name: _vectors(table.column(name)) for name in names}


def _vectors(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    flat = column.combine_chunks()
    while isinstance(flat, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        flat = flat.flatten()
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), -1)
