"""The tables of a dataset: columns, types, and whether every row is where it should be.

Gives the numbers of one episode at a time. Must not import ROS or torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evo1_training.datasets.checker.episodes import DatasetMeta, EpisodeMeta
from evo1_training.datasets.checker.findings import Findings
from evo1_training.datasets.reader.info import ACTION_KEY, STATE_KEY, Feature

TOLERANCE_S = 1e-4  # LeRobot's
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class EpisodeNumbers:
    """The numbers of one episode.

    Attributes:
        meta: what meta/ says of it.
        columns: (T, *shape) by key, only columns that are sound; a feature of shape (1,) as (T,),
            but state and action never.
        file_row: where its first row lies in its table.
    """

    meta: EpisodeMeta
    columns: Mapping[str, Array]
    file_row: int


def read_numbers(meta: DatasetMeta, findings: Findings) -> Iterator[EpisodeNumbers]:
    """Check table after table, and give each episode that can be read."""
    _check_files(meta, findings)
    for path, group in groupby(meta.episodes, key=lambda episode: episode.data_path):
        episodes = list(group)
        columns = _read(meta, path, findings)
        if columns is None:
            continue
        rows, promised = _rows(columns), sum(episode.length for episode in episodes)
        if rows != promised:
            findings.add("rows", path, f"{rows} rows, but meta/ promises {promised}")
            continue
        first = 0
        for episode in episodes:
            part = {key: values[first : first + episode.length] for key, values in columns.items()}
            numbers = EpisodeNumbers(meta=episode, columns=part, file_row=first)
            _check_positions(meta, numbers, findings)
            _check_finite(meta, numbers, findings)
            yield numbers
            first += episode.length


def _check_files(meta: DatasetMeta, findings: Findings) -> None:
    """LeRobot counts tables (v2.1), or finds rows by position over all of them (v3.0)."""
    order = list(dict.fromkeys(episode.data_path for episode in meta.episodes))
    for path in sorted((meta.info.root / "data").glob("**/*.parquet")):
        if path not in order:
            findings.add("data-extra", path, "no episode of meta/ lies in this file")
    if meta.info.layout == "v3.0" and order != sorted(order):
        findings.add("rows-place", meta.info.root / "data", "files are not in the rows' order")


def _read(meta: DatasetMeta, path: Path, findings: Findings) -> dict[str, Array] | None:
    """Read the columns of a file that are numbers and as info.json says."""
    if not path.is_file():
        findings.add("data-missing", path, "missing, although meta/ names it")
        return None
    expected = {
        key: feature for key, feature in meta.info.features.items() if feature.dtype != "video"
    }
    wanted = {key: one for key, one in expected.items() if one.dtype not in _NOT_NUMBERS}
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            table = file.read(columns=[key for key in wanted if key in names])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        findings.add("data-unreadable", path, f"not a readable parquet file: {error}")
        return None
    missing, surplus = sorted(set(expected) - names), sorted(names - set(expected))
    if missing or surplus:
        what = [f"no column {', '.join(missing)}"] * bool(missing)
        what += [f"columns that info.json does not name: {', '.join(surplus)}"] * bool(surplus)
        findings.add("columns", path, "; ".join(what))
    columns = {
        key: _values(path, key, wanted[key], table.column(key), findings)
        for key in table.column_names
    }
    if not columns:
        return None
    return {key: values for key, values in columns.items() if values is not None}


_NOT_NUMBERS = ("image", "string", "language")


def _values(
    path: Path, key: str, feature: Feature, column: pa.ChunkedArray, findings: Findings
) -> Array | None:
    """One column as (N, *shape); None, with a finding, where it is something else."""
    rows = len(column)
    flat = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], column.type)
    if isinstance(flat, pa.ExtensionArray):
        flat = flat.storage
    if flat.null_count:
        findings.add("shape", f"{path}: {key}", f"{flat.null_count} rows have no value")
        return None
    while pa.types.is_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
        widths = pc.unique(pc.list_value_length(flat)).to_pylist()
        if len(widths) > 1:
            findings.add("shape", f"{path}: {key}", f"rows of {sorted(widths)} numbers")
            return None
        flat = flat.flatten()
    values: Array = flat.to_numpy(zero_copy_only=False)
    if values.dtype != np.dtype(feature.dtype):
        findings.add("dtype", f"{path}: {key}", f"{values.dtype}, expected {feature.dtype}")
        return None
    if values.size != rows * int(np.prod(feature.shape)):
        width = values.size / max(rows, 1)
        findings.add(
            "shape", f"{path}: {key}", f"{width:g} numbers a row, expected {list(feature.shape)}"
        )
        return None
    scalar = feature.shape == (1,) and key not in (STATE_KEY, ACTION_KEY)
    return values if scalar else values.reshape(rows, *feature.shape)


def _rows(columns: Mapping[str, Array]) -> int:
    return len(next(iter(columns.values()), ()))


def _check_positions(meta: DatasetMeta, numbers: EpisodeNumbers, findings: Findings) -> None:
    episode, frames = numbers.meta, np.arange(numbers.meta.length)
    expected = {
        "episode_index": np.full(episode.length, episode.index),
        "frame_index": frames,
        "index": episode.first_row + frames,
    }
    for key, wanted in expected.items():
        found = numbers.columns.get(key)
        if found is not None and not np.array_equal(found, wanted):
            row = int(np.argmax(found != wanted))
            minor = key == "index" and meta.info.layout == "v2.1"  # its loader never looks there
            findings.add(
                "positions-minor" if minor else "positions",
                f"{episode.data_path}: {key}",
                f"frame {row} of {episode.label} has {found[row]}, expected {wanted[row]}",
                episode=episode.index,
            )
    _check_times(meta, numbers, findings)
    task = numbers.columns.get("task_index")
    if task is not None and meta.tasks:
        strange = sorted(set(np.unique(task).tolist()) - set(meta.tasks))
        if strange:
            findings.add(
                "tasks",
                f"{episode.data_path}: task_index",
                f"{episode.label} has task {strange[0]}, which meta/ does not name",
                episode=episode.index,
            )


def _check_times(meta: DatasetMeta, numbers: EpisodeNumbers, findings: Findings) -> None:
    seconds = numbers.columns.get("timestamp")
    if seconds is None or "frame_index" not in numbers.columns:
        return
    ideal = np.arange(numbers.meta.length) / meta.info.fps
    # float32 seconds get coarser than the tolerance in episodes of half an hour.
    wrong = np.flatnonzero(np.abs(seconds - ideal) > TOLERANCE_S + np.spacing(seconds))
    if wrong.size:
        row = int(wrong[0])
        findings.add(
            "timestamps",
            f"{numbers.meta.data_path}: timestamp",
            f"frame {row} of {numbers.meta.label} is at {seconds[row]:.4f} s, expected "
            f"{ideal[row]:.4f} s at {meta.info.fps} fps",
            episode=numbers.meta.index,
        )


def _check_finite(meta: DatasetMeta, numbers: EpisodeNumbers, findings: Findings) -> None:
    for key, values in numbers.columns.items():
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        place = np.argwhere(~np.isfinite(values))[0]
        names = meta.info.features[key].names
        what = names[place[1]] if names and len(place) == 2 else str(place[1:].tolist())
        findings.add(
            "not-finite",
            f"{numbers.meta.data_path}: {key}",
            f"frame {place[0]} of {numbers.meta.label}: {what} is {values[tuple(place)]}",
            episode=numbers.meta.index,
        )
