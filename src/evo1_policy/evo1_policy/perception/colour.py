"""Colour order is decided here and nowhere else: every encoding becomes RGB.

cv_bridge converts where ROS has it, rosbags-image where it has not; both ask OpenCV for the same
conversion and give the same pixels. cv_bridge is imported inside the one function that chooses,
so this module works without ROS. It must not import ROS at module level, nor torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Converter = Callable[["PackedImage"], Image]


@dataclass(frozen=True)
class Encoding:
    """How an encoding of sensor_msgs/Image lies in memory.

    Attributes:
        channels: bytes a pixel.
        library_name: the name that cv_bridge and rosbags-image both know.
        even_width: whether two neighbouring pixels share their colour.
        min_side: fewest pixels a side that can be converted.
    """

    channels: int
    library_name: str
    even_width: bool = False
    min_side: int = 1


ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(3, "rgb8"),
    "bgr8": Encoding(3, "bgr8"),
    "rgba8": Encoding(4, "rgba8"),
    "bgra8": Encoding(4, "bgra8"),
    "mono8": Encoding(1, "mono8"),
    "yuv422": Encoding(2, "yuv422", even_width=True),
    "uyvy": Encoding(2, "yuv422", even_width=True),
    "yuv422_yuy2": Encoding(2, "yuv422_yuy2", even_width=True),
    "yuyv": Encoding(2, "yuv422_yuy2", even_width=True),
    "bayer_rggb8": Encoding(1, "bayer_rggb8", min_side=4),
    "bayer_bggr8": Encoding(1, "bayer_bggr8", min_side=4),
    "bayer_gbrg8": Encoding(1, "bayer_gbrg8", min_side=4),
    "bayer_grbg8": Encoding(1, "bayer_grbg8", min_side=4),
}


@dataclass(frozen=True, kw_only=True)
class PackedImage:
    """What both libraries read of a sensor_msgs/Image, with rows that follow without padding."""

    height: int
    width: int
    encoding: str  # a library_name of ENCODINGS
    step: int  # bytes a row
    data: npt.NDArray[np.uint8]  # (height * step,)
    is_bigendian: int = 0


def to_rgb(pixels: Image, encoding: str) -> Image:
    """Convert pixels of a known encoding to RGB.

    Args:
        pixels: (H, W, channels) uint8; used as they are where they are RGB already.
        encoding: a key of ENCODINGS.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    name = ENCODINGS[encoding].library_name
    if name == "rgb8":
        return pixels
    height, width, channels = pixels.shape
    packed = PackedImage(
        height=height,
        width=width,
        encoding=name,
        step=width * channels,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )
    return converter()(packed)


def decompress_rgb(data: npt.NDArray[np.uint8]) -> Image | None:
    """Decode a JPEG or PNG to (H, W, 3) uint8 RGB; None where it is corrupt or cut off.

    An orientation tag is ignored: the camera's pixels count, as in the raw stream.
    """
    # OpenCV fills the rest of a cut-off file with grey; the end mark tells (cameras pad after it).
    tail = data[data.size // 2 :].tobytes()
    if not any(mark in tail for mark in _END_MARKS):
        return None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


@cache
def converter() -> Converter:
    """Choose the library: cv_bridge where it is installed, else rosbags-image."""
    try:
        return cv_bridge_converter()
    except ImportError:
        return rosbags_converter()


def cv_bridge_converter() -> Converter:
    """Convert with cv_bridge.

    Raises:
        ImportError: it is not installed, was built for another numpy, or lacks an encoding.
    """
    from cv_bridge import CvBridge, CvBridgeError

    bridge = CvBridge()

    def convert(image: PackedImage) -> Image:
        return np.asarray(bridge.imgmsg_to_cv2(image, "rgb8"))

    for encoding in ENCODINGS.values():  # its compiled half loads only with the first image
        step = 4 * encoding.channels
        probe = PackedImage(
            height=4,
            width=4,
            encoding=encoding.library_name,
            step=step,
            data=np.zeros(4 * step, np.uint8),
        )
        try:
            convert(probe)
        except CvBridgeError as error:
            raise ImportError(f"cv_bridge cannot convert {encoding.library_name}") from error
    return convert


def rosbags_converter() -> Converter:
    """Convert with rosbags-image.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from rosbags.image import message_to_cvimage
    except ImportError as error:
        raise ImportError("neither cv_bridge nor rosbags-image is installed") from error
    return lambda image: np.asarray(message_to_cvimage(image, "rgb8"))


_END_MARKS = (b"\xff\xd9", b"IEND")  # of JPEG and PNG
