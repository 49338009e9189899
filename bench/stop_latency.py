"""From typing `evo1 stop` to the word on the wire and to the policy's STOPPED.

A policy node runs in the ideal robot of camera_source. N times: resume, wait for motion, start
`evo1 stop` as a shell does, and take the times at which `stop` is heard on its topic and STOPPED
in the policy's status. Beside them what `python -c "import rclpy"` alone takes here.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from evo1_msgs.msg import PolicyStatus
from figures import ROBOTS, ROOT, merge_figures
from processes import running
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from evo1_policy.ros.qos import STOP_TOPIC, stop_qos

ROBOT_FILE = ROBOTS / "xarm6.yaml"
TIMEOUT_S = 60.0


class Listener:
    """Hears `stop` and the policy's status, and asks the policy for what a person would."""

    def __init__(self) -> None:
        rclpy.init(args=[])
        self.node = Node("stop_latency")
        self.state, self.heard_s = -1, 0.0
        self.node.create_subscription(PolicyStatus, "policy/status", self._on_status, 10)
        self.node.create_subscription(Bool, STOP_TOPIC, self._on_stop, stop_qos())
        self._clients = {
            name: self.node.create_client(Trigger, f"policy/{name}")
            for name in ("clear_stop", "resume")
        }

    def call(self, name: str) -> None:
        """Ask the policy."""
        self.wait(self._clients[name].service_is_ready, name)
        future = self._clients[name].call_async(Trigger.Request())
        self.wait(future.done, name)

    def wait(self, done: Callable[[], bool], what: str) -> float:
        """Serve the node until it is done; returns the time then [s].

        Raises:
            SystemExit: it never was.
        """
        end_s = time.monotonic() + TIMEOUT_S
        while not done():
            if time.monotonic() > end_s:
                raise SystemExit(f"no {what} within {TIMEOUT_S:g} s")
            rclpy.spin_once(self.node, timeout_sec=0.01)
        return time.monotonic()

    def _on_status(self, message: Any) -> None:
        self.state = message.state

    def _on_stop(self, message: Any) -> None:
        if message.data and not self.heard_s:
            self.heard_s = time.monotonic()


def main() -> int:
    """Measure, print the table and merge the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "bench.json")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    runs = 3 if arguments.quick else 10
    source = [sys.executable, str(ROOT / "bench" / "camera_source.py"), "--robot-file"]
    policy = [sys.executable, "-m", "evo1_policy.ros.policy_node", "--ros-args"]
    policy += ["-p", f"robot_file:={ROBOT_FILE}", "-p", "instruction:=put the can into the box"]
    with tempfile.TemporaryFile("w+") as log, contextlib.ExitStack() as processes:
        for command in ([*source, str(ROBOT_FILE)], policy):
            processes.enter_context(running(command, log))
        listener = Listener()
        times = [_stop_once(listener) for _ in range(runs)]
        listener.node.destroy_node()
        rclpy.shutdown()
    imports = [_seconds([sys.executable, "-c", "import rclpy"]) for _ in range(runs)]
    wire, stopped = ([1000 * pair[k] for pair in times] for k in (0, 1))
    figures = {
        "stop.shell_ms_p50": statistics.median(wire),
        "stop.shell_ms_max": max(wire),
        "stop.shell_to_stopped_ms_p50": statistics.median(stopped),
        "stop.import_rclpy_ms_p50": 1000 * statistics.median(imports),
    }
    for name, value in figures.items():
        print(f"{name:<32}{value:8.0f}")
    merge_figures(arguments.json, figures)
    return 0


def _stop_once(listener: Listener) -> tuple[float, float]:
    """Seconds from starting the command to the topic, and to the policy's status."""
    listener.call("clear_stop")
    listener.call("resume")
    listener.wait(lambda: listener.state == PolicyStatus.RUNNING, "motion")
    listener.heard_s = 0.0
    begun_s = time.monotonic()
    with subprocess.Popen(["sh", "-c", "evo1 stop"], stdout=subprocess.DEVNULL) as command:
        wire_s = listener.wait(lambda: listener.heard_s > 0.0, "stop on the topic")
        stopped_s = listener.wait(lambda: listener.state == PolicyStatus.STOPPED, "STOPPED")
        listener.wait(lambda: command.poll() is not None, "end of the command")
    return min(wire_s, listener.heard_s) - begun_s, stopped_s - begun_s


def _seconds(command: list[str]) -> float:
    begun_s = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - begun_s


if __name__ == "__main__":
    sys.exit(main())
