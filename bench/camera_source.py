"""An ideal robot for measuring the policy node alone: cameras, and joints that obey at once.

The images are serialised once and only their stamps change, so this process costs as little as a
camera driver written in C++; cameras of one rate carry the same stamp, taken when they are
published. The cameras begin a second after each has a listener. On SIGINT or SIGTERM it prints how
many frames the first camera published, and how many joint states, as one line of JSON.
"""

import argparse
import json
import signal
import struct
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image, JointState
from trajectory_msgs.msg import JointTrajectory

from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import CommandConfig, RobotConfig, load_robot
from evo1_policy.ros.qos import camera_qos, command_qos, state_qos
from evo1_sim.pacing import Pacer
from evo1_sim.ros.trajectory_messages import read_points
from evo1_sim.trajectory import TrajectoryError, TrajectoryFollower

MAX_LAG_NS = 100_000_000
DISCOVERY_S = 1.0
STAMP_OFFSET = 4  # bytes before the header's stamp in a serialised message


class CameraSource(Node):
    """Publishes cameras and joint states of a robot file; follows its command outputs.

    Args:
        robot: the robot file.
        size: (width, height) of the images [px].
        rates_hz: rate of each camera; the last one is that of those beyond [Hz].
        joints_hz: rate of the joint states [Hz].
        stop: ends all loops.
    """

    def __init__(
        self,
        robot: RobotConfig,
        *,
        size: tuple[int, int],
        rates_hz: Sequence[float],
        joints_hz: float,
        stop: threading.Event,
    ) -> None:
        super().__init__("camera_source")
        self.published = self.joints_published = 0
        self.rates_hz = [rates_hz[min(k, len(rates_hz) - 1)] for k in range(len(robot.cameras))]
        self._joints_hz = joints_hz
        self._stop = stop
        self._lock = threading.Lock()
        self._cameras: list[tuple[Publisher, bytearray]] = []
        for k, camera in enumerate(robot.cameras):
            compressed = camera.type == "sensor_msgs/msg/CompressedImage"
            image = _compressed(k, size) if compressed else _image(k, size)
            publisher = self.create_publisher(type(image), camera.topic, camera_qos())
            self._cameras.append((publisher, bytearray(serialize_message(image))))
        self._joints = self.create_publisher(JointState, robot.state.topic, state_qos())
        self._names = robot.joint_names
        home = dict(zip(robot.joint_names, robot.home, strict=True))
        self._followers = []
        for command in robot.command:
            start = [home[name] for name in command.joints]
            follower = TrajectoryFollower(command.joints, start=start)
            self._followers.append(follower)
            self._follow(command, follower)

    def run_cameras(self, rate_hz: float) -> None:
        """Publish the cameras of a rate evenly until stopped."""
        while any(not publisher.get_subscription_count() for publisher, _ in self._cameras):
            if self._stop.wait(0.01):
                return
        if self._stop.wait(DISCOVERY_S):  # matched here; the other side may still be about to
            return
        ours = [
            one for one, rate in zip(self._cameras, self.rates_hz, strict=True) if rate == rate_hz
        ]
        pacer = self._pacer(round(1e9 / rate_hz))
        while self._wait(pacer):
            sec, nanosec = divmod(time.time_ns(), 1_000_000_000)
            for publisher, image in ours:
                struct.pack_into("<iI", image, STAMP_OFFSET, sec, nanosec)
                publisher.publish(bytes(image))
            self.published += rate_hz == self.rates_hz[0]

    def run_joints(self) -> None:
        """Publish joint states, exactly as commanded, until stopped."""
        message = JointState(name=list(self._names))
        pacer = self._pacer(round(1e9 / self._joints_hz))
        while self._wait(pacer):
            now_ns = time.time_ns()
            position: dict[str, float] = {}
            velocity: dict[str, float] = {}
            with self._lock:
                for follower in self._followers:
                    state = follower.sample_state(now_ns)
                    position.update(zip(follower.joint_names, state.positions, strict=True))
                    velocity.update(zip(follower.joint_names, state.velocities, strict=True))
            message.header.stamp = Time(nanoseconds=now_ns).to_msg()
            message.position = array("d", (position[name] for name in self._names))
            message.velocity = array("d", (velocity[name] for name in self._names))
            self._joints.publish(message)
            self.joints_published += 1

    def _follow(self, command: CommandConfig, follower: TrajectoryFollower) -> None:
        def receive(message: JointTrajectory) -> None:
            points, start_ns = read_points(message), stamp_ns(message.header.stamp)
            try:
                with self._lock:
                    follower.accept(
                        points, message.joint_names, stamp_ns=start_ns, now_ns=time.time_ns()
                    )
            except TrajectoryError as error:
                self.get_logger().error(f"{command.topic}: trajectory refused: {error}")

        self.create_subscription(JointTrajectory, command.topic, receive, command_qos())

    def _pacer(self, period_ns: int) -> Pacer:
        return Pacer(period_ns=period_ns, max_lag_ns=MAX_LAG_NS, now_ns=time.time_ns())

    def _wait(self, pacer: Pacer) -> bool:
        """Wait for the next tick; return False when stopped."""
        while wait_ns := pacer.wait_ns(time.time_ns()):
            if self._stop.wait(wait_ns * 1e-9):
                return False
        pacer.tick()
        return not self._stop.is_set()


def _pixels(seed: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    width, height = size
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)[:height, :width]


def _compressed(seed: int, size: tuple[int, int]) -> CompressedImage:
    import cv2

    noise = np.random.default_rng(seed).normal(0, 3, (size[1], size[0], 3))  # as a sensor has it
    pixels = cv2.GaussianBlur(_pixels(seed, size), (0, 0), 3) + noise
    quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
    data = cv2.imencode(".jpg", pixels.clip(0, 255).astype(np.uint8), quality)[1]
    return CompressedImage(format="rgb8; jpeg compressed bgr8", data=data.tobytes())


def _image(seed: int, size: tuple[int, int]) -> Image:
    width, height = size
    pixels = _pixels(seed, size)
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    image.data = pixels.tobytes()
    return image


def main() -> int:
    """Publish until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot-file", type=Path, required=True)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rate", default="30", help="of the cameras, by commas [Hz]")
    parser.add_argument("--joints", type=float, default=100.0, help="rate of joint states [Hz]")
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = CameraSource(
        load_robot(arguments.robot_file),
        size=(arguments.width, arguments.height),
        rates_hz=[float(rate) for rate in arguments.rate.split(",")],
        joints_hz=arguments.joints,
        stop=stop,
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    rates = sorted(set(node.rates_hz))
    with ThreadPoolExecutor(max_workers=1 + len(rates)) as pool:
        loops = [pool.submit(node.run_cameras, rate) for rate in rates]
        loops.append(pool.submit(node.run_joints))
        for loop in loops:
            loop.add_done_callback(lambda _: stop.set())
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
    for loop in loops:
        loop.result()
    print(json.dumps({"published": node.published, "joints": node.joints_published}), flush=True)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
