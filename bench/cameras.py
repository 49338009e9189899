"""How many cameras the policy node carries: joints heard, age of what a policy sees, memory.

A process publishes JPEG cameras, rendered once, and joint states; the policy node runs with a
policy that only looks at its images. The age is from the newest stamp of an observation until a
policy has every pixel, less the quickest transport of the run.
"""

import argparse
import json
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import ROBOTS, bench_parser, merge_figures
from node_overhead import ChunkListener
from nodes import ros_arguments, source_command, stay_here
from processes import STOP_TIMEOUT_S, cpu_seconds, rss_mb, together

HORIZON = 32
EXECUTE = 8  # actions of a chunk, so that a policy looks about four times a second
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
NO_LOSS = 0.99  # of the joint states, to count as carried


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is published: cameras of a size, their rates [Hz], joint states [Hz]."""

    cameras: int
    size: str
    rates: str
    joints_hz: int

    def __str__(self) -> str:
        return f"{self.cameras} x {self.size} at {self.rates} Hz, joints {self.joints_hz} Hz"


LOADS = (
    Load(cameras=3, size="1080p", rates="30", joints_hz=500),
    Load(cameras=2, size="1080p", rates="30", joints_hz=500),
    Load(cameras=1, size="1080p", rates="30", joints_hz=500),
    Load(cameras=3, size="1080p", rates="30", joints_hz=100),
    Load(cameras=3, size="720p", rates="30", joints_hz=500),
    Load(cameras=2, size="720p", rates="60", joints_hz=500),
    Load(cameras=2, size="720p", rates="15,60", joints_hz=500),
    Load(cameras=2, size="720p", rates="60,15", joints_hz=100),
)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one load."""

    joint_rate_hz: float
    joints_heard: float  # share of those published
    frames_heard: float  # likewise, of the first camera
    age_ms_p50: float
    age_ms_p95: float
    looks: int
    rss_mb: float
    cpu_percent: float  # of one core
    holds: int

    @property
    def carried(self) -> bool:
        """Whether no joint state was lost and images were fresh."""
        return self.joints_heard >= NO_LOSS and self.age_ms_p95 < 60


class LookingPolicy:
    """Stays at home, and notes how old the images were when it had them."""

    horizon = HORIZON
    execute_actions = EXECUTE
    model_hash = "0" * 12
    device = "cpu"

    def __init__(self, robot: Any) -> None:
        self._robot = robot
        self.ages_ms: list[float] = []
        self.transports_ms: list[float] = []

    def warm_up(self, instruction: str = "", *, guided: bool = False) -> None:
        """Nothing to warm."""

    def close(self) -> None:
        """Nothing to let go of."""

    def infer(self, observation: Any, guidance: object = None) -> Any:
        """Look at every pixel and stay where the robot file's home is."""
        from evo1_policy.action_chunk import ActionChunk

        for image in observation.images.values():
            assert image[-1, -1].shape == (3,)
        newest = max(s for name, s in observation.source_stamps_ns.items() if "image" in name)
        self.ages_ms.append((time.time_ns() - newest) / 1e6)
        self.transports_ms.append((observation.received_ns - newest) / 1e6)
        return ActionChunk(
            actions=np.tile(self._robot.home, (HORIZON, 1)),
            start_ns=observation.stamp_ns + self._robot.step_ns,
            step_ns=self._robot.step_ns,
            observation_stamp_ns=observation.stamp_ns,
            instruction=observation.instruction,
        )


