"""Pictures to RGB, and damage found: colour order is decided here and nowhere else.

OpenCV converts, as in cv_bridge, whose pixels these are.

No decoder objects to bytes in a JPEG that happen to be a code for other blocks. A block tells its
brightness by the difference to the one before, so that everything behind a garbled one is off by a
constant, up to the next restart mark. Where the marks stand at the ends of rows of blocks, as
cameras set them, such a row shows: even to its left, then a garbled block, then brighter or
darker by one and the same step at its upper and its lower edge, up to its end. No scene has all of
that on the grid of the blocks.

This module must not import ROS or torch. Letters: R edges between rows of blocks, C blocks in a
row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.untrusted import MOST_PIXELS

try:
    import simplejpeg
except ImportError:  # a host with OpenCV alone, which hides damage inside of a JPEG
    simplejpeg = None

Image = npt.NDArray[np.uint8]
_JPEG_BEGIN, _JPEG_END, _PNG_END = b"\xff\xd8", b"\xff\xd9", b"IEND"
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables, among the kinds of segments that begin a frame
_HEAD_BYTES = 1 << 20  # comments and thumbnails come before the size


class DamagedError(ValueError):
    """Compressed data that are no whole picture; the text says what a decoder met."""


@dataclass(frozen=True)
class Encoding:
    """How an encoding of sensor_msgs/Image lies in memory.

    Attributes:
        channels: bytes a pixel, of its first plane.
        conversion: OpenCV's, to RGB; None where it is RGB already.
        even_width: whether two neighbouring pixels share their colour.
        even_height: whether two neighbouring rows do; their colours follow as a second plane of
            half the rows.
        min_side: fewest pixels a side that can be converted.
    """

    channels: int
    conversion: int | None
    even_width: bool = False
    even_height: bool = False
    min_side: int = 1

    def rows(self, height: int) -> int:
        """Rows in memory of an image of so many."""
        return height + height // 2 if self.even_height else height


_UYVY = Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True)
_YUYV = Encoding(2, cv2.COLOR_YUV2RGB_YUYV, even_width=True)
ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(3, None),
    "bgr8": Encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": Encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": Encoding(1, cv2.COLOR_GRAY2RGB),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, even_width=True, even_height=True),
    "nv21": Encoding(1, cv2.COLOR_YUV2RGB_NV21, even_width=True, even_height=True),
    # OpenCV names a mosaic by the second row's second and third pixel, ROS by the first two
    "bayer_rggb8": Encoding(1, cv2.COLOR_BayerBG2RGB, min_side=4),
    "bayer_bggr8": Encoding(1, cv2.COLOR_BayerRG2RGB, min_side=4),
    "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGR2RGB, min_side=4),
    "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGB2RGB, min_side=4),
}


def to_rgb(pixels: Image, encoding: str) -> Image:
    """Convert pixels of a known encoding to RGB.

    Args:
        pixels: (rows in memory, W, channels) uint8; used as they are where they are RGB already.
        encoding: a key of ENCODINGS.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    conversion = ENCODINGS[encoding].conversion
    if conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), conversion))


def check_whole(data: npt.NDArray[np.uint8]) -> None:
    """Look for the end of a JPEG or PNG, because a decoder fills a cut-off one with grey.

    And at how large it says that it is: a few bytes may be a gigabyte of one colour.

    Raises:
        DamagedError: there is no end, or it is too large.
    """
    end = _JPEG_END if data[:2].tobytes() == _JPEG_BEGIN else _PNG_END
    if end not in data[-64:].tobytes() and end not in data.tobytes():  # most are not padded
        raise DamagedError("it has no end")
    width, height = _size(data[:_HEAD_BYTES].tobytes())
    if width * height > MOST_PIXELS:
        raise DamagedError(
            f"it says that it has {width}x{height} pixels; at most {MOST_PIXELS:,} are decoded"
        )


