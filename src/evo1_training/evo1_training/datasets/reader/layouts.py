"""The two layouts of meta/ on disk, v2.1's lines of JSON and v3.0's tables, and tables themselves.

Must not import ROS or torch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from evo1_policy.untrusted import UntrustedError, refuse_lfs_pointer
from evo1_training.datasets.reader.info import DatasetInfo, inside, read_meta_lines
from evo1_training.datasets.reader.problems import Findings

T = TypeVar("T")
Tasks = Mapping[int, str]
Record = Mapping[str, Any]
# A table of numbers of which a byte gives more than this [bytes] is a bomb, or not worth opening.
_MOST_UNPACKED, _UNPACKED_FREELY = 1000, 64 << 20


@dataclass(frozen=True, kw_only=True)
class VideoSpan:
    """Where an episode lies in a video [s]; end_s None: to its end."""

    path: Path
    start_s: float
    end_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode: rows first_row .. first_row + length - 1 of the dataset.

    Attributes:
        index: its number.
        first_row: of the dataset.
        length: its frames.
        tasks: its sentences.
        data_path: the table it lies in.
        videos: by key of the camera.
    """

    index: int
    first_row: int
    length: int
    tasks: tuple[str, ...]
    data_path: Path
    videos: Mapping[str, VideoSpan]

    @property
    def label(self) -> str:
        """For people."""
        return f"episode {self.index}"


def read_v21(info: DatasetInfo, problems: Findings) -> list[Episode] | None:
    """Read episodes.jsonl; None where it cannot be read."""
    records = read_meta_lines(info.root, "meta/episodes.jsonl", problems)
    if records is None:
        return None
    path = info.root / "meta" / "episodes.jsonl"
    found: list[tuple[int, int, Record]] = []
    for record in records:
        index, length = record.get("episode_index"), record.get("length")
        if not isinstance(index, int) or not isinstance(length, int) or index < 0 or length < 1:
            what = f"episode_index, length: expected whole numbers, got {record!r:.80}"
            problems.add("meta-unreadable", path, what)
            return None
        found.append((index, length, record))
    episodes: list[Episode] = []
    for index, length, record in sorted(found, key=lambda one: one[0]):
        chunk = index // info.chunks_size
        place = {"episode_chunk": chunk, "chunk_index": chunk, "episode_index": index}
        data_path = info.fill("data_path", place, problems)
        videos: dict[str, VideoSpan] = {}
        for key in info.videos:
            video = info.fill("video_path", {**place, "video_key": key}, problems)
            if video is None:
                return None
            videos[key] = VideoSpan(path=video, start_s=0.0)
        if data_path is None:
            return None
        episodes.append(
            Episode(
                index=index,
                first_row=episodes[-1].first_row + episodes[-1].length if episodes else 0,
                length=length,
                tasks=_texts(record.get("tasks")),
                data_path=data_path,
                videos=videos,
            )
        )
    return episodes


def read_v30(info: DatasetInfo, problems: Findings) -> list[Episode] | None:
    """Read the tables meta/episodes; None where one cannot be read."""
    columns = ["episode_index", "length", "tasks", "dataset_from_index", "dataset_to_index"]
    columns += ["data/chunk_index", "data/file_index"]
    for key in info.videos:
        places = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        columns += [f"videos/{key}/{place}" for place in places]
    files = episode_tables(info, problems)
    if not files:
        return None
    episodes: list[Episode] = []
    for file in files:
        table = read_table(file, columns, problems)
        if table is None:
            return None
        for record in table.to_pylist():
            strange = _strange_v30(record)
            if strange:
                problems.add("meta-unreadable", file, strange)
                return None
            row = episodes[-1].first_row + episodes[-1].length if episodes else 0
            episode = _episode_v30(info, record, row, problems)
            if episode is None:
                return None
            _check_place(file, record, episode, problems)
            episodes.append(episode)
    return episodes


def episode_tables(info: DatasetInfo, problems: Findings) -> list[Path]:
    """The tables of meta/episodes in v3.0, sorted; a problem where there are none."""
    folder = info.root / "meta" / "episodes"
    names = sorted(str(path.relative_to(info.root)) for path in folder.glob("*/*.parquet"))
    if not names:
        problems.add("meta-missing", folder, "no tables of episodes; not finalised")
    paths = [inside(info.root, name, str(info.root / name), problems) for name in names]
    return [path for path in paths if path is not None]


