"""Pixels are those of cv_bridge and rosbags-image; damaged pictures are found."""

from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evo1_policy.perception.colour import ENCODINGS, DamagedError, decompress_rgb
from evo1_policy.perception.colour import to_rgb as ours

ROWS, COLUMNS = 12, 16


def cv_bridge(message: SimpleNamespace) -> np.ndarray:
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed here")
    return bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")


def rosbags(message: SimpleNamespace) -> np.ndarray:
    from rosbags.image import message_to_cvimage

    return message_to_cvimage(message, "rgb8")


@pytest.mark.parametrize("library", [cv_bridge, rosbags])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_pixels_are_those_of_the_library(encoding: str, library: Callable) -> None:
    if library is cv_bridge and encoding in ("nv12", "uyvy", "yuyv"):
        pytest.skip("cv_bridge does not know the name")
    kind = ENCODINGS[encoding]
    shape = (kind.rows(ROWS), COLUMNS, kind.channels)
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    message = SimpleNamespace(
        height=shape[0],  # both libraries count rows in memory
        width=COLUMNS,
        encoding=encoding,
        step=COLUMNS * kind.channels,
        data=pixels.reshape(-1),
        is_bigendian=0,
    )
    np.testing.assert_array_equal(ours(pixels, encoding), library(message))


def test_rgb_pixels_pass_through_without_a_copy() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert ours(pixels, "rgb8") is pixels


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize(
    ("yuv", "rgb"), [((81, 90, 240), (255, 0, 0)), ((41, 240, 110), (0, 0, 255))]
)
def test_colours_of_two_planes_become_rgb(
    encoding: str, yuv: tuple[int, ...], rgb: tuple[int, ...]
) -> None:
    y, u, v = yuv
    first, second = (u, v) if encoding == "nv12" else (v, u)
    plane = np.array([first, second] * 2, np.uint8)
    pixels = np.vstack([np.full((4, 4), y, np.uint8), plane, plane])[:, :, np.newaxis]
    np.testing.assert_allclose(
        ours(pixels, encoding).astype(int), np.broadcast_to(rgb, (4, 4, 3)), atol=2
    )


def jpeg(*, restart: int) -> bytes:
    y, x = np.mgrid[:480, :640]
    picture = np.dstack([x // 3 % 256, y // 2 % 256, (x + y) // 5 % 256]).astype(np.uint8)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    return cv2.imencode(".jpg", picture, parameters)[1].tobytes()


def decode(data: bytes) -> np.ndarray:
    return decompress_rgb(np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("restart", [0, 40])
def test_picture_in_a_buffer_for_a_raw_one_is_the_picture(restart: int) -> None:
    whole = jpeg(restart=restart)
    padded = whole + bytes(921_600 - len(whole))
    np.testing.assert_array_equal(decode(padded), decode(whole))


@pytest.mark.parametrize("restart", [0, 40])
@pytest.mark.parametrize("damage", ["hole", "stale tail", "end"])
def test_picture_that_lost_bytes_on_its_way_is_damaged(damage: str, restart: int) -> None:
    pytest.importorskip("simplejpeg")
    whole = jpeg(restart=restart)
    cut = len(whole) // 2
    data = {
        "hole": whole[:cut] + whole[cut + 222 :],
        "stale tail": whole[:cut] + whole[: 921_600 - cut],
        "end": whole[:cut],
    }[damage]
    with pytest.raises(DamagedError):
        decode(data)


def test_bytes_that_happen_to_be_a_code_for_other_blocks_are_damage() -> None:
    whole = jpeg(restart=40)
    cut = len(whole) // 2
    with pytest.raises(DamagedError):
        decode(whole[:cut] + bytes(range(47)) + whole[cut:])


@example(seed=40422, restart=20)  # two things side by side, one block high
@given(seed=st.integers(0, 2**31), restart=st.sampled_from([20, 40]))
def test_no_scene_is_garbled_even_where_its_edges_are_those_of_blocks(
    seed: int, restart: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = np.full((240, restart * 16, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(rng.integers(0, 40)):
        y, x = 16 * rng.integers(0, 15), 16 * rng.integers(0, restart)
        height, width = 16 * rng.integers(1, 3), 16 * rng.integers(1, restart)
        picture[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    decode(cv2.imencode(".jpg", picture, parameters)[1].tobytes())


def test_pixels_do_not_depend_on_which_library_decodes_a_jpeg() -> None:
    pytest.importorskip("simplejpeg")
    data = np.frombuffer(jpeg(restart=0), np.uint8)
    expected = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(decompress_rgb(data), expected)
