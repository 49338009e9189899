"""The two layouts of meta/ on disk: v2.1's lines of JSON and v3.0's tables.

Must not import ROS or torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evo1_training.datasets.reader.info import DatasetError, DatasetInfo, read_json_lines

Tasks = Mapping[int, str]


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """What meta/ says of one episode.

    Attributes:
        index: its number.
        length: its frames.
        data_path: the table it lies in.
        videos: file and time of its first frame [s] there, by camera key.
    """

    index: int
    length: int
    data_path: Path
    videos: Mapping[str, tuple[Path, float]]


def read_v21(info: DatasetInfo) -> tuple[list[EpisodeRow], Tasks]:
    """Read episodes.jsonl and tasks.jsonl.

    Raises:
        DatasetError: one is missing, cut off, or lacks a key.
    """
    path = info.root / "meta" / "episodes.jsonl"
    records = [
        (_whole(record, "episode_index", path), _whole(record, "length", path))
        for record in read_json_lines(path)
    ]
    rows = []
    for index, length in sorted(records):
        place = {"episode_chunk": index // info.chunks_size, "episode_index": index}
        rows.append(
            EpisodeRow(
                index=index,
                length=length,
                data_path=_fill(info, "data_path", info.data_path, place),
                videos={
                    key: (
                        _fill(info, "video_path", info.video_path, place | {"video_key": key}),
                        0.0,
                    )
                    for key in _video_keys(info)
                },
            )
        )
    tasks_path = info.root / "meta" / "tasks.jsonl"
    tasks = {
        _whole(record, "task_index", tasks_path): _text(record, "task", tasks_path)
        for record in read_json_lines(tasks_path)
    }
    return rows, tasks


def read_v30(info: DatasetInfo) -> tuple[list[EpisodeRow], Tasks]:
    """Read the tables meta/episodes and meta/tasks.parquet.

    Raises:
        DatasetError: one is missing, cut off, or lacks a column.
    """
    folder = info.root / "meta" / "episodes"
    files = sorted(folder.glob("*/*.parquet"))
    if not files:
        raise DatasetError(f"{folder}: no tables of episodes; the dataset was not finalised")
    places = ["chunk_index", "file_index"]
    columns = ["episode_index", "length", "dataset_from_index"]
    columns += [f"data/{place}" for place in places]
    for key in _video_keys(info):
        columns += [f"videos/{key}/{place}" for place in [*places, "from_timestamp"]]
    rows, expected = [], 0
    for file in files:
        for record in read_table(file, columns).to_pylist():
            if record["dataset_from_index"] != expected:
                raise DatasetError(
                    f"{file}: dataset_from_index: expected {expected} for episode "
                    f"{record['episode_index']}, got {record['dataset_from_index']}"
                )
            expected += record["length"]
            rows.append(_row_v30(info, record))
    return rows, _tasks_v30(info.root / "meta" / "tasks.parquet")


def _row_v30(info: DatasetInfo, record: Mapping[str, Any]) -> EpisodeRow:
    videos = {}
    for key in _video_keys(info):
        place = {
            "video_key": key,
            "chunk_index": record[f"videos/{key}/chunk_index"],
            "file_index": record[f"videos/{key}/file_index"],
        }
        path = _fill(info, "video_path", info.video_path, place)
        videos[key] = (path, float(record[f"videos/{key}/from_timestamp"]))
    place = {"chunk_index": record["data/chunk_index"], "file_index": record["data/file_index"]}
    return EpisodeRow(
        index=record["episode_index"],
        length=record["length"],
        data_path=_fill(info, "data_path", info.data_path, place),
        videos=videos,
    )


def _tasks_v30(path: Path) -> Tasks:
    """The sentence is pandas' index, so its column may have any name."""
    table = read_table(path, None)
    sentences = [
        name
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ]
    if "task_index" not in table.column_names or len(sentences) != 1:
        raise DatasetError(
            f"{path}: expected the columns task_index and task, got "
            f"{', '.join(table.column_names)}"
        )
    numbers = table.column("task_index").to_pylist()
    return dict(zip(numbers, table.column(sentences[0]).to_pylist(), strict=True))


def read_table(path: Path, columns: list[str] | None) -> pa.Table:
    """Read columns of a parquet file.

    Raises:
        DatasetError: it is missing or corrupt, or a column is not there or empty in a row.
    """
    try:
        with pq.ParquetFile(path) as file:
            missing = set(columns or ()) - set(file.schema_arrow.names)
            if missing:
                raise DatasetError(
                    f"{path}: no column {sorted(missing)[0]}; there are "
                    f"{', '.join(file.schema_arrow.names)}"
                )
            table = file.read(columns=columns)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: missing") from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: not a readable parquet file: {error}") from error
    for name in columns or ():
        if table.column(name).null_count:
            raise DatasetError(f"{path}: {name}: some rows have no value")
    return table


def _video_keys(info: DatasetInfo) -> list[str]:
    return [key for key, feature in info.features.items() if feature.dtype == "video"]


def _fill(info: DatasetInfo, key: str, template: str | None, place: Mapping[str, object]) -> Path:
    try:
        return info.root / str(template).format(**place)
    except (KeyError, IndexError, ValueError) as error:
        raise DatasetError(
            f"{info.path}: {key}: cannot fill {template!r} with {', '.join(place)}: {error!r}"
        ) from error


def _whole(record: Mapping[str, Any], key: str, path: Path) -> int:
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DatasetError(f"{path}: {key}: expected a whole number, got {value!r}")
    return value


def _text(record: Mapping[str, Any], key: str, path: Path) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise DatasetError(f"{path}: {key}: expected a text, got {value!r}")
    return value