def main() -> int:
    """Measure each load, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="the first load, 5 seconds")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each load")
    parser.add_argument("--loads", type=int, default=len(LOADS), help="only the first so many")
    parser.add_argument("--node", type=Path, help=argparse.SUPPRESS)
    arguments, ros = parser.parse_known_args()
    if arguments.node:
        return _run_node(arguments.node, ros)
    if arguments.quick:
        arguments.seconds, arguments.loads = 5.0, 1
    stay_here()
    print(
        f"{'load':<44}{'joints':>10}{'heard':>7}{'frames':>8}{'age p50':>9}{'p95':>8}"
        f"{'RSS':>8}{'CPU':>6}{'looks':>6}{'holds':>6}"
    )
    runs: dict[Load, Figures] = {}
    for load in LOADS[: arguments.loads]:
        run = runs[load] = _measure(load, arguments.seconds)
        print(
            f"{load!s:<44}{run.joint_rate_hz:>7.0f} Hz{run.joints_heard:>6.0%}"
            f"{run.frames_heard:>8.0%}{run.age_ms_p50:>6.0f} ms{run.age_ms_p95:>5.0f} ms"
            f"{run.rss_mb:>5.0f} MB{run.cpu_percent:>4.0f} %{run.looks:>6}{run.holds:>6}",
            flush=True,
        )
    largest = next((load for load, run in runs.items() if run.carried), LOADS[0])
    print(f"largest load without loss: {largest if runs[largest].carried else 'none'}")
    figures = {
        "cameras.joint_rate_hz": runs[largest].joint_rate_hz,
        "cameras.image_age_ms_p95": runs[largest].age_ms_p95,
        "cameras.rss_mb": runs[largest].rss_mb,
    }
    merge_figures(arguments.json, figures)
    return 0


def _measure(load: Load, seconds: float) -> Figures:
    width, height = SIZES[load.size]
    with tempfile.TemporaryDirectory() as folder:
        robot_file, looks_file = Path(folder) / "robot.yaml", Path(folder) / "looks.json"
        robot_file.write_text(_robot_text(load.cameras))
        words = ["--rate", load.rates, "--joints", str(load.joints_hz)]
        words += ["--width", str(width), "--height", str(height)]
        looking = [sys.executable, __file__, "--node", str(looks_file)]
        looking += ros_arguments(robot_file=robot_file, instruction="look", autostart=True)
        with together(source_command(robot_file, *words), looking) as (source, node):
            listener = ChunkListener()
            try:
                listener.wait_for_chunks(camera_source=source, policy_node=node)
                listener.spin(2.0)
                before, cpu_s, begin = listener.status, cpu_seconds(node.pid), time.monotonic()
                listener.spin(seconds)
                after, spent_s = listener.status, time.monotonic() - begin
                cpu_percent = 100 * (cpu_seconds(node.pid) - cpu_s) / spent_s
                memory_mb = rss_mb(node.pid)
                source.send_signal(signal.SIGINT)  # first: what was sent needs time to arrive
                sent = json.loads(source.communicate(timeout=STOP_TIMEOUT_S)[0].splitlines()[-1])
                listener.spin(1.0)
                heard = {stream.name: stream.received for stream in listener.status.streams}
            finally:
                listener.close()
        looks = json.loads(looks_file.read_text())
    joints = [status.streams[-1].received for status in (before, after)]
    stamps = [status.header.stamp for status in (before, after)]
    span_s = stamps[1].sec - stamps[0].sec + (stamps[1].nanosec - stamps[0].nanosec) / 1e9
    ages_ms = np.array(looks["ages_ms"]) - min(looks["transports_ms"])
    return Figures(
        joint_rate_hz=(joints[1] - joints[0]) / span_s,
        joints_heard=heard["joint_states"] / sent["joints"],
        frames_heard=heard["image_1"] / sent["published"],
        age_ms_p50=float(np.percentile(ages_ms, 50)),
        age_ms_p95=float(np.percentile(ages_ms, 95)),
        looks=len(ages_ms),
        rss_mb=memory_mb,
        cpu_percent=cpu_percent,
        holds=after.holds - before.holds,
    )


def _robot_text(cameras: int) -> str:
    """Give xarm6's robot file with so many JPEG cameras."""
    text = (ROBOTS / "xarm6.yaml").read_text()
    entries = "\n".join(
        f"  - {{name: image_{k}, topic: camera_{k}/image_raw/compressed, "
        "type: sensor_msgs/msg/CompressedImage, max_age_ms: 150}"
        for k in range(1, cameras + 1)
    )
    return re.sub(r"(?m)^cameras:.*\n(?:[ #].*\n)+", f"cameras:\n{entries}\n", text)


def _run_node(looks_file: Path, arguments: list[str]) -> int:
    from evo1_policy.ros.policy_node import PolicyNode
    from evo1_policy.ros.process import run_managed

    policies: list[LookingPolicy] = []

    def make(robot: Any, _: object) -> LookingPolicy:
        policies.append(LookingPolicy(robot))
        return policies[-1]

    sys.setswitchinterval(0.0005)  # as the node's own main
    status = run_managed(lambda: PolicyNode(make), arguments)
    looks = {"ages_ms": policies[-1].ages_ms, "transports_ms": policies[-1].transports_ms}
    looks_file.write_text(json.dumps(looks))
    return status


if __name__ == "__main__":
    sys.exit(main())