def _size(head: bytes) -> tuple[int, int]:
    """(width, height) that the head of a JPEG or PNG tells; 0 where it tells none [px]."""
    if head[:2] != _JPEG_BEGIN:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    for kind, body in segments(head):
        if 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            return int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
    return 0, 0


def decompress_rgb(data: npt.NDArray[np.uint8]) -> Image:
    """Decode a JPEG or PNG to (H, W, 3) uint8 RGB; what pads it behind its end is left alone.

    An orientation tag is ignored: the camera's pixels count, as in the raw stream.

    Raises:
        DamagedError: it is cut off, or not what an encoder wrote.
    """
    check_whole(data)
    jpeg = data[:2].tobytes() == _JPEG_BEGIN
    try:
        if jpeg and simplejpeg is not None:
            image = np.asarray(simplejpeg.decode_jpeg(data, "RGB", strict=True))
        else:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    except (ValueError, cv2.error) as error:  # libjpeg's errors and warnings, or no picture
        raise DamagedError(str(error).strip()) from error
    if jpeg and is_garbled(data.tobytes(), image):
        raise DamagedError("a row of blocks in it is garbled")
    return image


_STEP = 6.0  # smallest constant that is looked at, of 255
_EVEN = 4.0  # what an even edge may have
_RUN = 4  # blocks that have to be off
_TEXTURE = (
    4.0  # deviation in a garbled block, of 255: 1.8 in plain ones, 4.8 in wrong ones and more
)


def is_garbled(data: bytes, image: npt.NDArray[np.uint8]) -> bool:
    """Whether a row of blocks is off by a constant behind a garbled one.

    Args:
        data: a JPEG.
        image: what it decodes to (H, W, 3) uint8.
    """
    block = _block_with_row_restarts(data)
    if block is None or image.shape[0] < 4 * block[0]:
        return False
    height, width = block
    green = image[:, : image.shape[1] // width * width, 1]
    edges = np.arange(height, image.shape[0] - 1, height)
    above2, above, below, below2 = (green[edges + k].astype(np.int16) for k in (-2, -1, 0, 1))
    # what goes on over the edge as it does on both sides of it is no step
    step = below - above - (above - above2 + below2 - below) / 2  # (R, W)
    steps = step.reshape(len(edges), -1, width).mean(axis=2)  # (R, C)
    for row, (top, bottom) in enumerate(pairwise(steps)):
        garbled = _garbled_block(top, bottom)
        if garbled is not None:
            left, upper = garbled * width, edges[row]
            inside = green[upper + 2 : upper + height - 2, left + 2 : left + width - 2]
            if inside.std() > _TEXTURE:  # wrong bits are no plain area, which a thing may be
                return True
    return False


def _garbled_block(top: Floats, bottom: Floats) -> int | None:
    """Which block of a row would be garbled by the steps (C,) at its two edges; None: none."""
    offset = (top - bottom) / 2
    last = float(offset[-1])
    if abs(last) < _STEP:
        return None
    same = (abs(offset - last) < 2 + 0.15 * abs(last)) & (abs(top + bottom) < 2 * _EVEN)
    run = int(np.argmin(same[::-1])) if not same.all() else len(same)
    first = len(same) - run
    if run < _RUN or first < 2:
        return None
    worst = np.maximum(abs(top), abs(bottom))
    found = worst[first - 1] > 2 * abs(last) and (worst[: first - 1] < _EVEN).mean() > 0.8
    return first - 1 if found else None


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each segment before the picture of a JPEG."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield data[place + 1], data[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)


def _block_with_row_restarts(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a block where restart marks stand at the ends of rows [px]."""
    interval, block, columns = 0, (8, 8), 0
    for kind, body in segments(data):
        if kind == 0xDD and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif kind == 0xC0 and len(body) >= 8:
            sampling = body[7] if body[5] > 1 else 0x11
            block = 8 * (sampling & 15), 8 * (sampling >> 4)
            columns = -(-int.from_bytes(body[3:5], "big") // max(block[1], 1))
    return block if interval and columns and interval % columns == 0 else None
