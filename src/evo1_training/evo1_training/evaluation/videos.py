"""Pictures of a trial: a video of all cameras, kept only where wanted, and thumbnails.

Must not import ROS or torch.
"""

from collections.abc import Mapping, Sequence
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
        every: how many of its frames make one of the video.

    Raises:
        VideoError: the file cannot be written.
    """

    def __init__(self, path: Path, *, rate_hz: float, every: int = EVERY) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._count = 0
        self._stream: av.VideoStream | None = None
        try:
            self._partial.touch()  # PyAV would find out with the first frame
            self._container = av.open(str(self._partial), "w", format="mp4")
        except OSError as error:
            raise VideoError(f"{path}: cannot write the video: {error}") from error
        self._every = every
        self._rate_hz = round(rate_hz / every)

    def add(self, images: Mapping[str, Image]) -> None:
        """Show the next frame: camera -> (H, W, 3) uint8 RGB, side by side."""
        self._count += 1
        if (self._count - 1) % self._every:
            return
        row = side_by_side(list(images.values()))
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate_hz)
            self._stream.height, self._stream.width = row.shape[:2]
            self._stream.pix_fmt = "yuv420p"  # players know no other
            self._stream.options = OPTIONS
            self._stream.thread_count = 1  # each worker has a core to itself
        frame = av.VideoFrame.from_ndarray(row, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self, *, keep: bool) -> bool:
        """Finish the file, and keep it if it has a frame, or delete it; returns what was done."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()
        kept = keep and self._stream is not None
        if kept:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)
        return kept


def thumbnail(image: Image) -> bytes:
    """A small JPEG of an image (H, W, 3) uint8 RGB."""
    height = round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1])
    small = cv2.resize(image, (THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(encoded)


def side_by_side(images: Sequence[Image]) -> Image:
    """Images (H, W, 3) uint8 RGB of any sizes in a row; even height and width for H.264."""
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images)
    row = np.zeros((height - height % 2, width - width % 2, 3), dtype=np.uint8)
    left = 0
    for image in images:
        place = row[: image.shape[0], left : left + image.shape[1]]
        place[:] = image[: place.shape[0], : place.shape[1]]
        left += image.shape[1]
    return row
