"""Decoded frames on disk at training size, memory-mapped and shared by all processes.

A frame is read from the cache as fast as from memory, where decoding costs milliseconds. The cost
is space: 0.6 GB for 1000 frames of 448x448, per camera. A cache belongs to the exact files it was
made of, is used only when it is complete, and a build that was cut off goes on where it stopped:

    <cache_dir>/<key>/cache.json               what it is; written last
                      00000.frames    (n, H, W, 3) uint8

Frames are rounded to 8 bits after the resize, as the policy does live. Must not import ROS or
torch.
"""

import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.pictures import FrameSource, resize
from evo1_training.datasets.reader.problems import DatasetError

FORMAT = 1
SHARD_BYTES = 512 << 20
_OPEN_SHARDS = 256  # each holds a file descriptor
_FACTS = "cache.json"

Progress = Callable[[str, int, int], None]  # camera, frames more, frames in all


class FrameCache:
    """Frames of one camera of one dataset, ready to be read."""

    def __init__(self, place: Path, *, rows: int, shape: tuple[int, int, int], per: int) -> None:
        """Check that every shard is there in full.

        Raises:
            DatasetError: one is missing, or has another size.
        """
        self._place, self._rows, self._shape, self._per = place, rows, shape, per
        self._maps: dict[int, npt.NDArray[np.uint8]] = {}
        self._shards = [self._find(number) for number in range(-(-rows // per))]

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """The frame of a row of the dataset: (H, W, 3) uint8 RGB, read-only."""
        number, offset = divmod(row, self._per)
        if number not in self._maps:
            while len(self._maps) >= _OPEN_SHARDS:
                self._maps.pop(next(iter(self._maps)))
            shape = (self._count(number), *self._shape)
            self._maps[number] = np.memmap(
                self._shards[number], mode="r", dtype=np.uint8, shape=shape
            )
        frame: npt.NDArray[np.uint8] = self._maps[number][offset]
        return frame

    def _find(self, number: int) -> Path:
        found = list(self._place.glob(f"{number:05d}.*frames"))
        size = self._count(number) * int(np.prod(self._shape))
        if len(found) != 1 or found[0].stat().st_size != size:
            raise DatasetError(
                f"{self._place}: shard {number:05d} is missing or damaged; delete this folder, it "
                "will be built again"
            )
        return found[0]

    def _count(self, number: int) -> int:
        return min(self._per, self._rows - number * self._per)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # mapped again where it is unpickled


def open_frame_cache(
    folder: DatasetFolder,
    camera: str,
    *,
    size: int | None,
    cache_dir: Path,
    jobs: int = 1,
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> FrameCache:
    """Open the cache of a camera; build it first where it is not complete.

    Processes that ask for the same cache at once wait for the one that builds it.

    Args:
        folder: the dataset.
        camera: its feature.
        size: edge of the square that frames are resized to [px]; None keeps their size.
        cache_dir: folder of all caches.
        jobs: threads that decode.
        progress: called each time some frames are done.
        shard_bytes: size of one file, at most.

    Raises:
        DatasetError: a frame cannot be read, or the disk is too small.
    """
    shape = (size, size, 3) if size else folder.info.feature(camera).shape
    place = cache_dir / cache_key(folder, camera, size)
    per = max(shard_bytes // int(np.prod(shape)), 1)
    build = _Build(folder=folder, camera=camera, size=size, place=place, shape=shape, per=per)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _lock(place / ".lock"):
            if not (place / _FACTS).is_file():
                build.run(jobs, progress)
        per = _rows_per_shard(place / _FACTS)
    except OSError as error:
        raise DatasetError(f"{place}: cannot build the frame cache: {error.strerror}") from error
    return FrameCache(place, rows=folder.rows, shape=(shape[0], shape[1], 3), per=per)


def _rows_per_shard(path: Path) -> int:
    """The size of the shards that are there; a later build may be asked for another."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["rows_per_shard"])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: damaged ({error}); delete its folder, it will be built again"
        ) from error


def cache_key(folder: DatasetFolder, camera: str, size: int | None) -> str:
    """Name of the cache: changes with the dataset's files, the camera, the size and the format."""
    identity = hashlib.sha256(folder.info.path.read_bytes())
    for path in folder.files:
        status = path.stat()
        name = path.relative_to(folder.root)
        identity.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    identity.update(f"{FORMAT}\0{camera}\0{size}".encode())
    return identity.hexdigest()[:24]


@dataclass(kw_only=True)
class _Build:
    """Writes the shards of one cache that are not there yet, `per` frames in each."""

    folder: DatasetFolder
    camera: str
    size: int | None
    place: Path
    shape: tuple[int, ...]
    per: int
    sources: threading.local = field(default_factory=threading.local)

    def run(self, jobs: int, progress: Progress | None) -> None:
        for left_over in self.place.glob("*.tmp"):
            left_over.unlink()
        starts = range(0, self.folder.rows, self.per)
        missing = [start for start in starts if not self._done(start)]
        if progress is not None:
            done = sum(self._count(start) for start in starts if start not in missing)
            progress(self.camera, done, self.folder.rows)
        self._check_space(sum(self._count(start) for start in missing))
        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            tasks = [pool.submit(self._shard, start, progress) for start in missing]
            try:
                for task in tasks:
                    task.result()
            finally:
                pool.shutdown(cancel_futures=True)
        facts = {
            "format": FORMAT,
            "dataset": str(self.folder.root.resolve()),
            "camera": self.camera,
            "shape": list(self.shape),
            "rows": self.folder.rows,
            "rows_per_shard": self.per,
        }
        temporary = self.place / f"{_FACTS}.tmp"
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.place / _FACTS)

    def _shard(self, start: int, progress: Progress | None) -> None:
        if not hasattr(self.sources, "value"):
            self.sources.value = FrameSource(self.folder)
        temporary = self.place / f"{start // self.per:05d}.tmp"
        with temporary.open("wb") as file:
            for row in range(start, start + self._count(start)):
                image = self.sources.value.read(self.camera, row)
                file.write((resize(image, self.size) if self.size else image).tobytes())
                if progress is not None:
                    progress(self.camera, 1, self.folder.rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.place / f"{start // self.per:05d}.frames")

    def _done(self, start: int) -> bool:
        """Whether a shard is whole; what an earlier build with another size left is removed."""
        size = self._count(start) * int(np.prod(self.shape))
        found = list(self.place.glob(f"{start // self.per:05d}.*frames"))
        for path in found:
            if path.stat().st_size != size:
                path.unlink()
        return any(path.exists() for path in found)

    def _count(self, start: int) -> int:
        return min(self.per, self.folder.rows - start)

    def _check_space(self, rows: int) -> None:
        needed = rows * int(np.prod(self.shape))
        free = shutil.disk_usage(self.place).free
        if needed > free:
            raise DatasetError(
                f"{self.place}: the frame cache of {self.camera} needs {needed / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free; choose another folder, a smaller size, or none"
            )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
