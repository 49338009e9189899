"""Decoded frames on disk at training size, an episode a file, shared by processes and datasets.

A raw frame is read from the cache as fast as from memory, where decoding a video costs
milliseconds; the price is space: 0.6 GB for 1000 frames of 448x448, per camera. As JPEG they take
about a tenth, cost a millisecond or two, and differ by little from what was decoded. The files of
an episode are named after what it is made of, so only an episode that is new or was changed is
decoded, and one that was copied into another dataset is not; a build that was cut off goes on:

    <cache_dir>/<ab>/<key>.frames    (n, H, W, 3) uint8, frame after frame
    <cache_dir>/<ab>/<key>.jpegs     n JPEG files, then where each begins: n + 1 numbers, uint64

Frames are rounded to 8 bits after the resize, as the policy does live. Must not import ROS or
torch.
"""

import fcntl
import hashlib
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.pictures import FrameSource, resize
from evo1_training.datasets.reader.problems import DatasetError

FORMAT = 2
_OPEN_FILES = 256  # each holds a file descriptor
_QUALITY = 95  # of JPEG, with colour at full resolution
_MEASURED = 8  # frames that are decoded to tell how large a cache of JPEGs will be
_ENDS = 4096  # bytes of a file's beginning and end that tell it from others
_INDEX = np.dtype("<u8")

Kind = Literal["raw", "jpeg"]
Progress = Callable[[str, int, int], None]  # what is built, frames more, frames in all


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The file of an episode: frames first_row .. first_row + length - 1 of the dataset."""

    path: Path
    first_row: int
    length: int


class FrameCache:
    """Frames of one camera of one dataset, ready to be read."""

    def __init__(self, parts: Sequence[_Part], *, shape: tuple[int, int, int], kind: Kind) -> None:
        """Check that every file is there in full.

        Raises:
            DatasetError: one is missing or cut off.
        """
        self._parts, self._shape, self._kind = tuple(parts), shape, kind
        self._starts = np.array([part.first_row for part in parts])
        self._maps: dict[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] = {}
        for part in parts:
            if not _is_whole(part, shape, kind):
                raise DatasetError(
                    f"{part.path}: missing or damaged; delete this file, it will be built again"
                )

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """The frame of a row of the dataset: (H, W, 3) uint8 RGB, read-only.

        Raises:
            DatasetError: the file was damaged since.
        """
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        if number not in self._maps:
            while len(self._maps) >= _OPEN_FILES:
                self._maps.pop(next(iter(self._maps)))
            self._maps[number] = self._open(self._parts[number])
        data, offsets = self._maps[number]
        place = row - self._parts[number].first_row
        found = data[int(offsets[place]) : int(offsets[place + 1])]
        if self._kind == "raw":
            return found.reshape(self._shape)
        try:
            with Image.open(io.BytesIO(found.tobytes()), formats=("JPEG",)) as picture:
                if (picture.height, picture.width) == self._shape[:2]:
                    return np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError):
            pass
        raise DatasetError(
            f"{self._parts[number].path}: frame {place} is damaged; delete this file, it will be "
            "built again"
        )

    def _open(self, part: _Part) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        data = np.memmap(part.path, mode="r", dtype=np.uint8)
        if self._kind == "raw":
            return data, np.arange(part.length + 1) * int(np.prod(self._shape))
        return data, _offsets(data, part.length)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # mapped again where it is unpickled


def open_frame_cache(
    folder: DatasetFolder,
    camera: str,
    *,
    size: int | None,
    cache_dir: Path,
    kind: Kind = "raw",
    jobs: int = 1,
    progress: Progress | None = None,
) -> FrameCache:
    """Open the cache of a camera; build the episodes first that it does not have.

    Processes that ask for the same folder at once wait for the one that builds in it.

    Args:
        folder: the dataset.
        camera: its feature.
        size: edge of the square that frames are resized to [px]; None keeps their size.
        cache_dir: folder of all caches.
        kind: 'raw', or 'jpeg' for a tenth of the space.
        jobs: threads that decode.
        progress: told what is built, and its size, each time some frames are done.

    Raises:
        DatasetError: a frame cannot be read, or the disk is too small.
    """
    height, width = (size, size) if size else folder.info.feature(camera).shape[:2]
    shape = (height, width, 3)
    keys = episode_keys(folder, camera, size, kind)
    suffix = ".frames" if kind == "raw" else ".jpegs"
    parts = [
        _Part(
            path=cache_dir / key[:2] / f"{key}{suffix}",
            first_row=episode.first_row,
            length=episode.length,
        )
        for key, episode in zip(keys, folder.episodes, strict=True)
    ]
    build = _Build(folder=folder, camera=camera, size=size, shape=shape, kind=kind)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _lock(cache_dir / ".lock"):
            gone = (part for part in parts if not _is_whole(part, shape, kind))
            missing = list({part.path: part for part in gone}.values())  # an episode may be twice
            if missing:
                for left_over in cache_dir.glob("*/*.tmp"):
                    left_over.unlink()
                build.run(missing, cache_dir, jobs, progress)
    except OSError as error:
        raise DatasetError(f"{cache_dir}: cannot build the frame cache: {error}") from error
    return FrameCache(parts, shape=shape, kind=kind)


def episode_keys(
    folder: DatasetFolder, camera: str, size: int | None, kind: Kind = "raw"
) -> list[str]:
    """Name of each episode's file: of what it is made of, wherever its dataset lies.

    Changes with the file that holds its pictures, its place there, the size and the kind.
    """
    video = folder.info.feature(camera).dtype == "video"
    starts = {file.path: file.first_row for file in folder.data_files}
    identity = cache(_identity)
    keys = []
    for episode in folder.episodes:
        span = episode.videos.get(camera)
        path = span.path if video and span is not None else episode.data_path
        at = f"{span.start_s:.6f}" if video and span is not None else ""
        row = "" if video else f"{camera}\0{episode.first_row - starts[episode.data_path]}"
        place = f"{at}\0{row}\0{episode.length}\0{folder.info.fps}"
        text = f"{FORMAT}\0{identity(path)}\0{place}\0{size}\0{kind}"
        keys.append(hashlib.sha256(text.encode()).hexdigest()[:32])
    return keys


def _identity(path: Path) -> str:
    """A file whatever it is called: size, time, and both ends, where lists of frames stand."""
    status = path.stat()
    with path.open("rb") as file:
        ends = file.read(_ENDS)
        file.seek(max(status.st_size - _ENDS, 0))
        ends += file.read(_ENDS)
    return f"{status.st_size} {status.st_mtime_ns} {hashlib.sha256(ends).hexdigest()}"


def _offsets(data: npt.NDArray[np.uint8], length: int) -> npt.NDArray[np.int64]:
    """Where each of the JPEGs begins, and the last one ends, as the file's end says (n + 1,)."""
    tail = data[len(data) - (length + 1) * _INDEX.itemsize :].tobytes()
    return np.frombuffer(tail, _INDEX).astype(np.int64)


