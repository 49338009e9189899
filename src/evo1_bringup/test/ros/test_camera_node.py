"""The camera node with a stand-in of the camera: what stands on its topics."""

import threading
import time

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.ros
TIMEOUT_S = 20.0
PHOTO = cv2.imencode(".jpg", np.full((48, 64, 3), (0, 0, 255), np.uint8))[1].reshape(-1)


class Camera:
    """Gives a picture every 20 ms while it is plugged in."""

    def __init__(self):
        self.plugged = threading.Event()
        self.plugged.set()

    def __call__(self, wanted):
        from evo1_bringup.drivers.v4l2 import CameraError

        if not self.plugged.is_set():
            raise CameraError(f"{wanted.device} is not there")
        return self

    def read(self):
        from evo1_bringup.drivers.v4l2 import CameraError, Frame

        time.sleep(0.02)
        if not self.plugged.is_set():
            raise CameraError("unplugged")
        return Frame(data=PHOTO, encoding="jpeg", width=64, height=48, stamp_ns=1_500_000_000)

    def close(self):
        pass


def test_jpeg_passes_unchanged_pixels_are_made_for_listeners_and_a_pulled_camera_comes_back():
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    from evo1_bringup.ros.camera_node import CameraNode
    from evo1_policy.ros.qos import camera_qos

    camera, heard = Camera(), {"jpeg": [], "raw": [], "info": [], "levels": []}
    arguments = ["--ros-args", "-p", "device:=/dev/video0", "-p", "frame_id:=wrist"]
    rclpy.init(args=arguments)
    node = CameraNode(camera)
    kinds = {
        "jpeg": (CompressedImage, "image_raw/compressed"),
        "raw": (Image, "image_raw"),
        "info": (CameraInfo, "camera_info"),
    }
    for name, (kind, topic) in kinds.items():
        node.create_subscription(kind, topic, heard[name].append, camera_qos())
    node.create_subscription(
        DiagnosticArray,
        "/diagnostics",
        lambda message: heard["levels"].append(message.status[0].level),
        10,
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin_until(done):
        end = time.monotonic() + TIMEOUT_S
        while not done() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        assert done()

    try:
        spin_until(lambda: all(heard[name] for name in kinds))
        spin_until(lambda: heard["levels"])
        camera.plugged.clear()
        spin_until(lambda: heard["levels"][-1] == b"\x02")
        camera.plugged.set()
        for name in kinds:
            heard[name].clear()
        spin_until(lambda: heard["levels"][-1] != b"\x02" and heard["jpeg"])
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()
    jpeg, info = heard["jpeg"][0], heard["info"][0]
    assert bytes(jpeg.data) == PHOTO.tobytes()
    assert (jpeg.header.frame_id, jpeg.header.stamp.sec, jpeg.header.stamp.nanosec) == (
        "wrist",
        1,
        500_000_000,
    )
    assert (info.width, info.height, info.k[0]) == (64, 48, 0.0)  # uncalibrated
    raw = heard["raw"][0]
    assert (raw.encoding, raw.step, raw.header.stamp) == ("rgb8", 192, jpeg.header.stamp)
    assert np.frombuffer(raw.data, np.uint8)[:3] == pytest.approx((255, 0, 0), abs=3)
