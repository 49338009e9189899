"""A robot that publishes small pictures, joint states and teleop targets over real DDS."""

import struct
import threading
import time

import numpy as np
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_policy.ros.qos import camera_qos, command_qos, state_qos

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class RecordedRobot:
    """Publishes at 30 Hz and 100 Hz from a thread of its own until closed."""

    def __init__(self, robot, *, compressed=False, size=(64, 48)):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("recorded_robot", context=self.context)
        self.sent = {}  # topic -> stamps [ns]
        self.silent = set()  # camera names
        self.robot = robot
        self._stop = threading.Event()
        image = CompressedImage if compressed else Image
        self._cameras = {
            camera.name: (
                self.node.create_publisher(image, camera.topic, camera_qos()),
                bytearray(_picture(index, size, compressed)),
            )
            for index, camera in enumerate(robot.cameras)
        }
        self._state = self.node.create_publisher(JointState, robot.state.topic, state_qos())
        self._teleop = self.node.create_publisher(
            JointTrajectory, robot.teleop_topic, command_qos()
        )
        self._description = self.node.create_publisher(String, "robot_description", LATCHED)
        self._description.publish(String(data="<robot/>"))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _run(self):
        start = time.monotonic()
        step = 0
        while not self._stop.wait(max(0.0, start + step / 120 - time.monotonic())):
            now_ns = time.time_ns()
            if step % 4 == 0:
                self._publish_pictures(now_ns)
                self._publish_target(now_ns)
            if step % 1 == 0:
                self._publish_state(now_ns)
            step += 1

    def _publish_pictures(self, now_ns):
        for name, (publisher, data) in self._cameras.items():
            if name in self.silent:
                continue
            struct.pack_into("<iI", data, 4, *divmod(now_ns, 10**9))
            publisher.publish(bytes(data))
            self.sent.setdefault(publisher.topic_name, []).append(now_ns)

    def _publish_state(self, now_ns):
        message = JointState(name=list(self.robot.joint_names))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 10**9)
        message.position = [home + 0.1 * np.sin(now_ns / 1e9) for home in self.robot.home]
        self._state.publish(message)
        self.sent.setdefault(self._state.topic_name, []).append(now_ns)

    def _publish_target(self, now_ns):
        message = JointTrajectory(joint_names=list(self.robot.joint_names))
        message.points = [JointTrajectoryPoint(positions=list(self.robot.home))]
        self._teleop.publish(message)
        self.sent.setdefault(self._teleop.topic_name, []).append(now_ns)


def _picture(index, size, compressed):
    width, height = size
    pixels = np.random.default_rng(index).integers(0, 255, (height, width, 3), np.uint8)
    if compressed:
        import cv2

        data = cv2.imencode(".jpg", pixels)[1].tobytes()
        return serialize_message(CompressedImage(format="jpeg", data=data))
    return serialize_message(
        Image(width=width, height=height, encoding="rgb8", step=3 * width, data=pixels.tobytes())
    )
