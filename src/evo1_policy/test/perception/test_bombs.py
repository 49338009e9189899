"""Small messages that stand for gigabytes, and numbers that lie: refused before they cost."""

import re
import tracemalloc
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from evo1_policy.observation import instruction_problem
from evo1_policy.perception.frames import Frame
from evo1_policy.perception.messages import MessageError, decode_image, read_joints

SIDE = 60_000


def chunk(kind, body):
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png_of(width, height, rows):
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    data = zlib.compress(bytes((width + 1) * rows))
    parts = chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_of(width, height):
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def compressed(data, form):
    return SimpleNamespace(format=form, data=data)


@pytest.mark.parametrize(
    ("data", "form"),
    [(png_of(SIDE, SIDE, 100), "png"), (jpeg_of(SIDE, SIDE), "jpeg")],
    ids=["png", "jpeg"],
)
@pytest.mark.parametrize("read", [decode_image, Frame], ids=["decoded", "as_it_comes"])
def test_compressed_picture_of_60000_pixels_a_side_is_refused_before_it_is_decoded(
    data, form, read
):
    tracemalloc.start()
    with pytest.raises(MessageError, match=r"/camera.*60000x60000 pixels; at most 33,177,600"):
        read(compressed(data, form), topic="/camera")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_jpeg_whose_size_stands_behind_a_thumbnail_is_bounded_too():
    data = jpeg_of(SIDE, SIDE)
    thumbnail = b"\xff\xe1\xff\xff" + bytes(65533)
    with pytest.raises(MessageError, match="60000x60000"):
        decode_image(compressed(data[:2] + 3 * thumbnail + data[2:], "jpeg"), topic="/camera")


@pytest.mark.parametrize(
    ("width", "height", "step"),
    [(2**32 - 1, 2**32 - 1, 2**32 - 1), (2**32 - 1, 1, 0), (1, 2**32 - 1, 3), (4, 4, 2**32 - 1)],
)
def test_raw_image_whose_numbers_lie_is_refused_with_them(width, height, step):
    image = SimpleNamespace(encoding="rgb8", width=width, height=height, step=step, data=bytes(48))
    with pytest.raises(
        MessageError, match=r"/camera: image (data is cut off: 48|step is \d+) bytes"
    ):
        decode_image(image, topic="/camera")


@pytest.mark.parametrize("position", [1e5, float("inf"), float("nan"), -1e300])
def test_joint_that_is_nowhere_is_refused_by_name(position):
    stamp = SimpleNamespace(sec=1, nanosec=0)
    message = SimpleNamespace(
        name=["elbow"], position=[position], header=SimpleNamespace(stamp=stamp)
    )
    with pytest.raises(MessageError, match="position of elbow is not finite or beyond 10000"):
        read_joints(message, topic="/joint_states")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("x" * 1001, "1,001 characters; at most 1,000"),
        ("put it\n[ERROR] [policy]: STOPPED", r"control character \(U\+000A\)"),
        ("\x1b]0;evil\x07", r"control character \(U\+001B\)"),
        ("\u202eput it there", r"control character \(U\+202E\)"),
    ],
)
def test_instruction_that_is_none_is_refused_with_the_number(text, words):
    assert re.search(words, instruction_problem(text))


@pytest.mark.parametrize("text", ["put the can into the box", "将罐子放入盒子", "déposer « ici »"])
def test_instruction_in_any_language_is_one(text):
    assert instruction_problem(text) == ""
