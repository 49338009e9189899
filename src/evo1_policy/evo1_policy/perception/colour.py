"""Colour order is decided here and nowhere else: every encoding becomes RGB.

OpenCV converts, as in cv_bridge, whose pixels these are. This module must not import ROS or torch.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from evo1_policy.perception.garbled import is_garbled, segments

try:
    import simplejpeg
except ImportError:  # a host with OpenCV alone, which hides damage inside of a JPEG
    simplejpeg = None

Image = npt.NDArray[np.uint8]
MOST_PIXELS = 7680 * 4320  # of a compressed picture: 100 MB once it is decoded
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
