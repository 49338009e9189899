"""What meta/ says of each episode, in both layouts; and whether it agrees with itself.

Must not import ROS or torch.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evo1_training.datasets.checker.findings import Findings
from evo1_training.datasets.checker.info import CheckedInfo
from evo1_training.datasets.reader.info import DatasetError, read_json_lines

Stats = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class VideoPlace:
    """Where an episode lies in a video [s]; end_s None: it is the whole file."""

    path: Path
    start_s: float
    end_s: float | None


@dataclass(frozen=True, kw_only=True)
class EpisodeMeta:
    """One episode.

    Attributes:
        index: its number.
        length: its frames.
        first_row: of the dataset.
        tasks: its sentences.
        data_path: the table it lies in.
        videos: by camera key.
        stats: statistics by feature; None where the metadata has none.
    """

    index: int
    length: int
    first_row: int
    tasks: tuple[str, ...]
    data_path: Path
    videos: Mapping[str, VideoPlace]
    stats: Stats | None

    @property
    def label(self) -> str:
        """For people."""
        return f"episode {self.index}"


@dataclass(frozen=True, kw_only=True)
class DatasetMeta:
    """The episodes of a dataset in order, and its sentences by number."""

    info: CheckedInfo
    episodes: tuple[EpisodeMeta, ...]
    tasks: Mapping[int, str]


def read_episodes(info: CheckedInfo, findings: Findings) -> DatasetMeta | None:
    """Read and compare the metadata of all episodes; None where it cannot be read."""
    read = _read_v21 if info.layout == "v2.1" else _read_v30
    episodes = read(info, findings)
    if episodes is None:
        return None
    tasks = (_tasks_v21 if info.layout == "v2.1" else _tasks_v30)(info, findings)
    numbers = [episode.index for episode in episodes]
    if numbers != list(range(len(numbers))):
        wrong = next(place for place, number in enumerate(numbers) if place != number)
        findings.add(
            "episode-numbers",
            info.root / "meta",
            f"expected episode {wrong} at place {wrong}, got {numbers[wrong]}",
        )
    _check_totals(info, episodes, tasks, findings)
    _check_tasks(episodes, tasks, findings)
    return DatasetMeta(info=info, episodes=tuple(episodes), tasks=tasks)


def _check_totals(
    info: CheckedInfo,
    episodes: Sequence[EpisodeMeta],
    tasks: Mapping[int, str],
    findings: Findings,
) -> None:
    cameras = len(info.keys("video"))
    counted = {
        "total_episodes": len(episodes),
        "total_frames": sum(episode.length for episode in episodes),
        "total_tasks": len(tasks),
        "total_videos": len(episodes) * cameras,
        "total_chunks": -(-len(episodes) // info.chunks_size),
    }
    if info.layout == "v3.0":  # says nothing of these two
        del counted["total_videos"], counted["total_chunks"]
    for key, number in counted.items():
        claimed = info.counts.get(key, number)
        if claimed != number:
            code = "totals" if key in ("total_episodes", "total_frames") else "totals-minor"
            findings.add(code, info.path, f"{key}: {claimed}, but meta/ has {number}")


def _check_tasks(
    episodes: Iterable[EpisodeMeta], tasks: Mapping[int, str], findings: Findings
) -> None:
    known = set(tasks.values())
    for episode in episodes:
        strange = [task for task in episode.tasks if task not in known]
        if strange and known:
            findings.add(
                "episode-tasks",
                episode.label,
                f"the task {strange[0]!r} is not among the dataset's",
                episode=episode.index,
            )


def _read_v21(info: CheckedInfo, findings: Findings) -> list[EpisodeMeta] | None:
    path = info.root / "meta" / "episodes.jsonl"
    records = _lines(path, findings)
    if records is None:
        return None
    stats = _stats_v21(info, findings)
    episodes, row = [], 0
    for record in sorted(records, key=lambda one: str(one.get("episode_index")).zfill(12)):
        index, length = record.get("episode_index"), record.get("length")
        if not isinstance(index, int) or not isinstance(length, int) or length < 1:
            findings.add(
                "meta-unreadable", path, f"expected a number and a length: {record!r:.80}"
            )
            return None
        place = {"episode_chunk": index // info.chunks_size, "episode_index": index}
        data_path = _fill(info, "data_path", place, findings)
        videos = {
            key: _fill(info, "video_path", place | {"video_key": key}, findings)
            for key in info.keys("video")
        }
        if data_path is None or None in videos.values():
            return None
        episodes.append(
            EpisodeMeta(
                index=index,
                length=length,
                first_row=row,
                tasks=tuple(map(str, record.get("tasks") or ())),
                data_path=data_path,
                videos={
                    key: VideoPlace(path=video, start_s=0.0, end_s=None)
                    for key, video in videos.items()
                    if video is not None
                },
                stats=stats.get(index),
            )
        )
        row += length
    return episodes


def _stats_v21(info: CheckedInfo, findings: Findings) -> dict[int, Stats]:
    if info.version == "v2.0":
        return {}
    records = _lines(info.root / "meta" / "episodes_stats.jsonl", findings)
    return {
        record["episode_index"]: record["stats"]
        for record in records or ()
        if isinstance(record.get("stats"), dict) and isinstance(record.get("episode_index"), int)
    }


def _tasks_v21(info: CheckedInfo, findings: Findings) -> dict[int, str]:
    path = info.root / "meta" / "tasks.jsonl"
    records = _lines(path, findings)
    pairs = [(record.get("task_index"), record.get("task")) for record in records or ()]
    return _tasks(path, pairs, findings)


def _tasks(path: Path, pairs: Sequence[tuple[Any, Any]], findings: Findings) -> dict[int, str]:
    numbers = [number for number, _ in pairs]
    if numbers != list(range(len(pairs))):
        findings.add("tasks", path, f"task_index: expected 0 .. {len(pairs) - 1}, got {numbers}")
    if not all(isinstance(task, str) for _, task in pairs):
        findings.add("tasks", path, "expected a sentence for each task_index")
    elif not all(task.strip() for _, task in pairs):
        findings.add("instruction-empty", path, "a task is empty")
    return {number: str(task) for number, task in pairs if isinstance(number, int)}


def _read_v30(info: CheckedInfo, findings: Findings) -> list[EpisodeMeta] | None:
    folder = info.root / "meta" / "episodes"
    files = sorted(folder.glob("*/*.parquet"))
    if not files:
        findings.add("meta-missing", folder, "no tables of episodes")
        return None
    episodes: list[EpisodeMeta] = []
    for file in files:
        table = _table(file, findings)
        if table is None:
            return None
        missing = _columns_v30(info) - set(table.column_names)
        if missing:
            findings.add("meta-unreadable", file, f"no column {sorted(missing)[0]}")
            return None
        for record in table.to_pylist():
            row = episodes[-1].first_row + episodes[-1].length if episodes else 0
            strange = _strange_v30(record)
            if strange:
                findings.add("meta-unreadable", file, strange)
                return None
            episode = _episode_v30(info, record, row, findings)
            if episode is None:
                return None
            _check_place(file, record, episode, findings)
            episodes.append(episode)
    return episodes


def _columns_v30(info: CheckedInfo) -> set[str]:
    places = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    columns = {"episode_index", "length", "tasks", "dataset_from_index", "dataset_to_index"}
    columns |= {"data/chunk_index", "data/file_index"}
    return columns | {f"videos/{key}/{place}" for key in info.keys("video") for place in places}


def _strange_v30(record: Mapping[str, Any]) -> str:
    """Say which place or time of an episode is no number; empty where all are."""
    for column, value in record.items():
        if column.startswith("stats/") or column == "tasks":
            continue
        kind = int | float if column.endswith("_timestamp") else int
        least = 1 if column == "length" else 0
        if not isinstance(value, kind) or not least <= value < math.inf:
            return f"{column}: expected a number from {least} on, got {value!r}"
    return ""


def _episode_v30(
    info: CheckedInfo, record: Mapping[str, Any], row: int, findings: Findings
) -> EpisodeMeta | None:
    place = {"chunk_index": record["data/chunk_index"], "file_index": record["data/file_index"]}
    data_path = _fill(info, "data_path", place, findings)
    videos = {}
    for key in info.keys("video"):
        prefix = f"videos/{key}"
        place = {"chunk_index": record[f"{prefix}/chunk_index"], "video_key": key}
        place["file_index"] = record[f"{prefix}/file_index"]
        path = _fill(info, "video_path", place, findings)
        if path is None:
            return None
        start_s, end_s = record[f"{prefix}/from_timestamp"], record[f"{prefix}/to_timestamp"]
        videos[key] = VideoPlace(path=path, start_s=float(start_s), end_s=float(end_s))
    if data_path is None:
        return None
    stats: dict[str, dict[str, Any]] = {}
    for column, value in record.items():
        parts = column.split("/")
        if parts[0] == "stats" and len(parts) == 3 and value is not None:
            stats.setdefault(parts[1], {})[parts[2]] = value
    return EpisodeMeta(
        index=record["episode_index"],
        length=record["length"],
        first_row=row,
        tasks=tuple(map(str, record["tasks"] or ())),
        data_path=data_path,
        videos=videos,
        stats=stats or None,
    )


def _check_place(
    file: Path, record: Mapping[str, Any], episode: EpisodeMeta, findings: Findings
) -> None:
    first, last = record["dataset_from_index"], record["dataset_to_index"]
    expected = (episode.first_row, episode.first_row + episode.length)
    if (first, last) != expected:
        findings.add(
            "rows-place",
            file,
            f"{episode.label}: rows {first} .. {last}, expected {expected[0]} .. {expected[1]}",
            episode=episode.index,
        )


def _tasks_v30(info: CheckedInfo, findings: Findings) -> dict[int, str]:
    path = info.root / "meta" / "tasks.parquet"
    table = _table(path, findings)
    if table is None:
        return {}
    texts = [
        field.name
        for field in table.schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    if "task_index" not in table.column_names or len(texts) != 1:
        found = ", ".join(table.column_names)
        findings.add("tasks", path, f"expected task_index and the task as index, got {found}")
        return {}
    metadata = table.schema.pandas_metadata or {}
    if texts[0] not in metadata.get("index_columns", []):
        findings.add(
            "tasks-index",
            path,
            f"the column {texts[0]!r} is not marked as pandas' index; LeRobot would give a number "
            "for the task",
        )
    pairs = zip(
        table.column("task_index").to_pylist(), table.column(texts[0]).to_pylist(), strict=True
    )
    return _tasks(path, list(pairs), findings)


def _lines(path: Path, findings: Findings) -> list[Mapping[str, Any]] | None:
    def read() -> list[Mapping[str, Any]]:
        return read_json_lines(path)

    lines: list[Mapping[str, Any]] | None = _read(path, read, findings)
    return lines


def _table(path: Path, findings: Findings) -> pa.Table | None:
    def read() -> pa.Table:
        with pq.ParquetFile(path) as file:
            return file.read()

    return _read(path, read, findings)


def _read(path: Path, read: Callable[[], Any], findings: Findings) -> Any:
    if not path.is_file():
        findings.add("meta-missing", path, "missing")
        return None
    try:
        return read()
    except (DatasetError, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = str(error).removeprefix(f"{path}: ")
        findings.add("meta-unreadable", path, what)
        return None


def _fill(
    info: CheckedInfo, key: str, place: Mapping[str, object], findings: Findings
) -> Path | None:
    template = info.data_path if key == "data_path" else info.video_path
    try:
        return info.root / template.format(**place)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        findings.add("info", info.path, f"{key}: cannot fill {template!r}: {error!r}")
        return None
