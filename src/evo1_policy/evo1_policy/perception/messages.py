"""Sensor messages to numpy: images to RGB, joint states to names and radians.

Messages are read by their fields, so rclpy's and rosbags' both work, live and offline. This
module must not import ROS or torch.
"""

import contextlib
import struct
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.control.limits import LARGEST_RAD
from evo1_policy.perception.colour import (
    ENCODINGS,
    DamagedError,
    Encoding,
    check_whole,
    decompress_rgb,
    to_rgb,
)

COMPRESSED_FORMATS = ("jpeg", "jpg", "png")
HEAD_BYTES = 12  # of a serialised message that begins with a header: encapsulation and stamp
_DRIVERS = (
    "usb_cam: pixel_format; v4l2_camera: output_encoding; camera_ros: format; "
    "a node of your own: the encoding that it gives cv2_to_imgmsg"
)
_Read = TypeVar("_Read")
_NS_PER_S = 1_000_000_000
_SURPLUS_BYTES = 4


class MessageError(ValueError):
    """A message that cannot be used; the text names the topic and what was expected."""


def deserialize(raw: bytes, type_name: str, *, topic: str) -> Any:
    """Read a serialised message (CDR, as DDS and bags carry it) without copying its data.

    Args:
        raw: the bytes.
        type_name: such as 'sensor_msgs/msg/Image'.
        topic: where they came from, for errors.

    Returns:
        The message; an image's data is a view of `raw`, several times cheaper than rclpy's copy.

    Raises:
        MessageError: the bytes are no such message.
    """
    view = memoryview(raw)  # the parser slices, which would copy bytes
    try:
        return _typestore().deserialize_cdr(view, type_name)
    except Exception as error:  # whatever the parser stumbles over
        # rclpy's serialize_message aligns for the elements of an empty last sequence.
        with contextlib.suppress(Exception):
            return _typestore().deserialize_cdr(view[:-_SURPLUS_BYTES], type_name)
        raise MessageError(f"{topic}: these bytes are no {type_name}: {error}") from error


def prepare_reading() -> None:
    """Import the parser now, half a second's work, and not while the first frames come in."""
    _typestore()


@cache
def _typestore() -> Any:
    from rosbags.typesys import Stores, get_typestore

    typestore = get_typestore(Stores.ROS2_JAZZY)
    for name in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"):
        typestore.get_msgdef(name)
    return typestore


def stamp_ns(header_stamp: Any) -> int:
    """Turn a builtin_interfaces/Time into nanoseconds."""
    return int(header_stamp.sec) * _NS_PER_S + int(header_stamp.nanosec)


