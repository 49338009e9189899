"""Messages to numpy: literal bytes in, literal pixels and radians out."""

import array
import io
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from evo1_policy.perception.colour import ENCODINGS
from evo1_policy.perception.messages import (
    MessageError,
    decode_image,
    deserialize,
    read_joints,
    stamp_ns,
)

TOPIC = "/env_camera/image_raw"
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


def raw(encoding: str, width: int, height: int, data: Any, step: int = 0) -> SimpleNamespace:
    channels = ENCODINGS[encoding].channels if encoding in ENCODINGS else 1
    return SimpleNamespace(
        encoding=encoding,
        width=width,
        height=height,
        step=step or width * channels,
        is_bigendian=0,
        data=data,
    )


def compressed(data: Any, form: str = "jpeg") -> SimpleNamespace:
    return SimpleNamespace(format=form, data=data)


def jpeg(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1])


def refusal(msg: Any) -> str:
    with pytest.raises(MessageError) as caught:
        decode_image(msg, topic=TOPIC)
    assert str(caught.value).startswith(f"{TOPIC}: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("rgb8", [255, 0, 0, 0, 0, 255], [RED, BLUE]),
        ("bgr8", [0, 0, 255, 255, 0, 0], [RED, BLUE]),
        ("rgba8", [255, 0, 0, 9, 0, 0, 255, 9], [RED, BLUE]),
        ("bgra8", [0, 0, 255, 9, 255, 0, 0, 9], [RED, BLUE]),
        ("mono8", [0, 128], [(0, 0, 0), GREY]),
    ],
)
def test_two_pixels_become_rgb(encoding: str, data: list[int], expected: list[Any]) -> None:
    image = decode_image(raw(encoding, 2, 1, bytes(data)), topic=TOPIC)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, [expected])


# U, Y0, V, Y1 of BT.601 in video range; the conversion rounds.
@pytest.mark.parametrize(
    ("luma", "chroma", "expected"),
    [
        ((16, 235), (128, 128), [(0, 0, 0), (255, 255, 255)]),
        ((81, 81), (90, 240), [RED, RED]),
        ((41, 41), (240, 110), [BLUE, BLUE]),
    ],
)
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv_pair_becomes_rgb(
    encoding: str, luma: tuple[int, int], chroma: tuple[int, int], expected: list[Any]
) -> None:
    (y0, y1), (u, v) = luma, chroma
    data = [u, y0, v, y1] if encoding in ("yuv422", "uyvy") else [y0, u, y1, v]
    image = decode_image(raw(encoding, 2, 1, bytes(data)), topic=TOPIC)
    np.testing.assert_allclose(image.astype(int), [expected], atol=2)


@pytest.mark.parametrize(
    ("encoding", "mosaic"),
    [
        ("bayer_rggb8", [[200, 100], [100, 50]]),
        ("bayer_bggr8", [[50, 100], [100, 200]]),
        ("bayer_gbrg8", [[100, 50], [200, 100]]),
        ("bayer_grbg8", [[100, 200], [50, 100]]),
    ],
)
def test_even_bayer_mosaic_becomes_its_colour(encoding: str, mosaic: list[list[int]]) -> None:
    data = np.tile(np.array(mosaic, np.uint8), (3, 4)).tobytes()
    image = decode_image(raw(encoding, 8, 6, data), topic=TOPIC)
    np.testing.assert_array_equal(image, np.full((6, 8, 3), (200, 100, 50)))


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_padding_at_the_end_of_rows_is_left_out(encoding: str) -> None:
    channels, rows = ENCODINGS[encoding].channels, ENCODINGS[encoding].rows(6)
    pixels = np.random.default_rng(2).integers(0, 256, (rows, 8 * channels)).astype(np.uint8)
    padded = np.pad(pixels, ((0, 0), (0, 5)), constant_values=77)
    expected = decode_image(raw(encoding, 8, 6, pixels.tobytes()), topic=TOPIC)
    step = 8 * channels + 5
    for data in (padded.tobytes(), padded.tobytes()[:-5]):  # some drivers cut the last padding
        image = decode_image(raw(encoding, 8, 6, data, step), topic=TOPIC)
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    "wrap",
    [
        bytes,
        bytearray,
        memoryview,
        lambda b: array.array("B", b),
        lambda b: np.frombuffer(b, "u1"),
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "numpy"],
)
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_every_kind_of_buffer_is_read(encoding: str, wrap: Any) -> None:
    image = decode_image(raw(encoding, 1, 1, wrap(bytes([1, 2, 3]))), topic=TOPIC)
    np.testing.assert_array_equal(image, [[[1, 2, 3] if encoding == "rgb8" else [3, 2, 1]]])


@pytest.mark.parametrize("step", [0, 7])
def test_rgb_image_is_a_view_of_the_message(step: int) -> None:
    data = array.array("B", bytes(2 * 7))
    image = decode_image(raw("rgb8", 2, 2, data, step), topic=TOPIC)
    assert np.shares_memory(image, np.frombuffer(data, np.uint8))


