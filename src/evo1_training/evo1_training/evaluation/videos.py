"""Pictures of a trial: a video of all cameras, kept only where wanted, and thumbnails.

Must not import ROS or torch.
"""

from collections.abc import Mapping
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

EVERY = 3  # frames of the trial to one of the video: rendering takes most of the time
THUMBNAIL_WIDTH = 160  # pixels
JPEG_QUALITY = 80
OPTIONS = {"crf": "24", "preset": "veryfast"}


class VideoError(RuntimeError):
    """A video that cannot be written; the message names the file."""


class TrialVideo:
    """Encodes a trial while it runs; the file appears when it is kept.

    Args:
        path: the .mp4; its folder exists.
        rate_hz: frames a second of the trial.

    Raises:
        VideoError: the file cannot be written.
    """

    def __init__(self, path: Path, *, rate_hz: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._count = 0
        self._stream: av.VideoStream | None = None
        try:
            self._partial.touch()  # PyAV would find out with the first frame
            self._container = av.open(str(self._partial), "w", format="mp4")
        except OSError as error:
            raise VideoError(f"{path}: cannot write the video: {error}") from error
        self._rate_hz = round(rate_hz / EVERY)

    def add(self, images: Mapping[str, Image]) -> None:
        """Show the next frame: camera -> (H, W, 3) uint8 RGB, side by side."""
        self._count += 1
        if (self._count - 1) % EVERY:
            return
        row = _even(np.concatenate(list(images.values()), axis=1))
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate_hz)
            self._stream.height, self._stream.width = row.shape[:2]
            self._stream.pix_fmt = "yuv420p"  # players know no other
            self._stream.options = OPTIONS
            self._stream.thread_count = 1  # each worker has a core to itself
        frame = av.VideoFrame.from_ndarray(row, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self, *, keep: bool) -> None:
        """Finish the file, and keep or delete it."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()
        if keep and self._stream is not None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def thumbnail(image: Image) -> bytes:
    """A small JPEG of an image (H, W, 3) uint8 RGB."""
    height = round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1])
    small = cv2.resize(image, (THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(encoded)


def _even(image: Image) -> Image:
    """Without the last row or column where their number is odd: H.264 wants it."""
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[: height - height % 2, : width - width % 2])
