"""msgpack with arrays in it, as openpi and vla-eval write them, bounded. No ROS, no torch."""

import re
from typing import Any

import msgpack
import numpy as np

from evo1_policy.perception.colour import DamagedError, decompress_rgb
from evo1_policy.serving.sessions import RequestError

_MOST_ITEMS = 1024  # of one list or mapping
_MOST_PARTS = 2000  # lists and mappings: an empty one takes a byte on the wire and 64 in memory
_KINDS = re.compile(r"[<>|=]?[biuf](1|2|4|8)")
_MOST_PICTURES = 8  # compressed ones: a few bytes may be 100 MB of one colour
_ARRAY, _SCALAR, _IMAGE = "__ndarray__", "__npgeneric__", "__image__"


def pack(value: Any, *, byte_keys: bool = True) -> bytes:
    """Plain data and arrays as msgpack.

    Args:
        value: arrays in it become mappings with their bytes, type and shape.
        byte_keys: whether their keys are bytes, as openpi has them, or text, as vla-eval.
    """

    def encode(item: Any) -> Any:
        if isinstance(item, np.generic):
            return item.item()
        if not isinstance(item, np.ndarray):
            raise TypeError(f"{type(item).__name__} cannot be sent")
        data = {_ARRAY: True, "data": item.tobytes(), "dtype": item.dtype.str}
        parts = {**data, "shape": list(item.shape)}
        return {k.encode(): v for k, v in parts.items()} if byte_keys else parts

    packed: bytes = msgpack.packb(value, default=encode)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """What pack gives, and what either of the two others sends: a mapping by words.

    Raises:
        RequestError: no msgpack, no mapping, an array that contradicts itself, or too many parts.
    """
    parts = pictures = 0

    def count(item: Any) -> Any:
        nonlocal parts, pictures
        parts += 1
        pictures += isinstance(item, dict) and _IMAGE in item
        if parts > _MOST_PARTS or pictures > _MOST_PICTURES:
            most = f"{_MOST_PARTS} lists and mappings, or {_MOST_PICTURES} pictures"
            raise RequestError("message", f"more than {most}")
        return item

    try:
        value = msgpack.unpackb(
            data,
            object_hook=lambda item: _decode(count(item)),
            list_hook=count,
            max_array_len=_MOST_ITEMS,
            max_map_len=_MOST_ITEMS,
            max_ext_len=0,
        )
    except RequestError:
        raise
    except Exception as error:  # whatever the library raises for bytes that it cannot read
        reason = str(error) or type(error).__name__
        raise RequestError("message", f"no usable msgpack: {reason}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise RequestError("message", "expected a mapping with words as keys")
    return value


def _decode(item: dict[Any, Any]) -> Any:
    named = {k.decode(errors="replace") if isinstance(k, bytes) else k: v for k, v in item.items()}
    if _IMAGE in named and named.get("format") != "raw":
        return decode_picture(named.get("data"), "image")
    if _ARRAY in named or _IMAGE in named:
        return _array(named)
    if _SCALAR in named:
        value = named.get("data")
        if type(value) not in (bool, int, float):
            raise RequestError("message", "a scalar that is no number")
        return value
    return item


def _array(named: dict[str, Any]) -> Any:
    data, kind, shape = (named.get(key) for key in ("data", "dtype", "shape"))
    if isinstance(kind, bytes):
        kind = kind.decode(errors="replace")
    if not isinstance(kind, str) or _KINDS.fullmatch(kind) is None:
        raise RequestError("message", f"an array of type {kind!r:.40}; expected numbers")
    if not isinstance(data, bytes) or not isinstance(shape, list):
        raise RequestError("message", "an array without bytes or shape")
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise RequestError("message", f"an array of type {kind!r:.40}") from error
    count = dtype.itemsize
    for size in shape[:8]:
        if type(size) is not int or size < 0:
            raise RequestError("message", f"an array of shape {shape!r:.80}")
        count *= size
    if len(shape) > 8 or count != len(data):
        raise RequestError(
            "message", f"an array of shape {shape!r:.80} {kind} with {len(data):,} bytes"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def decode_picture(data: object, key: str) -> Any:
    """A JPEG or PNG as (H, W, 3) uint8 RGB.

    Raises:
        RequestError: it is none, or damaged.
    """
    if not isinstance(data, bytes) or not data:
        raise RequestError(key, f"expected a JPEG or PNG, got {type(data).__name__}")
    try:
        return decompress_rgb(np.frombuffer(data, np.uint8))
    except DamagedError as error:
        raise RequestError(key, str(error)) from error