def test_zero_step_means_rows_without_padding() -> None:
    msg = raw("mono8", 2, 2, bytes([1, 2, 3, 4]))
    msg.step = 0
    np.testing.assert_array_equal(decode_image(msg, topic=TOPIC)[..., 0], [[1, 2], [3, 4]])


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "mono16", "rgb16", "8UC3", "yuv420p", ""])
def test_other_encoding_is_refused_by_name_with_the_supported_ones(encoding: str) -> None:
    message = refusal(raw(encoding, 2, 2, bytes(64)))
    assert f"'{encoding}'" in message
    for supported in ENCODINGS:
        assert supported in message
    assert "usb_cam: pixel_format" in message
    assert ("which colour comes first" in message) == (encoding == "8UC3")


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        (raw("rgb8", 0, 2, b""), "'rgb8' image has 0x2 pixels; expected 1 or more"),
        (raw("rgb8", 2, 0, b""), "'rgb8' image has 2x0 pixels; expected 1 or more"),
        (raw("rgb8", 2, 2, bytes(11)), "image data is cut off: 11 bytes"),
        (raw("rgb8", 2, 2, b""), "image data is cut off: 0 bytes"),
        (raw("bgr8", 2, 2, bytes(13), 8), "image data is cut off: 13 bytes"),
        (raw("rgb8", 2, 2, bytes(12), 5), "image step is 5 bytes; 2 pixels of 'rgb8' need 6"),
        (raw("yuv422", 3, 2, bytes(12)), "'yuv422' image is 3 pixels wide; expected an even"),
        (raw("nv12", 2, 3, bytes(9)), "'nv12' image is 3 pixels high; expected an even"),
        (raw("nv21", 4, 4, bytes(23)), "image data is cut off: 23 bytes"),
        (raw("bayer_rggb8", 1, 1, bytes(1)), "'bayer_rggb8' image has 1x1 pixels; expected 4"),
    ],
)
def test_image_of_impossible_size_is_refused(msg: Any, expected: str) -> None:
    assert expected in refusal(msg)


def test_jpeg_comes_out_as_rgb() -> None:
    image = decode_image(
        compressed(jpeg(np.full((16, 24, 3), (0, 0, 255), np.uint8))), topic=TOPIC
    )
    assert image.shape == (16, 24, 3)
    np.testing.assert_allclose(image.astype(int), np.broadcast_to(RED, (16, 24, 3)), atol=3)


@pytest.mark.parametrize("form", ["png", "rgb8; png compressed bgr8"])
def test_png_comes_out_as_exact_rgb(form: str) -> None:
    bgr = np.array([[(0, 0, 255), (255, 0, 0)]], np.uint8)
    data = array.array("B", bytes(cv2.imencode(".png", bgr)[1]))
    np.testing.assert_array_equal(decode_image(compressed(data, form), topic=TOPIC), [[RED, BLUE]])


def test_mono_jpeg_gets_three_equal_channels() -> None:
    msg = compressed(jpeg(np.full((8, 8), 128, np.uint8)), "mono8; jpeg compressed ")
    np.testing.assert_array_equal(decode_image(msg, topic=TOPIC), np.full((8, 8, 3), 128))


def test_orientation_tag_does_not_turn_the_image() -> None:
    buffer = io.BytesIO()
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    PillowImage.new("RGB", (32, 16), RED).save(buffer, "jpeg", exif=exif)
    assert decode_image(compressed(buffer.getvalue()), topic=TOPIC).shape == (16, 32, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.7, 0.98])
def test_cut_off_compressed_image_is_refused(suffix: str, kept: float) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    data = bytes(cv2.imencode(suffix, noise)[1])
    message = refusal(compressed(data[: int(kept * len(data))], suffix[1:]))
    assert "is corrupt or cut off" in message


def test_noise_instead_of_jpeg_is_refused() -> None:
    assert "is corrupt or cut off" in refusal(compressed(bytes(range(256)) * 4 + b"\xff\xd9"))


def test_padding_behind_a_jpeg_is_allowed() -> None:
    data = jpeg(np.full((16, 16, 3), 128, np.uint8))
    assert decode_image(compressed(data + bytes(256)), topic=TOPIC).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("16UC1; compressedDepth png", "'16UC1; compressedDepth png' is not supported"),
        ("tiff", "'tiff' is not supported"),
        ("", "'' is not supported"),
        ("h264", "set the driver's parameter <image topic with dots>.compressed.format"),
        ("webp", "'webp' is not supported"),
        ("bayer_rggb8; jpeg compressed ", "hides a Bayer mosaic"),
    ],
)
def test_other_compression_is_refused_by_name(form: str, expected: str) -> None:
    assert expected in refusal(compressed(jpeg(np.zeros((8, 8, 3), np.uint8)), form))