def read_tasks(info: DatasetInfo, problems: Findings) -> Tasks:
    """The sentences by number; empty where they cannot be read."""
    if info.layout == "v2.1":
        path = info.root / "meta" / "tasks.jsonl"
        records = read_meta_lines(info.root, "meta/tasks.jsonl", problems)
        pairs = [(record.get("task_index"), record.get("task")) for record in records or ()]
        return _tasks(path, pairs, problems)
    name = "meta/tasks.parquet"
    found = inside(info.root, name, str(info.root / name), problems)
    table = read_table(found, None, problems) if found is not None else None
    if found is None or table is None:
        return {}
    # The sentence is pandas' index, so its column may have any name.
    texts = [
        field.name
        for field in table.schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    if "task_index" not in table.column_names or len(texts) != 1:
        what = f"expected task_index and the task as index, got {', '.join(table.column_names)}"
        problems.add("tasks", found, what)
        return {}
    metadata = table.schema.pandas_metadata or {}
    if texts[0] not in metadata.get("index_columns", []):
        what = f"the column {texts[0]!r} is not marked as pandas' index"
        problems.add("tasks-index", found, f"{what}; LeRobot would give a number for the task")
    numbers = table.column("task_index").to_pylist()
    if numbers != list(range(len(numbers))):
        what = f"task_index: expected 0 .. {len(numbers) - 1} in order, got {numbers!r:.80}"
        problems.add("tasks-order", found, what)
    return _tasks(found, zip(numbers, table.column(texts[0]).to_pylist(), strict=True), problems)


def read_table(
    path: Path,
    columns: Sequence[str] | None,
    problems: Findings,
    *,
    data: bool = False,
) -> pa.Table | None:
    """Read a parquet file, or columns of it.

    Args:
        path: of the file.
        columns: that must be there; None for all.
        problems: told what keeps it from being read.
        data: whether it is a table of frames, not of meta/.

    Returns:
        None where it cannot be read.
    """

    def read(file: pq.ParquetFile) -> pa.Table | None:
        names = file.schema_arrow.names
        missing = sorted(set(columns or ()) - set(names))
        if missing:
            what = f"no column {', '.join(missing)}; there are {', '.join(names)}"
            problems.add("columns" if data else "meta-unreadable", path, what)
            return None
        wanted = names if columns is None else list(columns)
        _refuse_bombs(path, file.metadata, set(wanted))
        return file.read(columns=wanted)

    return _use(path, read, problems, data=data)


def column_names(path: Path, problems: Findings) -> set[str] | None:
    """Names of the columns of a table of frames; None where it cannot be read."""
    return _use(path, lambda file: set(file.schema_arrow.names), problems, data=True)


def _use(
    path: Path, use: Callable[[pq.ParquetFile], T], problems: Findings, *, data: bool
) -> T | None:
    """What `use` makes of a parquet file; None, with a problem, where it cannot be read."""
    kind = "data" if data else "meta"
    if not path.is_file():
        problems.add(f"{kind}-missing", path, "missing, although meta/ names it")
        return None
    try:
        refuse_lfs_pointer(path)
        with pq.ParquetFile(path) as file:
            return use(file)
    except (pa.ArrowException, OSError, UnicodeDecodeError, UntrustedError) as error:
        what = str(error).removeprefix(f"{path}: ")
        problems.add(f"{kind}-unreadable", path, f"not a readable parquet file: {what}")
        return None


def _refuse_bombs(path: Path, meta: pq.FileMetaData, wanted: set[str]) -> None:
    """Refuse tables that unpack to far more than numbers ever do; arrow reads no more than this.

    Raises:
        UntrustedError: it is such a one.
    """
    unpacked = 0
    for group in range(meta.num_row_groups):
        for place in range(meta.num_columns):
            column = meta.row_group(group).column(place)
            if _belongs(column.path_in_schema, wanted):
                unpacked += max(8 * column.num_values, column.total_uncompressed_size)
    size = path.stat().st_size
    if unpacked > max(_MOST_UNPACKED * size, _UNPACKED_FREELY):
        raise UntrustedError(f"{size:,} bytes that unpack to {unpacked:,} are not read")


def _belongs(path: str, wanted: set[str]) -> bool:
    """Whether a leaf such as observation.state.list.element belongs to a wanted column."""
    parts = path.split(".")
    return any(".".join(parts[:count]) in wanted for count in range(1, len(parts) + 1))


def _strange_v30(record: Record) -> str:
    """Say which place or time of an episode is no number; empty where all are."""
    for column, value in record.items():
        if column == "tasks":
            continue
        kind = int | float if column.endswith("_timestamp") else int
        least = 1 if column == "length" else 0
        if not isinstance(value, kind) or not least <= value < math.inf:
            return f"{column}: expected a number from {least} on, got {value!r:.40}"
    return ""


def _episode_v30(
    info: DatasetInfo, record: Record, row: int, problems: Findings
) -> Episode | None:
    place = {"chunk_index": record["data/chunk_index"], "file_index": record["data/file_index"]}
    data_path = info.fill("data_path", place, problems)
    videos = {}
    for key in info.videos:
        prefix = f"videos/{key}"
        place = {"chunk_index": record[f"{prefix}/chunk_index"], "video_key": key}
        place["file_index"] = record[f"{prefix}/file_index"]
        path = info.fill("video_path", place, problems)
        if path is None:
            return None
        start_s, end_s = record[f"{prefix}/from_timestamp"], record[f"{prefix}/to_timestamp"]
        videos[key] = VideoSpan(path=path, start_s=float(start_s), end_s=float(end_s))
    if data_path is None:
        return None
    return Episode(
        index=record["episode_index"],
        first_row=row,
        length=record["length"],
        tasks=_texts(record["tasks"]),
        data_path=data_path,
        videos=videos,
    )


def _check_place(file: Path, record: Record, episode: Episode, problems: Findings) -> None:
    found = (record["dataset_from_index"], record["dataset_to_index"])
    expected = (episode.first_row, episode.first_row + episode.length)
    if found != expected:
        what = f"rows {found[0]} .. {found[1]}, expected {expected[0]} .. {expected[1]}"
        problems.add("rows-place", file, f"{episode.label}: {what}", episode=episode.index)


def _tasks(path: Path, found: Any, problems: Findings) -> Tasks:
    pairs = list(found)
    numbers = [number for number, _ in pairs if _is_count(number, 0)]
    if len(set(numbers)) != len(pairs) or not all(isinstance(task, str) for _, task in pairs):
        problems.add("tasks", path, "expected a number of its own and a sentence for each task")
        return {number: str(task) for number, task in pairs if _is_count(number, 0)}
    if not all(task.strip() for _, task in pairs):
        problems.add("instruction-empty", path, "a task is empty")
    return dict(pairs)


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()
