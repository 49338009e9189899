"""The numbers of a dataset (states, actions, marks) as arrays, checked row by row.

Pictures stay in their files. Must not import ROS or torch. Letters: N rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evo1_training.datasets.reader.folder import DataFile, DatasetFolder
from evo1_training.datasets.reader.info import ACTION_KEY, STATE_KEY
from evo1_training.datasets.reader.layouts import read_table
from evo1_training.datasets.reader.problems import DatasetError, Findings, Refusing

Array = npt.NDArray[Any]
TIME_TOLERANCE_S = 1e-4  # LeRobot's
_POSITIONS = ("timestamp", "frame_index", "episode_index", "index")
# Which kinds of numbers are read as which, as LeRobot casts them.
_CASTS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}


def read_columns(folder: DatasetFolder, keys: Sequence[str]) -> dict[str, Array]:
    """Read features over all frames, after checking that every row is where it should be.

    Args:
        folder: the dataset.
        keys: numeric features.

    Returns:
        (N, *shape) by key in the dtype that info.json says; a feature of shape (1,) gives (N,),
        but state and action never.

    Raises:
        DatasetError: a column is missing, has another width or kind or is not finite; rows or
            times are not those that meta/ promises.
    """
    for key in keys:
        feature = folder.info.feature(key)
        if not feature.is_number:
            raise DatasetError(
                f"{folder.info.path}: features.{key}: {feature.dtype}, expected numbers"
            )
    found = [read_file(folder, file, keys, Refusing()) or {} for file in folder.data_files]
    return {key: np.concatenate([part[key] for part in found]) for key in keys}


def read_file(
    folder: DatasetFolder, file: DataFile, keys: Sequence[str], problems: Findings
) -> dict[str, Array] | None:
    """Read the numbers of one table and check that every row is where it should be.

    Args:
        folder: the dataset.
        file: one of its tables.
        keys: numeric features that must be there.
        problems: told what is wrong.

    Returns:
        (N, *shape) by key, as read_columns gives them; only columns that are sound. None where the
        table cannot be read.
    """
    wanted = [*keys, *(key for key in _POSITIONS if key in folder.info.features)]
    table = read_table(file.path, list(dict.fromkeys(wanted)), problems, data=True)
    if table is None:
        return None
    if table.num_rows != file.rows:
        what = f"{table.num_rows} rows, but meta/ promises {file.rows}"
        problems.add("rows", file.path, what)
        return None
    columns = {}
    for key in table.column_names:
        values = _values(folder, file, key, table.column(key), problems)
        if values is not None:
            columns[key] = values
    _Rows(folder, file, columns, problems).check()
    return columns


class _Rows:
    """Checks the rows of one table; tells the first wrong one of each episode."""

    def __init__(
        self,
        folder: DatasetFolder,
        file: DataFile,
        columns: Mapping[str, Array],
        problems: Findings,
    ) -> None:
        self._folder, self._file, self._problems = folder, file, problems
        self._columns = columns
        self._episodes = file.episodes
        lengths = [episode.length for episode in self._episodes]
        self._place = np.repeat(np.arange(len(lengths)), lengths)  # (N,) which episode
        starts = np.array([episode.first_row for episode in self._episodes])
        self._frames = np.arange(file.first_row, file.first_row + file.rows)
        self._frames -= starts[self._place]

    def check(self) -> None:
        info = self._folder.info
        numbers = np.array([episode.index for episode in self._episodes])
        rows = np.arange(self._file.first_row, self._file.first_row + self._file.rows)
        expected = {
            "episode_index": ("positions", numbers[self._place]),
            "frame_index": ("positions", self._frames),
            # v3.0 finds frames by position; loaders of v2.1 never look at 'index'.
            "index": ("positions" if info.layout == "v3.0" else "positions-minor", rows),
        }
        for key, (code, wanted) in expected.items():
            found = self._columns.get(key)
            if found is not None:
                text = "has {found}, expected {wanted}"
                self._tell(
                    code,
                    key,
                    found != wanted,
                    _filled(text, found, wanted),
                )
        self._check_times()
        tasks = self._columns.get("task_index")
        if tasks is not None and self._folder.tasks:
            unknown = ~np.isin(tasks, list(self._folder.tasks))
            text = "has {found}, a task that meta/ does not name"
            self._tell("tasks", "task_index", unknown, _filled(text, tasks, tasks))
        for key, values in self._columns.items():
            if values.dtype.kind == "f":
                self._check_finite(key, values)

    def _check_finite(self, key: str, values: Array) -> None:
        finite = np.isfinite(values.reshape(len(values), -1))  # (N, D)
        if finite.all():
            return
        names = self._folder.info.features[key].labels(key)

        def say(row: int) -> str:
            return f"is not finite at {names[int(np.argmin(finite[row]))]}"

        self._tell("not-finite", key, ~finite.all(axis=1), say)

    def _check_times(self) -> None:
        seconds = self._columns.get("timestamp")
        if seconds is None:
            return
        ideal = self._frames / self._folder.info.fps
        # float32 seconds get coarser than the tolerance in episodes of half an hour.
        wrong = ~(np.abs(seconds - ideal) <= TIME_TOLERANCE_S + np.spacing(np.abs(seconds)))
        text = f"is at {{found:.4f}} s, expected {{wanted:.4f}} s at {self._folder.info.fps} fps"
        self._tell("timestamps", "timestamp", wrong, _filled(text, seconds, ideal))

    def _tell(self, code: str, key: str, wrong: npt.ArrayLike, say: Callable[[int], str]) -> None:
        rows = np.flatnonzero(np.asarray(wrong))
        _, firsts = np.unique(self._place[rows], return_index=True)
        for row in rows[firsts].tolist():
            episode = self._episodes[self._place[row]]
            self._problems.add(
                code,
                f"{self._file.path}: {key}",
                f"row {row} {say(row)} ({episode.label})",
                episode=episode.index,
            )


def _filled(text: str, found: Array, wanted: Array) -> Callable[[int], str]:
    return lambda row: text.format(found=found[row], wanted=wanted[row])


def _values(
    folder: DatasetFolder, file: DataFile, key: str, column: pa.ChunkedArray, problems: Findings
) -> Array | None:
    """One column as (N, *shape); None, with a problem, where it is something else."""
    feature, where = folder.info.features[key], f"{file.path}: {key}"
    flat = column.combine_chunks()
    if isinstance(flat, pa.ChunkedArray):  # what combine_chunks gives for zero or many chunks
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], column.type)
    if isinstance(flat, pa.ExtensionArray):
        flat = flat.storage
    if flat.null_count:
        problems.add("shape", where, "some rows have no value")
        return None
    while pa.types.is_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
        widths = pc.unique(pc.list_value_length(flat)).to_pylist()
        if len(widths) > 1:
            shown = sorted(widths, key=str)
            what = f"rows of {shown} numbers, expected {list(feature.shape)} in each"
            problems.add("shape", where, what)
            return None
        flat = flat.flatten()
    values: Array = flat.to_numpy(zero_copy_only=False)
    dtype = np.dtype(feature.dtype)
    if values.dtype != dtype:
        what = f"dtype {values.dtype}, but info.json says {dtype}"
        if values.dtype.kind not in _CASTS[dtype.kind]:
            problems.add("dtype", where, what)
            return None
        problems.add("dtype-width", where, what)
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.astype(dtype)
    if values.size != file.rows * int(np.prod(feature.shape)):
        width = values.size / max(file.rows, 1)
        what = f"{width:g} numbers a frame, but info.json says shape {list(feature.shape)}"
        problems.add("shape", where, what)
        return None
    scalar = feature.shape == (1,) and key not in (STATE_KEY, ACTION_KEY)
    return values if scalar else values.reshape(file.rows, *feature.shape)
