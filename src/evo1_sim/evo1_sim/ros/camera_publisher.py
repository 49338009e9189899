"""One simulated camera as ROS topics: images, JPEG images and the pinhole calibration."""

import math

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from evo1_policy.robot_config import CameraConfig
from evo1_policy.ros.qos import OVERRIDABLE, camera_qos

_JPEG_FORMAT = "rgb8; jpeg compressed bgr8"  # as image_transport writes it


class CameraPublisher:
    """Publishes the frames of one camera. Used by one thread.

    The robot file's type decides what its topic carries; JPEG is encoded only for listeners.

    Args:
        node: who publishes.
        camera: the robot file's camera.
        width: of every frame [px].
        height: of every frame [px].
        fovy_rad: vertical field of view [rad].
        compressed: whether an image topic gets a `<topic>/compressed` beside it.
        jpeg_quality: 1 to 100.
    """

    def __init__(
        self,
        node: Node,
        camera: CameraConfig,
        *,
        width: int,
        height: int,
        fovy_rad: float,
        compressed: bool,
        jpeg_quality: int,
    ) -> None:
        self.name = camera.name
        self.plugged_in = True  # set by the node; a camera that is pulled publishes nothing
        folder = camera.topic.rpartition("/")[0] or camera.name
        place = node.resolve_topic_name(camera.topic).rpartition("/")[0] or camera.name
        frame_id = f"{place.strip('/').replace('/', '_')}_optical_frame"  # one for each arm
        raw = camera.type == "sensor_msgs/msg/Image"
        self._raw = _publisher(node, Image, camera.topic) if raw else None
        self._jpeg = None
        if compressed or not raw:
            topic = f"{camera.topic}/compressed" if raw else camera.topic
            self._jpeg = _publisher(node, CompressedImage, topic)
        self._info = _publisher(node, CameraInfo, f"{folder}/camera_info")
        self._jpeg_options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
        self._jpeg_message = CompressedImage(format=_JPEG_FORMAT)
        self._info_message = pinhole(width=width, height=height, fovy_rad=fovy_rad)
        self._image_message = Image(
            height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width
        )
        # The message is built once and its pixels are overwritten in place: assigning `data`
        # anew for each frame costs ten times the copy.
        self._image_message.data = bytes(3 * width * height)
        self._pixels = np.frombuffer(self._image_message.data, dtype=np.uint8).reshape(
            height, width, 3
        )
        for message in (self._image_message, self._jpeg_message, self._info_message):
            message.header.frame_id = frame_id

    def publish(self, image: npt.NDArray[np.uint8], stamp_ns: int) -> None:
        """Publish one frame (H, W, 3) uint8 RGB captured at stamp_ns."""
        stamp = Time(nanoseconds=stamp_ns).to_msg()
        if self._raw is not None:
            np.copyto(self._pixels, image)
            self._image_message.header.stamp = stamp
            self._raw.publish(self._image_message)
        if self._jpeg is not None and self._jpeg.get_subscription_count():
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            _, encoded = cv2.imencode(".jpg", bgr, self._jpeg_options)
            self._jpeg_message.data = encoded.tobytes()
            self._jpeg_message.header.stamp = stamp
            self._jpeg.publish(self._jpeg_message)
        self._info_message.header.stamp = stamp
        self._info.publish(self._info_message)


def pinhole(*, width: int, height: int, fovy_rad: float) -> CameraInfo:
    """Return the calibration of an ideal camera with square pixels and no distortion."""
    focal = height / 2 / math.tan(fovy_rad / 2)  # px
    cx, cy = width / 2 - 0.5, height / 2 - 0.5  # pixel centres lie on whole numbers
    return CameraInfo(
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def _publisher(node: Node, message_type: type, topic: str) -> Publisher:
    return node.create_publisher(
        message_type, topic, camera_qos(), qos_overriding_options=OVERRIDABLE
    )
