"""Camera messages as they came, decoded when somebody looks. Must not import ROS or torch."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

from evo1_policy.observation import Observation
from evo1_policy.perception.colour import Image
from evo1_policy.perception.messages import MessageError, check_image, decode_image


class DamagedImageError(MessageError):
    """An image that is no picture; says which frame of which camera."""

    def __init__(self, error: MessageError, *, camera: str, stamp_ns: int) -> None:
        super().__init__(str(error))
        self.camera = camera
        self.stamp_ns = stamp_ns


class Frame:
    """One image message, decoded when somebody looks, on their thread.

    Args:
        message: a sensor_msgs Image or CompressedImage, of rclpy or rosbags.
        topic: where it came from, for errors.

    Raises:
        MessageError: it cannot be a picture, which is seen without decoding it.
    """

    def __init__(self, message: Any, *, topic: str) -> None:
        check_image(message, topic=topic)
        self.nbytes = len(message.data)
        self._message = message
        self._topic = topic

    def image(self) -> Image:
        """Decode it: pixels (H, W, 3) uint8 RGB.

        Raises:
            MessageError: the data are damaged.
        """
        return decode_image(self._message, topic=self._topic)


class Images(Mapping[str, Image]):
    """The images of one observation, by camera, each decoded when it is first asked for.

    Args:
        frames: camera name -> its frame, or the pixels of one.
        stamps_ns: camera name -> stamp of that frame [ns].
    """

    def __init__(self, frames: Mapping[str, Frame | Image], stamps_ns: Mapping[str, int]) -> None:
        self._frames = frames
        self._stamps_ns = stamps_ns
        self._images: dict[str, Image] = {}

    def __getitem__(self, camera: str) -> Image:
        """The pixels (H, W, 3) uint8 RGB.

        Raises:
            DamagedImageError: they cannot be decoded.
            KeyError: there is no such camera.
        """
        if camera not in self._images:
            frame = self._frames[camera]
            try:
                self._images[camera] = frame.image() if isinstance(frame, Frame) else frame
            except MessageError as error:
                stamp_ns = self._stamps_ns[camera]
                raise DamagedImageError(error, camera=camera, stamp_ns=stamp_ns) from error
        return self._images[camera]

    def __iter__(self) -> Iterator[str]:
        """Camera names, in the robot file's order."""
        return iter(self._frames)

    def __len__(self) -> int:
        """How many cameras."""
        return len(self._frames)


def decoded(observation: Observation) -> Observation:
    """The same observation with every image decoded, several at a time where there are cores.

    Raises:
        DamagedImageError: one cannot be.
    """
    images = observation.images
    if isinstance(images, Images):
        images = dict(zip(images, _pool().map(images.__getitem__, images), strict=True))
    return replace(observation, images=images)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="decoding")
