"""Publishes a camera that drivers/v4l2.py reads: no driver package of ROS is needed."""

import threading
from array import array
from collections.abc import Callable

import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from evo1_bringup.drivers.v4l2 import (
    JPEG,
    CameraLoop,
    CameraParameters,
    Capture,
    Frame,
    V4l2Capture,
    read_calibration,
    to_picture,
)
from evo1_policy.perception.colour import ENCODINGS, DamagedError
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.parameters import declare_parameters, read_parameters
from evo1_policy.ros.process import full_name, run_node, steady_timer
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.qos import OVERRIDABLE, camera_qos, report_qos
from evo1_policy.ros.status import diagnostic_array, status

_REPORT_S = 1.0


class CameraNode(CleanLog, Node):
    """Node `camera`: image_raw, image_raw/compressed and camera_info in its namespace.

    A JPEG of the camera is published as it is; it is decoded, or pixels are encoded, only for who
    listens to the other topic.

    Args:
        open_capture: opens the camera with these parameters.

    Raises:
        ParameterError: a parameter cannot be used.
        CameraError: the calibration file cannot be used.
    """

    def __init__(self, open_capture: Callable[[CameraParameters], Capture] = V4l2Capture) -> None:
        super().__init__("camera")
        declare_parameters(self, CameraParameters, read_only=True)
        self._wanted = wanted = read_parameters(self, CameraParameters)
        self._calibration = read_calibration(wanted.calibration) if wanted.calibration else {}
        self._raw = self._publisher(Image, "image_raw")
        self._jpeg = self._publisher(CompressedImage, "image_raw/compressed")
        self._info = self._publisher(CameraInfo, "camera_info")
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", report_qos())
        self._damaged = self._reported = 0
        self._size: tuple[int, int] | None = None
        self._loop = CameraLoop(
            wanted.device, lambda: open_capture(wanted), self._publish, self._tell
        )
        steady_timer(self, _REPORT_S, self._report)
        self._thread = threading.Thread(target=self._loop.run, name="camera", daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        """Let the camera go, then the rest."""
        self._loop.end()
        self._thread.join()
        super().destroy_node()

    def _publisher(self, kind: type, topic: str) -> Publisher:
        return self.create_publisher(kind, topic, camera_qos(), qos_overriding_options=OVERRIDABLE)

    def _tell(self, what: str, there: bool) -> None:
        if there:
            self.get_logger().info(what)
        else:
            self.get_logger().error(what)  # a line of its own: rclpy keeps a caller's severity

    def _publish(self, frame: Frame) -> None:
        try:
            if self._raw.get_subscription_count():
                self._raw.publish(self._image(frame))
            if self._jpeg.get_subscription_count():
                self._jpeg.publish(self._compressed(frame))
        except DamagedError:
            self._damaged += 1
            return
        self._info.publish(self._camera_info(frame))

    def _image(self, frame: Frame) -> Image:
        encoding, data = frame.encoding, frame.data
        if encoding == JPEG:
            encoding, data = "rgb8", to_picture(frame)
        message = Image(
            header=self._header(frame), height=frame.height, width=frame.width, encoding=encoding
        )
        if data.ndim == 3:
            message.height, message.width = data.shape[:2]  # what the JPEG says
        message.step = message.width * ENCODINGS[encoding].channels
        message.data = array("B", data.tobytes())
        return message

    def _compressed(self, frame: Frame) -> CompressedImage:
        data = frame.data
        if frame.encoding != JPEG:
            bgr = cv2.cvtColor(to_picture(frame), cv2.COLOR_RGB2BGR)
            data = cv2.imencode(".jpg", bgr)[1]
        message = CompressedImage(header=self._header(frame), format=JPEG)
        message.data = array("B", data.tobytes())
        return message

    def _camera_info(self, frame: Frame) -> CameraInfo:
        known, size = self._calibration, (frame.width, frame.height)
        if known and (known["width"], known["height"]) != size:
            if self._size != size:
                self.get_logger().error(
                    f"{self._wanted.calibration} is of {known['width']}x{known['height']} pixels, "
                    f"the camera gives {size[0]}x{size[1]}: camera_info says uncalibrated"
                )
            known = {}
        self._size = size
        known = {"width": size[0], "height": size[1], **known}
        return CameraInfo(header=self._header(frame), **known)

    def _header(self, frame: Frame) -> Header:
        return Header(frame_id=self._wanted.frame_id, stamp=time_message(frame.stamp_ns))

    def _report(self) -> None:
        loop = self._loop
        if not self._thread.is_alive():
            raise RuntimeError("the reading thread ended; its traceback stands above")
        rate_hz, self._reported = (loop.frames - self._reported) / _REPORT_S, loop.frames
        wanted, level, text = self._wanted, DiagnosticStatus.OK, f"{rate_hz:.0f} Hz"
        if rate_hz < wanted.rate_hz / 2:
            level, text = DiagnosticStatus.WARN, f"{text}, asked for {wanted.rate_hz}"
        if loop.problem:
            level, text = DiagnosticStatus.ERROR, loop.problem
        told = status(
            "frames",
            level,
            text,
            {
                "received": str(loop.frames),
                "empty or cut off": str(loop.spoilt),
                "damaged": str(self._damaged),
            },
        )
        now_ns = self.get_clock().now().nanoseconds
        self._diagnostics.publish(
            diagnostic_array([told], node=full_name(self), hardware=wanted.device, now_ns=now_ns)
        )


def main() -> int:
    """Run the node until it is interrupted; return the exit code."""
    return run_node(CameraNode, name="camera")
