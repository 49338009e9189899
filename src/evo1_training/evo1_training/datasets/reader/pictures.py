"""Any picture of a dataset by camera and row, from videos or tables, as stored or resized.

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

from evo1_policy.paths import confined
from evo1_policy.untrusted import refuse_lfs_pointer
from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.datasets.reader.video import VideoFrames

CACHE_BYTES = 256 << 20  # of encoded pictures that stay in memory
_BATCH = 64  # rows that are unpacked at a time
_MOST_UNPACKED, _UNPACKED_FREELY = 20, 64 << 20  # times a file's bytes, and bytes in any case
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


class PictureSizeError(DatasetError):
    """A picture that is not as large as info.json says."""


class FrameSource:
    """Decodes frames of one dataset. Not for use by several threads at once."""

    def __init__(self, folder: DatasetFolder, *, open_videos: int = 64) -> None:
        self._folder = folder
        self._videos = VideoFrames(capacity=open_videos)
        self._pictures = _TablePictures()
        self._episode_starts = np.array([episode.first_row for episode in folder.episodes])
        self._file_starts = np.array([file.first_row for file in folder.data_files])

    def read(self, key: str, row: int) -> npt.NDArray[np.uint8]:
        """The frame of a camera.

        Args:
            key: the camera's feature.
            row: of the dataset, over all episodes.

        Returns:
            (H, W, 3) uint8 RGB, as info.json gives its size.

        Raises:
            PictureSizeError: it has another size than info.json gives.
            DatasetError: it cannot be decoded, or lies at another time.
        """
        feature = self._folder.info.feature(key)
        if feature.dtype != "video":
            return self._from_table(key, row, feature.shape)
        image = self._from_video(key, row)
        if image.shape != feature.shape:
            raise PictureSizeError(
                f"{self._folder.root}: {key}: frame {row} is {image.shape[1]}x{image.shape[0]}, "
                f"but info.json says {feature.shape[1]}x{feature.shape[0]}"
            )
        return image

    def close(self) -> None:
        """Close the videos; the next read opens its own again."""
        self._videos.close()

    def _from_video(self, key: str, row: int) -> npt.NDArray[np.uint8]:
        number = int(np.searchsorted(self._episode_starts, row, side="right")) - 1
        episode = self._folder.episodes[number]
        span = episode.videos[key]
        time_s = span.start_s + (row - episode.first_row) / self._folder.info.fps
        return self._videos.read(span.path, time_s)

    def _from_table(self, key: str, row: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        number = int(np.searchsorted(self._file_starts, row, side="right")) - 1
        file = self._folder.data_files[number]
        return self._pictures.read(file.path, key, row - file.first_row, shape)


def resize(image: npt.NDArray[Any], size: int) -> npt.NDArray[np.uint8]:
    """Antialiased bicubic resize to a square, aspect not kept: PIL's, as the authors train.

    The policy's own resize (evo1_policy.model.preprocessing.resize_image) gives the same within
    one level of 255 for each number.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: edge [px].

    Returns:
        (size, size, 3) uint8 RGB.
    """
    if image.shape[:2] == (size, size):
        return image
    picture = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture)


class _TablePictures:
    """Decodes pictures from row groups of parquet files; the newest groups stay in memory.

    A table can only be read a row group at a time, so reading in any order from large groups is
    slow; build a frame cache then (reader/frame_cache.py).
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[Path, str, int], pa.Array] = OrderedDict()
        self._starts: dict[Path, npt.NDArray[np.int64]] = {}

    def read(
        self, path: Path, key: str, row: int, shape: tuple[int, ...]
    ) -> npt.NDArray[np.uint8]:
        """The picture (H, W, 3) uint8 RGB of one row of a table; see FrameSource.read."""
        where = f"{path}: {key}: row {row}"
        try:
            starts = self._row_groups(path)
            group = int(np.searchsorted(starts, row, side="right")) - 1
            cell = self._column(path, key, group)[row - int(starts[group])].as_py()
        except (pa.ArrowException, OSError, KeyError, IndexError) as error:
            raise DatasetError(f"{where} cannot be read: {error}") from error
        return _decode(cell, where, path, shape)

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
            chunks = _read_group(path, key, group)
            while self._groups and self._bytes() + chunks.nbytes > CACHE_BYTES:
                self._groups.popitem(last=False)
            self._groups[place] = chunks
        self._groups.move_to_end(place)
        return self._groups[place]

    def _bytes(self) -> int:
        return sum(chunks.nbytes for chunks in self._groups.values())


def _read_group(path: Path, key: str, group: int) -> pa.ChunkedArray:
    """The cells of a row group, in parts: a dictionary may repeat one picture without end.

    Raises:
        OSError: they unpack to far more than the file's bytes.
    """
    most = max(_MOST_UNPACKED * path.stat().st_size, _UNPACKED_FREELY)
    parts, size = [], 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[key]):
            size += batch.nbytes
            if size > most:
                raise OSError(f"pictures that unpack to more than {most:,} bytes are not read")
            parts.append(batch.column(0))
    return pa.chunked_array(parts)


def _decode(
    cell: object, where: str, table: Path, shape: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """LeRobot's cell: {bytes, path}, of which one may be empty."""
    data: Mapping[str, Any] = cell if isinstance(cell, dict) else {"bytes": cell}
    source: io.BytesIO | Path
    if isinstance(data.get("bytes"), bytes):
        source = io.BytesIO(data["bytes"])
    elif isinstance(data.get("path"), str):
        try:
            source = confined(table.parents[2], data["path"], where)
        except ValueError as error:
            raise DatasetError(str(error)) from error
    else:
        raise DatasetError(f"{where}: expected the bytes of a picture, got {cell!r:.60}")
    try:
        if isinstance(source, Path):
            refuse_lfs_pointer(source)
        with Image.open(source, formats=_FORMATS) as picture:
            if picture.size != (shape[1], shape[0]):  # before it is decoded: it may be a bomb
                raise PictureSizeError(
                    f"{where}: {picture.width}x{picture.height}, but info.json says "
                    f"{shape[1]}x{shape[0]}"
                )
            return np.asarray(picture.convert("RGB"))
    except DatasetError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{where}: not a readable picture: {error}") from error
