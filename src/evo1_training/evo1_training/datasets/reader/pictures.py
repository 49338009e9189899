"""Pictures that a dataset keeps inside its tables (features of dtype 'image').

Must not import ROS or torch.
"""

import io
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from evo1_training.datasets.reader.info import DatasetError

CACHE_BYTES = 256 << 20  # of encoded pictures that stay in memory


class TablePictures:
    """Decodes pictures from row groups of parquet files; the newest groups stay in memory.

    A table can only be read a row group at a time, so reading in any order from large groups is
    slow; build a frame cache then (reader/frame_cache.py).
    """

    def __init__(self, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._limit = cache_bytes
        self._groups: OrderedDict[tuple[Path, str, int], pa.Array] = OrderedDict()
        self._starts: dict[Path, npt.NDArray[np.int64]] = {}

    def read(self, path: Path, key: str, row: int) -> npt.NDArray[np.uint8]:
        """The picture of one row of a file.

        Args:
            path: the table.
            key: the camera's feature.
            row: counted from the beginning of the file.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: the file or the picture cannot be read.
        """
        try:
            starts = self._row_groups(path)
            group = int(np.searchsorted(starts, row, side="right")) - 1
            cell = self._column(path, key, group)[row - int(starts[group])]
        except (pa.ArrowException, OSError, KeyError, IndexError) as error:
            raise DatasetError(f"{path}: {key}: row {row} cannot be read: {error}") from error
        return _decode(cell.as_py(), f"{path}: {key}: row {row}", path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_groups": OrderedDict()}  # read again where it is unpickled

    def _row_groups(self, path: Path) -> npt.NDArray[np.int64]:
        """First row of each group."""
        if path not in self._starts:
            meta = pq.read_metadata(path)
            sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
            self._starts[path] = np.cumsum([0, *sizes[:-1]])
        return self._starts[path]

    def _column(self, path: Path, key: str, group: int) -> pa.Array:
        place = (path, key, group)
        if place not in self._groups:
            with pq.ParquetFile(path) as file:
                chunks = file.read_row_group(group, columns=[key]).column(key)
            while self._groups and self._bytes() + chunks.nbytes > self._limit:
                self._groups.popitem(last=False)
            self._groups[place] = chunks
        self._groups.move_to_end(place)
        return self._groups[place]

    def _bytes(self) -> int:
        return sum(chunks.nbytes for chunks in self._groups.values())


def _decode(cell: object, where: str, table: Path) -> npt.NDArray[np.uint8]:
    """LeRobot's cell: {bytes, path}, of which one may be empty."""
    data: Mapping[str, Any] = cell if isinstance(cell, dict) else {"bytes": cell}
    source: io.BytesIO | Path
    if isinstance(data.get("bytes"), bytes):
        source = io.BytesIO(data["bytes"])
    elif isinstance(data.get("path"), str):
        source = table.parents[2] / str(data["path"])
    else:
        raise DatasetError(f"{where}: expected the bytes of a picture, got {cell!r:.60}")
    try:
        with Image.open(source) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{where}: not a readable picture: {error}") from error
