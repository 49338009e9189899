"""The desk's eyes: a camera is heard while somebody looks, and encoded once for all who do."""

import math
import threading
import time
from functools import partial
from typing import Any

import simplejpeg
from sensor_msgs.msg import CompressedImage, Image

from evo1_bringup.desk.robot_side import Picture
from evo1_policy.perception.messages import MessageError, decode_image, deserialize
from evo1_policy.ros.qos import camera_qos

_UNWATCHED_S = 5.0  # after which nobody listens to a camera any more
_JPEG_QUALITY = 85


class Eye:
    """One camera: heard while somebody looks, kept as it came, encoded once."""

    def __init__(self, node: Any, topic: str) -> None:
        self._node, self._topic = node, topic
        self._lock = threading.Lock()
        self._subscription: Any = None
        self._raw: tuple[int, bytes, str] | None = None
        self._made: tuple[int, bytes] | None = None
        self._looked_s = -math.inf

    def look(self) -> Picture | None:
        """The newest picture."""
        self._looked_s = time.monotonic()
        with self._lock:
            if self._raw is None:
                return None
            number, raw, kind = self._raw
            if self._made is None or self._made[0] != number:
                try:
                    self._made = (number, _jpeg(raw, kind, self._topic))
                except MessageError:
                    return None
            made = self._made[1]
        return Picture(number=number, jpeg=made)

    def attend(self, topics: dict[str, list[str]]) -> None:
        """Listen where somebody looks; JPEG as it is published, where it is."""
        watched = time.monotonic() - self._looked_s < _UNWATCHED_S
        if watched and self._subscription is None:
            packed = f"{self._topic}/compressed"
            topic = packed if packed in topics else self._topic
            is_jpeg = any(kind.endswith("CompressedImage") for kind in topics.get(topic, ()))
            kind = CompressedImage if is_jpeg else Image
            take = partial(self._take, f"sensor_msgs/msg/{kind.__name__}")
            self._subscription = self._node.create_subscription(
                kind, topic, take, camera_qos(), raw=True
            )
        elif not watched and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription, self._raw = None, None

    def _take(self, kind: str, raw: bytes) -> None:
        with self._lock:
            number = 0 if self._raw is None else self._raw[0] + 1
            self._raw = (number, raw, kind)


def _jpeg(raw: bytes, kind: str, topic: str) -> bytes:
    message = deserialize(raw, kind, topic=topic)
    if kind.endswith("CompressedImage") and "jpeg" in message.format.lower():
        return bytes(message.data)
    pixels = decode_image(message, topic=topic)
    return bytes(simplejpeg.encode_jpeg(pixels.copy(), quality=_JPEG_QUALITY))
