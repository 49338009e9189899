"""How well the simulation node keeps up: what a listener on its topics receives.

Starts the node in a process of its own with the shipped FastDDS profile, listens for some
seconds, and prints rates, lost frames, the real-time factor and the node's CPU share.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from evo1_msgs.msg import TaskStatus
from figures import ROBOTS, bench_parser, merge_figures, print_figures
from nodes import Listener, node_command, stay_here
from processes import cpu_seconds, together
from sensor_msgs.msg import Image, JointState

from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_policy.ros.qos import camera_qos, state_qos
from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH


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
    parser = bench_parser(__doc__, quick="5 seconds")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--robot", default="xarm6", choices=("xarm6", "so100"))
    parser.add_argument("--width", type=int, default=IMAGE_WIDTH)
    parser.add_argument("--height", type=int, default=IMAGE_HEIGHT)
    parser.add_argument("--rate", type=float, default=30.0, help="asked of the cameras [Hz]")
    arguments = parser.parse_args()
    stay_here()
    robot_file = ROBOTS / f"{arguments.robot}.yaml"
    simulation = node_command(
        "evo1_sim.ros.sim_node",
        robot_file=robot_file,
        camera_width=arguments.width,
        camera_height=arguments.height,
        camera_rate_hz=arguments.rate,
    )
    with together(simulation) as (process,):
        seconds = 5.0 if arguments.quick else arguments.seconds
        received = _listen(load_robot(robot_file), process, seconds)
    figures = _figures(received, arguments.rate)
    print(
        f"{arguments.robot}, cameras {arguments.width}x{arguments.height}, "
        f"{arguments.rate:g} Hz asked"
    )
    print_figures(figures)
    merge_figures(arguments.json, figures)
    return 0


def _listen(robot: RobotConfig, process: "subprocess.Popen[str]", seconds: float) -> Received:
    received = Received(cameras={camera.name: [] for camera in robot.cameras})

    def on_task(message: TaskStatus) -> None:
        now_s = time.monotonic()
        received.clock.append((now_s, message.elapsed_s))
        received.cpu_s.append((now_s, cpu_seconds(process.pid)))

    def all_came() -> bool:
        if process.poll() is not None:
            raise RuntimeError("the simulation node ended")
        return bool(all(received.cameras.values()) and received.joints and received.clock)

    listener = Listener()
    subscribe = listener.node.create_subscription
    for camera in robot.cameras:
        subscribe(Image, camera.topic, _keep_stamp(received.cameras[camera.name]), camera_qos())
    subscribe(JointState, robot.state.topic, _keep_stamp(received.joints), state_qos())
    subscribe(TaskStatus, "sim_robot/task_status", on_task, state_qos())
    listener.wait(all_came, "message on every topic of the simulation")
    received.clear()
    listener.spin(seconds)
    listener.close()
    return received


def _keep_stamp(stamps: list[int]) -> Callable[[Any], None]:
    def receive(message: Any) -> None:
        stamp = message.header.stamp
        stamps.append(stamp.sec * 1_000_000_000 + stamp.nanosec)

    return receive


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