def test_messages_of_rosbags_are_read() -> None:
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_JAZZY).types
    time = types["builtin_interfaces/msg/Time"](sec=3, nanosec=5)
    header = types["std_msgs/msg/Header"](stamp=time, frame_id="camera")
    image = types["sensor_msgs/msg/Image"](
        header=header,
        height=1,
        width=1,
        encoding="bgr8",
        is_bigendian=0,
        step=3,
        data=np.array([1, 2, 3], np.uint8),
    )
    joints = types["sensor_msgs/msg/JointState"](
        header=header,
        name=["b", "a"],
        position=np.array([2.0, 1.0]),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )
    np.testing.assert_array_equal(decode_image(image, topic=TOPIC), [[[3, 2, 1]]])
    names, positions, stamp = read_joints(joints, topic="joint_states")
    assert (names, positions.tolist(), stamp) == (("b", "a"), [2.0, 1.0], 3_000_000_005)


@pytest.mark.ros
def test_messages_of_rclpy_are_read() -> None:
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import CompressedImage, Image, JointState

    image = Image(height=1, width=1, encoding="bgr8", step=3, data=bytes([1, 2, 3]))
    np.testing.assert_array_equal(decode_image(image, topic=TOPIC), [[[3, 2, 1]]])
    small = CompressedImage(format="jpeg", data=jpeg(np.full((8, 8, 3), 128, np.uint8)))
    np.testing.assert_array_equal(decode_image(small, topic=TOPIC), np.full((8, 8, 3), 128))
    joints = JointState(name=["b", "a"], position=[2.0, 1.0])
    joints.header.stamp = Time(sec=3, nanosec=5)
    names, positions, stamp = read_joints(joints, topic="joint_states")
    assert (names, positions.tolist(), stamp) == (("b", "a"), [2.0, 1.0], 3_000_000_005)


@pytest.mark.ros
@pytest.mark.parametrize("effort", [[], [0.5]])
def test_bytes_that_rclpy_serialises_are_read(effort: list[float]) -> None:
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import JointState

    sent = JointState(name=["a"], position=[1.5], velocity=[0.0], effort=effort)
    read = deserialize(serialize_message(sent), "sensor_msgs/msg/JointState", topic=TOPIC)
    assert (read.name, list(read.position), list(read.effort)) == (["a"], [1.5], effort)


@pytest.mark.parametrize("data", [b"", bytes(4), bytes(200)], ids=len)
def test_bytes_of_something_else_are_refused_by_topic(data: bytes) -> None:
    with pytest.raises(MessageError, match=f"{TOPIC}: these bytes are no sensor_msgs/msg/Image"):
        deserialize(data, "sensor_msgs/msg/Image", topic=TOPIC)


def joint_state(names: list[str], positions: list[float]) -> SimpleNamespace:
    stamp = SimpleNamespace(sec=1, nanosec=2)
    return SimpleNamespace(
        name=names, position=positions, header=SimpleNamespace(stamp=stamp, frame_id="")
    )


@pytest.mark.parametrize(
    ("names", "positions", "expected"),
    [
        ([], [], "joint state without names"),
        (["a", "b"], [1.0], "has 2 names but 1 positions"),
        (["a", "b"], [], "has 2 names but 0 positions"),
        (["a", "a"], [1.0, 2.0], "names a joint twice: a, a"),
        (["a", "b"], [1.0, float("nan")], "position of b is not finite"),
        (["a", "b"], [float("-inf"), 1.0], "position of a is not finite"),
    ],
)
def test_unusable_joint_state_is_refused(
    names: list[str], positions: list[float], expected: str
) -> None:
    with pytest.raises(MessageError) as caught:
        read_joints(joint_state(names, positions), topic="joint_states")
    assert str(caught.value).startswith("joint_states: ")
    assert expected in str(caught.value)


def test_joints_of_no_interest_and_what_is_no_position_may_be_nan() -> None:
    nan = float("nan")
    msg = joint_state(["left_finger_joint", "b", "a"], [nan, 2.0, 1.0])
    msg.velocity = msg.effort = [nan, nan, nan]
    names, positions, _ = read_joints(msg, topic="joint_states", joints=("a", "b"))
    assert (names, positions.tolist()) == (("b", "a"), [2.0, 1.0])


def test_nan_of_a_joint_of_no_interest_is_left_out() -> None:
    msg = joint_state(["wheel", "a"], [float("nan"), 1.0])
    names, positions, _ = read_joints(msg, topic="joint_states", joints=("a", "b"))
    assert (names, positions.tolist()) == (("a",), [1.0])


@given(st.integers(0, 2**31 - 1), st.integers(0, 999_999_999))
def test_stamp_keeps_every_nanosecond(sec: int, nanosec: int) -> None:
    stamp = stamp_ns(SimpleNamespace(sec=sec, nanosec=nanosec))
    assert divmod(stamp, 10**9) == (sec, nanosec)
