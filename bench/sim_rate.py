"""How well the simulation node keeps up: what a listener on its topics receives.

Starts the node in a process of its own with the shipped FastDDS profile, listens for some
seconds, and prints rates, lost frames, the real-time factor and the node's CPU share.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from figures import BRINGUP, ROBOTS, merge_figures

from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH

DISCOVERY_TIMEOUT_S = 30.0


@dataclass(kw_only=True)
class Received:
    """What arrived: stamps per stream [ns], and (real, simulated) seconds of the task status."""

    cameras: dict[str, list[int]]
    joints: list[int] = field(default_factory=list)
    clock: list[tuple[float, float]] = field(default_factory=list)
    cpu_s: list[tuple[float, float]] = field(default_factory=list)

    def clear(self) -> None:
        """Forget everything: the measurement begins now."""
        for stamps in (*self.cameras.values(), self.joints):
            stamps.clear()
        self.clock.clear()
        self.cpu_s.clear()


def main() -> int:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to merge the figures into")
    parser.add_argument("--quick", action="store_true", help="5 seconds")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--robot", default="xarm6", choices=("xarm6", "so100"))
    parser.add_argument("--width", type=int, default=IMAGE_WIDTH)
    parser.add_argument("--height", type=int, default=IMAGE_HEIGHT)
    parser.add_argument("--rate", type=float, default=30.0, help="asked of the cameras [Hz]")
    arguments = parser.parse_args()
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(BRINGUP / "config/fastdds.xml"))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    robot_file = ROBOTS / f"{arguments.robot}.yaml"
    process = _start(robot_file, arguments)
    try:
        received = _listen(robot_file, process, 5.0 if arguments.quick else arguments.seconds)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    figures = _figures(received, arguments.rate)
    print(
        f"{arguments.robot}, cameras {arguments.width}x{arguments.height}, "
        f"{arguments.rate:g} Hz asked"
    )
    for name, value in figures.items():
        print(f"  {name:<28}{value:10.3f}")
    if arguments.json is not None:
        merge_figures(arguments.json, figures)
    return 0


def _start(robot_file: Path, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    parameters = {
        "robot_file": robot_file,
        "camera_width": arguments.width,
        "camera_height": arguments.height,
        "camera_rate_hz": arguments.rate,
    }
    command = [sys.executable, "-m", "evo1_sim.ros.sim_node", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    return subprocess.Popen(command)


def _listen(robot_file: Path, process: subprocess.Popen[bytes], seconds: float) -> Received:
    import rclpy
    from evo1_msgs.msg import TaskStatus
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image, JointState

    from evo1_policy.robot_config import load_robot
    from evo1_policy.ros.qos import camera_qos, state_qos

    robot = load_robot(robot_file)
    received = Received(cameras={camera.name: [] for camera in robot.cameras})

    def on_task(message: TaskStatus) -> None:
        now_s = time.monotonic()
        received.clock.append((now_s, message.elapsed_s))
        received.cpu_s.append((now_s, _cpu_s(process.pid)))

    rclpy.init()
    node = rclpy.create_node("sim_rate")
    for camera in robot.cameras:
        stamps = received.cameras[camera.name]
        node.create_subscription(Image, camera.topic, _keep_stamp(stamps), camera_qos())
    joints = _keep_stamp(received.joints)
    node.create_subscription(JointState, robot.state.topic, joints, state_qos())
    node.create_subscription(TaskStatus, "sim_robot/task_status", on_task, state_qos())
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + DISCOVERY_TIMEOUT_S
    while not (all(received.cameras.values()) and received.joints and received.clock):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit("the simulation node did not publish; its log is above")
        executor.spin_once(timeout_sec=0.1)
    received.clear()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    rclpy.shutdown()
    return received


def _keep_stamp(stamps: list[int]) -> Callable[[Any], None]:
    def receive(message: Any) -> None:
        stamp = message.header.stamp
        stamps.append(stamp.sec * 1_000_000_000 + stamp.nanosec)

    return receive


def _cpu_s(pid: int) -> float:
    """CPU time that a process has used so far [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _figures(received: Received, asked_hz: float) -> dict[str, float]:
    views = list(received.cameras.values())
    rates = [_rate_hz(stamps) for stamps in views]
    period_ns = 1e9 / asked_hz
    skipped = max(
        int((np.round(np.diff(stamps) / period_ns) - 1).clip(min=0).sum()) for stamps in views
    )
    return {
        "sim.camera_hz": min(rates),
        "sim.camera_hz_max": max(rates),
        "sim.camera_gap_ms_max": max(float(np.diff(stamps).max()) for stamps in views) * 1e-6,
        "sim.skipped_frames": skipped,
        "sim.lost_frames": _unpaired(views),
        "sim.joint_states_hz": _rate_hz(received.joints),
        "sim.realtime_factor": _slope(received.clock),
        "sim.cpu_percent": 100 * _slope(received.cpu_s),
    }


def _rate_hz(stamps_ns: list[int]) -> float:
    return (len(stamps_ns) - 1) / ((stamps_ns[-1] - stamps_ns[0]) * 1e-9)


def _slope(samples: list[tuple[float, float]]) -> float:
    (x0, y0), (x1, y1) = samples[0], samples[-1]
    return (y1 - y0) / (x1 - x0)


def _unpaired(views: list[list[int]]) -> int:
    """Frames that one camera delivered and another did not, in the span that all cover."""
    first = max(stamps[0] for stamps in views)
    last = min(stamps[-1] for stamps in views)
    seen = [{stamp for stamp in stamps if first <= stamp <= last} for stamps in views]
    return sum(len(set.union(*seen) - one) for one in seen)


if __name__ == "__main__":
    sys.exit(main())