def _is_whole(part: _Part, shape: tuple[int, ...], kind: Kind) -> bool:
    try:
        size = part.path.stat().st_size
        if kind == "raw":
            return bool(size == part.length * int(np.prod(shape)))
        index = (part.length + 1) * _INDEX.itemsize
        with part.path.open("rb") as file:
            file.seek(max(size - index, 0))
            offsets = np.frombuffer(file.read(index), _INDEX)
    except (OSError, ValueError):
        return False
    rising = len(offsets) == part.length + 1 and bool(
        (np.diff(offsets.astype(np.int64)) > 0).all()
    )
    return rising and int(offsets[0]) == 0 and int(offsets[-1]) == size - index


@dataclass(kw_only=True)
class _Build:
    """Writes the episodes of one camera that are not there yet."""

    folder: DatasetFolder
    camera: str
    size: int | None
    shape: tuple[int, int, int]
    kind: Kind
    sources: threading.local = field(default_factory=threading.local)

    def run(
        self, missing: Sequence[_Part], cache_dir: Path, jobs: int, progress: Progress | None
    ) -> None:
        rows = sum(part.length for part in missing)
        needed = self._bytes(missing, rows)
        told = f"{self.camera.rpartition('.')[2]}, {needed / 1e9:.1f} GB ({self.kind})"
        free = shutil.disk_usage(cache_dir).free
        if needed > free:
            raise DatasetError(
                f"{cache_dir}: the frame cache of {self.camera} needs {needed / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free; choose another folder, "
                f"{'jpeg, ' if self.kind == 'raw' else ''}a smaller size, or none"
            )
        if progress is not None:
            progress(told, 0, rows)

        def advance() -> None:
            if progress is not None:
                progress(told, 1, rows)

        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            tasks = [pool.submit(self._write, part, advance) for part in missing]
            try:
                for task in tasks:
                    task.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _bytes(self, missing: Sequence[_Part], rows: int) -> int:
        """How much it will take; of JPEGs by some of them [bytes]."""
        if self.kind == "raw":
            return rows * int(np.prod(self.shape))
        some = missing[:: max(len(missing) // _MEASURED, 1)][:_MEASURED]
        sizes = [len(self._frame(part.first_row + part.length // 2)) for part in some]
        return round(rows * (sum(sizes) / len(sizes) + _INDEX.itemsize))

    def _write(self, part: _Part, advance: Callable[[], None]) -> None:
        part.path.parent.mkdir(exist_ok=True)
        temporary = part.path.with_suffix(".tmp")
        offsets = [0]
        with temporary.open("wb") as file:
            for row in range(part.first_row, part.first_row + part.length):
                offsets.append(offsets[-1] + file.write(self._frame(row)))
                advance()
            if self.kind == "jpeg":
                file.write(np.array(offsets, _INDEX).tobytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(part.path)

    def _frame(self, row: int) -> bytes:
        if not hasattr(self.sources, "value"):
            self.sources.value = FrameSource(self.folder)
        image = self.sources.value.read(self.camera, row)
        image = resize(image, self.size) if self.size else image
        if self.kind == "raw":
            return bytes(image.tobytes())
        written = io.BytesIO()
        Image.fromarray(image).save(written, "JPEG", quality=_QUALITY, subsampling=0)
        return written.getvalue()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