def head_stamp_ns(raw: bytes, *, topic: str) -> int:
    """Read header.stamp of a serialised message that begins with a header, and no more [ns].

    Raises:
        MessageError: it is too short.
    """
    if len(raw) < HEAD_BYTES:
        raise MessageError(f"{topic}: these bytes are no message with a header: too short")
    order = "<" if raw[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", raw, 4)
    return int(seconds) * _NS_PER_S + int(nanoseconds)


def check_image(msg: Any, *, topic: str) -> None:
    """Say what keeps a message from being a picture, as far as that shows without decoding.

    Raises:
        MessageError: unknown encoding or format, wrong size, or cut-off data.
    """
    if hasattr(msg, "format"):
        _compressed(msg, topic, check_whole)
    else:
        _pixels(msg, topic)


def decode_image(msg: Any, *, topic: str) -> npt.NDArray[np.uint8]:
    """Decode a sensor_msgs Image or CompressedImage, once.

    Args:
        msg: the message, of rclpy or rosbags.
        topic: where it came from, for errors.

    Returns:
        (H, W, 3) uint8 RGB. An rgb8 image is a view of the message's own bytes: do not write
        to it.

    Raises:
        MessageError: unknown encoding, wrong size, or damaged data.
    """
    if not hasattr(msg, "format"):
        return to_rgb(_pixels(msg, topic), msg.encoding)
    return _compressed(msg, topic, decompress_rgb)


def read_joints(
    msg: Any, *, topic: str, joints: Collection[str] | None = None
) -> tuple[tuple[str, ...], Floats, int]:
    """Read a sensor_msgs/JointState.

    Args:
        msg: the message, of rclpy or rosbags.
        topic: where it came from, for errors.
        joints: keep only these (a broadcaster may publish NaN for joints of no interest);
            None keeps all.

    Returns:
        Names in the message's order, positions (n,) float64 [rad], and the stamp [ns].

    Raises:
        MessageError: no names, another number of positions, a repeated name, NaN, infinity, or
            more than a joint could mean.
    """
    names = tuple(msg.name)
    positions = np.array(msg.position, dtype=np.float64)
    if not names:
        raise MessageError(f"{topic}: joint state without names; joints are matched by name")
    if positions.shape != (len(names),):
        raise MessageError(
            f"{topic}: joint state has {len(names)} names but {positions.size} positions; "
            "expected one position [rad] for each name"
        )
    if len(set(names)) != len(names):
        raise MessageError(f"{topic}: joint state names a joint twice: {', '.join(names)}")
    if joints is not None:
        kept = [i for i, name in enumerate(names) if name in joints]
        names, positions = tuple(names[i] for i in kept), positions[kept]
    sane = np.abs(positions) <= LARGEST_RAD  # False for NaN
    if not sane.all():
        bad = ", ".join(name for name, ok in zip(names, sane, strict=True) if not ok)
        raise MessageError(
            f"{topic}: position of {bad} is not finite or beyond {LARGEST_RAD:g}; expected rad"
        )
    return names, positions, stamp_ns(msg.header.stamp)


def _encoding(msg: Any, topic: str) -> Encoding:
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is not None:
        return encoding
    why = " (it does not say which colour comes first)" if msg.encoding == "8UC3" else ""
    raise MessageError(
        f"{topic}: image encoding '{msg.encoding}' is not supported{why}; expected one of "
        f"{', '.join(ENCODINGS)}; set the camera driver to one of them ({_DRIVERS})"
    )


def _pixels(msg: Any, topic: str) -> npt.NDArray[np.uint8]:
    """View the message's bytes as (rows, W, channels), without the padding at their ends."""
    encoding = _encoding(msg, topic)
    height, width = int(msg.height), int(msg.width)
    if min(height, width) < encoding.min_side:
        raise MessageError(
            f"{topic}: '{msg.encoding}' image has {width}x{height} pixels; "
            f"expected {encoding.min_side} or more a side"
        )
    if encoding.even_width and width % 2:
        raise MessageError(
            f"{topic}: '{msg.encoding}' image is {width} pixels wide; expected an even number"
        )
    if encoding.even_height and height % 2:
        raise MessageError(
            f"{topic}: '{msg.encoding}' image is {height} pixels high; expected an even number"
        )
    row = width * encoding.channels
    step = int(msg.step) or row  # some drivers leave it 0 where rows have no padding
    if step < row:
        raise MessageError(
            f"{topic}: image step is {step} bytes; {width} pixels of '{msg.encoding}' need {row}"
        )
    data = _bytes(msg.data)
    rows = encoding.rows(height)
    needed = (rows - 1) * step + row  # the last row may lack its padding
    if data.size < needed:
        raise MessageError(
            f"{topic}: image data is cut off: {data.size} bytes, but {width}x{height} "
            f"'{msg.encoding}' with step {step} need {needed}"
        )
    return np.ndarray(
        (rows, width, encoding.channels), np.uint8, data, strides=(step, encoding.channels, 1)
    )


def _compressed(msg: Any, topic: str, read: Callable[[npt.NDArray[np.uint8]], _Read]) -> _Read:
    """Read a CompressedImage; its format reads 'jpeg' or 'rgb8; jpeg compressed bgr8'."""
    source, _, detail = msg.format.lower().rpartition(";")
    if "depth" in detail or not any(name in detail for name in COMPRESSED_FORMATS):
        raise MessageError(
            f"{topic}: compressed image format '{msg.format}' is not supported; "
            f"expected one of {', '.join(COMPRESSED_FORMATS)} of a colour or mono image; set the "
            "driver's parameter <image topic with dots>.compressed.format, or use the raw topic"
        )
    if source.strip().startswith("bayer"):
        raise MessageError(
            f"{topic}: compressed image format '{msg.format}' hides a Bayer mosaic; "
            "debayer before compressing, or use the raw topic"
        )
    data = _bytes(msg.data)
    try:
        return read(data)
    except DamagedError as error:
        raise MessageError(
            f"{topic}: compressed image ('{msg.format}', {data.size} bytes) is corrupt or cut "
            f"off: {error}; check the camera's cable and USB bandwidth"
        ) from error


def _bytes(data: Any) -> npt.NDArray[np.uint8]:
    """View array.array, bytes, memoryview or numpy data as (n,) uint8 without a copy."""
    if isinstance(data, np.ndarray) and data.dtype == np.uint8:
        return data.reshape(-1)
    return np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)
