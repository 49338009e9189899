"""Pictures out of a JSON text: the numbers of [[[...]]] read all at once.

A JSON parser makes an object of every number: two thirds of a second for the 8 MB that a client of
the authors sends. Here the digits are looked at as one array, and so is what stands between them,
which has to be exactly the brackets and commas of an array [H][W][3]. No ROS, no torch.
"""

import json
import re
from typing import Any

import numpy as np

from evo1_policy.serving.sessions import Image, RequestError
from evo1_policy.untrusted import UntrustedError, parse_json

_KEY = re.compile(r'"image"\s*:\s*\[')
_BLOCK = 1 << 17  # characters looked at at once: they and what is made of them stay in the cache
_SMALL = 1 << 20  # a text that is read number by number where it has an odd form
_ZERO, _OPEN, _CLOSE = 48, 91, 93


def read_request(text: str) -> tuple[dict[str, Any], list[Image]]:
    """A JSON object and the pictures under its key 'image', which is left out of the object.

    Raises:
        RequestError: no JSON object, or 'image' holds no pictures; names what is wrong.
    """
    found = _KEY.search(text)
    if found is None:
        data = _object(text)
        problem = "missing" if "image" not in data else "expected arrays [H][W][3]"
        raise RequestError("image", problem)
    begin = found.end() - 1
    end = text.find('"', begin)  # pictures hold no strings: the next key, or the end
    end = text.rfind("]", begin, end if end >= 0 else len(text)) + 1
    if end <= begin:
        raise RequestError("image", "its array does not end")
    data = _object(f"{text[:begin]}null{text[end:]}")
    if data.pop("image", "") is not None:
        raise RequestError("image", "stands twice, or inside of something else")
    return data, read_images(text[begin:end])


def read_images(text: str) -> list[Image]:
    """The pictures of a JSON array [[[[r, g, b], ...], ...], ...], each (H, W, 3) uint8.

    Raises:
        RequestError: names the picture.
    """
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise RequestError("image", "expected whole numbers from 0 to 255") from error
    codes = np.frombuffer(raw, np.uint8)
    if ((codes[:-1] - _ZERO < 10) & (codes[1:] <= 32)).any():  # indented, as nobody sends it
        return _read_slowly(text)
    for gap in (b", ", b","):  # json.dumps' own, and without blanks
        packed = raw if gap == b", " else raw.translate(None, b" \t\r\n")
        images = _pictures(packed, gap)
        if images is not None:
            return images
    return _read_slowly(text)


def _pictures(packed: bytes, gap: bytes) -> list[Image] | None:
    """The pictures of b'[[[[1,2,3],...],...],...]'; None where it is anything else."""
    closing = np.frombuffer(packed, np.uint8) == _CLOSE
    ends = np.flatnonzero(closing[:-2] & closing[1:-1] & closing[2:]) + 3
    begin, images = 1, []
    if packed[:1] != b"[" or not len(ends):
        return None
    for end in ends[ends < len(packed)]:  # all but the array's own
        image = _numbers(packed[begin:end], gap)
        if image is None:
            return None
        images.append(image)
        begin = end + len(gap)
        if packed[end:begin] != gap:
            return images if packed[end:] == b"]" else None
    return None


def _numbers(packed: bytes, gap: bytes) -> Image | None:
    """The pixels of b'[[[1,2,3],...],...]'; None where it is anything else."""
    width = packed.count(b"[", 0, max(packed.find(b"]]"), 0)) - 2
    if width < 1 or packed[:1] != b"[":
        return None
    row = b"[" + gap.join([b"[" + gap + gap + b"]"] * width) + b"]"
    begin, end, blocks = 1, len(packed) - 1, []
    while begin < end:
        stop = packed.find(b"]]" + gap + b"[[", begin + _BLOCK, end)
        stop = end if stop < 0 else stop + 2
        numbers = _rows(packed[begin:stop], row, gap)
        if numbers is None:
            return None
        blocks.append(numbers)
        begin = stop + len(gap)
    return np.concatenate(blocks).reshape(-1, width, 3)


def _rows(packed: bytes, row: bytes, gap: bytes) -> Image | None:
    """The numbers (N,) of some rows, whose form without numbers is `row`; None: another form."""
    rows = packed.count(b"]]")
    if packed.translate(None, b"0123456789") != gap.join([row] * rows):
        return None
    codes = np.frombuffer(packed, np.uint8)
    values = codes - _ZERO  # what is below 0 wraps around
    digit = values < 10
    ends, begins = digit[:-1] & ~digit[1:], digit[1:] & ~digit[:-1]  # begins of the next code
    follows = digit[1:] & digit[:-1]
    after, before = codes[1:], codes[:-1]
    if (
        np.count_nonzero(ends) != rows * (row.count(b"[") - 1) * 3
        or (ends & (after != _CLOSE) & (after != gap[0])).any()
        or (begins & (before != _OPEN) & (before != gap[-1])).any()
        or (begins[:-1] & (after[:-1] == _ZERO) & digit[2:]).any()  # 007
        or (follows[2:] & follows[1:-1] & follows[:-2]).any()  # four digits
    ):
        return None
    values *= digit
    numbers = values[1:].astype(np.uint16)
    numbers += values[:-1] * np.uint8(10)
    numbers[1:] += (values[:-2] * follows[1:]).astype(np.uint16) * 100
    numbers = numbers[np.flatnonzero(ends) - 1]
    return None if numbers.max() > 255 else numbers.astype(np.uint8)


def _read_slowly(text: str) -> list[Image]:
    """The same with a JSON parser, for a small text, to say what is wrong with it."""
    expected = "expected an array [H][W][3] of whole numbers from 0 to 255"
    if len(text) > _SMALL:
        raise RequestError("image", f"{expected} in each, as json.dumps writes it")
    try:
        pictures = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("image", f"no JSON: {error}") from error
    images = []
    for k, picture in enumerate(pictures):
        try:
            array = np.asarray(picture, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(f"image[{k}]", f"{expected}, all rows alike") from error
        if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
            raise RequestError(f"image[{k}]", f"{expected}, got shape {array.shape}")
        if not ((array >= 0) & (array <= 255) & (array == np.rint(array))).all():
            raise RequestError(f"image[{k}]", f"{expected}, got others")
        images.append(array.astype(np.uint8))
    return images


def _object(text: str) -> dict[str, Any]:
    try:
        data = parse_json(text, source="message")
    except UntrustedError as error:
        raise RequestError("message", str(error).removeprefix("message: ")) from error
    if not isinstance(data, dict):
        raise RequestError("message", f"expected an object, got {type(data).__name__}")
    return data
