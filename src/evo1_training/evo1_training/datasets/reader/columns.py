"""The numbers of a dataset (states, actions, marks) as arrays over all of its frames.

Pictures stay in their files. Must not import ROS or torch.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evo1_training.datasets.reader.folder import DataFile, DatasetFolder
from evo1_training.datasets.reader.info import DatasetError
from evo1_training.datasets.reader.layouts import read_table

Array = npt.NDArray[np.generic]
TIME_TOLERANCE_S = 1e-4  # LeRobot's

_NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
_POSITIONS = ("timestamp", "frame_index", "episode_index", "index")


def read_columns(folder: DatasetFolder, keys: Sequence[str]) -> dict[str, Array]:
    """Read features over all frames, after checking that every row is where it should be.

    Args:
        folder: the dataset.
        keys: numeric features.

    Returns:
        (N, *shape) by key in the dtype that info.json says; a feature of shape (1,) gives (N,).

    Raises:
        DatasetError: a column is missing, has another width or dtype or is not finite; rows or
            times are not those that meta/ promises.
    """
    for key in keys:
        dtype = folder.info.feature(key).dtype
        if dtype not in _NUMBERS:
            raise DatasetError(f"{folder.info.path}: features.{key}: {dtype}, expected numbers")
    starts = np.array([episode.first_row for episode in folder.episodes])
    parts = [_read_file(folder, file, keys, starts) for file in folder.data_files]
    return {key: np.concatenate([part[key] for part in parts]) for key in keys}


def _read_file(
    folder: DatasetFolder, file: DataFile, keys: Sequence[str], starts: npt.NDArray[np.int64]
) -> Mapping[str, Array]:
    table = read_table(file.path, list(dict.fromkeys([*_POSITIONS, *keys])))
    if table.num_rows != file.rows:
        raise DatasetError(
            f"{file.path}: {table.num_rows} rows, but meta/ promises {file.rows}; the dataset was "
            "not written to its end"
        )
    _check_positions(folder, file, table, starts)
    return {key: _values(folder, file, table, key) for key in keys}


def _check_positions(
    folder: DatasetFolder, file: DataFile, table: pa.Table, starts: npt.NDArray[np.int64]
) -> None:
    rows = np.arange(file.first_row, file.first_row + file.rows)
    episodes = np.searchsorted(starts, rows, side="right") - 1
    expected = {"episode_index": episodes, "frame_index": rows - starts[episodes]}
    if folder.info.layout == "v3.0":  # found by position; v2.1 never looks at 'index'
        expected["index"] = rows
    for key, numbers in expected.items():
        found = table.column(key).to_numpy()
        wrong = np.flatnonzero(found != numbers)
        if wrong.size:
            row = wrong[0]
            raise DatasetError(
                f"{file.path}: {key}: row {row} has {found[row]}, expected {numbers[row]}; rows "
                "would be read as those of another frame"
            )
    seconds = table.column("timestamp").to_numpy()
    ideal = expected["frame_index"] / folder.info.fps
    # float32 seconds get coarser than the tolerance in episodes of half an hour.
    wrong = np.flatnonzero(np.abs(seconds - ideal) > TIME_TOLERANCE_S + np.spacing(seconds))
    if wrong.size:
        row = wrong[0]
        raise DatasetError(
            f"{file.path}: timestamp: row {row} is at {seconds[row]:.4f} s, expected "
            f"{ideal[row]:.4f} s at {folder.info.fps} fps; the rate in info.json is not the data's"
        )


def _values(folder: DatasetFolder, file: DataFile, table: pa.Table, key: str) -> Array:
    feature = folder.info.feature(key)
    column = table.column(key).combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # what combine_chunks gives for zero or many chunks
        column = pa.concat_arrays(column.chunks)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        _check_width(file, key, column, feature.shape)
        column = column.flatten()
    values: Array = column.to_numpy(zero_copy_only=False)
    if values.dtype != np.dtype(feature.dtype):
        raise DatasetError(
            f"{file.path}: {key}: dtype {values.dtype}, but info.json says {feature.dtype}"
        )
    size = int(np.prod(feature.shape))
    if values.size != file.rows * size:
        raise DatasetError(
            f"{file.path}: {key}: {values.size / file.rows:g} numbers a frame, but info.json says "
            f"shape {list(feature.shape)}"
        )
    values = values.reshape(file.rows, *(feature.shape if feature.shape != (1,) else ()))
    _check_finite(folder, file, key, values)
    return values


def _check_width(file: DataFile, key: str, column: pa.Array, shape: tuple[int, ...]) -> None:
    if pa.types.is_fixed_size_list(column.type):
        return  # the count of all numbers is checked afterwards
    widths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(widths) > 1:
        raise DatasetError(
            f"{file.path}: {key}: rows of {sorted(widths)} numbers, expected {list(shape)} in each"
        )


def _check_finite(folder: DatasetFolder, file: DataFile, key: str, values: Array) -> None:
    if not np.issubdtype(values.dtype, np.floating) or np.isfinite(values).all():
        return
    place = np.argwhere(~np.isfinite(values))[0]
    names = folder.info.feature(key).names
    what = names[place[1]] if names is not None and len(place) == 2 else str(place[1:].tolist())
    raise DatasetError(f"{file.path}: {key}: row {place[0]} is not finite at {what}")
