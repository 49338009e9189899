"""Single frames out of videos, by time, fast in any order.

A container stays open and decodes on where the next frame is asked for; elsewhere it seeks to
the keyframe before. One thread decodes: with small pictures and short keyframe distances more
threads only cost. Must not import ROS or torch.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from evo1_policy.untrusted import MOST_PIXELS, UntrustedError, refuse_lfs_pointer
from evo1_training.datasets.reader.problems import DatasetError

TOLERANCE_S = 1e-4  # LeRobot's: how far a frame may lie from the time that was asked for
_NEAR_FRAMES = 2.5  # further ahead, seeking is cheaper than decoding what lies between


class VideoFrames:
    """Reads frames of many videos; the newest `capacity` of them stay open.

    Not for use by several threads at once. A copy in another process opens its own files.
    """

    def __init__(self, *, capacity: int = 64) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: expected 1 or more open videos, got {capacity}")
        self._capacity = capacity
        self._open: OrderedDict[Path, _Video] = OrderedDict()
        self._owner = os.getpid()

    def read(self, path: Path, time_s: float) -> npt.NDArray[np.uint8]:
        """The frame at a time.

        Args:
            path: the video.
            time_s: from the beginning of the video [s].

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: the file cannot be decoded, or no frame lies at that time.
        """
        try:
            return self._video(path).frame(time_s)
        except FileNotFoundError as error:
            raise DatasetError(f"{path}: missing") from error
        except (av.FFmpegError, OSError) as error:
            self._drop(path)
            raise DatasetError(f"{path}: cannot be decoded at {time_s:.4f} s: {error}") from error
        except DatasetError:
            self._drop(path)
            raise

    def close(self) -> None:
        """Close all videos; the next read opens its own again."""
        while self._open:
            self._open.popitem()[1].close()

    def _video(self, path: Path) -> "_Video":
        if self._owner != os.getpid():  # forked: the files' positions belong to the parent
            self._open = OrderedDict()
            self._owner = os.getpid()
        video = self._open.get(path)
        if video is None:
            while len(self._open) >= self._capacity:
                self._open.popitem(last=False)[1].close()
            video = self._open[path] = _Video(path)
        self._open.move_to_end(path)
        return video

    def _drop(self, path: Path) -> None:
        """Forget a video whose decoder may be in any state."""
        video = self._open.pop(path, None)
        if video is not None:
            video.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_capacity": self._capacity, "_open": OrderedDict(), "_owner": -1}


class _Video:
    """One open video and where its decoder stands."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            refuse_lfs_pointer(path)  # or a pipe
        except UntrustedError as error:
            raise DatasetError(str(error)) from error
        self._container = av.open(str(path))
        if not self._container.streams.video:
            self._container.close()
            raise DatasetError(f"{path}: no video in this file")
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        # Larger frames are refused before there is room made for them.
        self._stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        self._base: Fraction = self._stream.time_base
        rate = self._stream.average_rate or Fraction(30)
        self._near = round(_NEAR_FRAMES / rate / self._base)
        # A container that counts milliseconds cannot place frames more exactly.
        self._tolerance = (TOLERANCE_S + float(self._base) / 2) / float(self._base)
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._last: av.VideoFrame | None = None
        self._converter = av.video.reformatter.VideoReformatter()

    def frame(self, time_s: float) -> npt.NDArray[np.uint8]:
        target = time_s / float(self._base)
        frame = self._last
        if frame is None or not 0 <= target - frame.pts + self._tolerance <= self._near:
            self._container.seek(max(round(target), 0), stream=self._stream)
            self._frames = self._container.decode(self._stream)
            self._last = frame = None
        while frame is None or frame.pts < target - self._tolerance:
            frame = next(self._frames, None)
            if frame is None:
                raise DatasetError(f"{self._path}: no frame at {time_s:.4f} s: it ends before")
            if frame.pts is None:
                raise DatasetError(f"{self._path}: a frame near {time_s:.4f} s has no time")
            self._last = frame
        if frame.pts > target + self._tolerance:
            self._refuse_late_start()
            raise DatasetError(
                f"{self._path}: no frame at {time_s:.4f} s, the next is at "
                f"{float(frame.pts * self._base):.4f} s; fps in info.json is not the video's"
            )
        picture = self._converter.reformat(frame, format="rgb24")
        image: npt.NDArray[np.uint8] = picture.to_ndarray()
        return image

    def _refuse_late_start(self) -> None:
        start_s = float((self._stream.start_time or 0) * self._base)
        if start_s > TOLERANCE_S:
            raise DatasetError(
                f"{self._path}: the video starts at {start_s:.4f} s, expected 0: its frames are "
                "late by as much; encode it again, so that the first frame is at 0"
            )

    def close(self) -> None:
        self._frames = iter(())
        self._last = None
        self._container.close()
