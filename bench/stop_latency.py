"""From typing `evo1 stop` to the word on the wire and to the policy's STOPPED.

A policy node runs in the ideal robot of camera_source. N times: resume, wait for motion, start
`evo1 stop` as a shell does, and take the times at which `stop` is heard on its topic and STOPPED
in the policy's status. Beside them what `python -c "import rclpy"` alone takes here.
"""

import statistics
import subprocess
import sys
import time
from typing import Any

from evo1_msgs.msg import PolicyStatus
from figures import ROBOTS, bench_parser, merge_figures, print_figures
from nodes import Listener, node_command, source_command
from processes import together
from std_msgs.msg import Bool

from evo1_policy.ros.qos import STOP_TOPIC, stop_qos

ROBOT_FILE = ROBOTS / "xarm6.yaml"


class Person(Listener):
    """Hears `stop` and the policy's status, and asks the policy for what a person would."""

    def __init__(self) -> None:
        super().__init__("policy/clear_stop", "policy/resume")
        self.state, self.heard_s = -1, 0.0
        self.node.create_subscription(PolicyStatus, "policy/status", self._on_status, 10)
        self.node.create_subscription(Bool, STOP_TOPIC, self._on_stop, stop_qos())

    def _on_status(self, message: Any) -> None:
        self.state = message.state

    def _on_stop(self, message: Any) -> None:
        if message.data and not self.heard_s:
            self.heard_s = time.monotonic()


def main() -> int:
    """Measure, print the table and merge the figures."""
    arguments = bench_parser(__doc__, quick="three times").parse_args()
    runs = 3 if arguments.quick else 10
    policy = node_command(
        "evo1_policy.ros.policy_node",
        robot_file=ROBOT_FILE,
        instruction="put the can into the box",
    )
    with together(source_command(ROBOT_FILE), policy):
        person = Person()
        times = [_stop_once(person) for _ in range(runs)]
        person.close()
    imports = [_seconds([sys.executable, "-c", "import rclpy"]) for _ in range(runs)]
    wire, stopped = ([1000 * pair[k] for pair in times] for k in (0, 1))
    figures = {
        "stop.shell_ms_p50": statistics.median(wire),
        "stop.shell_ms_max": max(wire),
        "stop.shell_to_stopped_ms_p50": statistics.median(stopped),
        "stop.import_rclpy_ms_p50": 1000 * statistics.median(imports),
    }
    print_figures(figures, digits=0)
    merge_figures(arguments.json, figures)
    return 0


def _stop_once(person: Person) -> tuple[float, float]:
    """Seconds from starting the command to the topic, and to the policy's status."""
    person.ask("policy/clear_stop")
    person.ask("policy/resume")
    person.wait(lambda: person.state == PolicyStatus.RUNNING, "motion")
    person.heard_s = 0.0
    begun_s = time.monotonic()
    with subprocess.Popen(["sh", "-c", "evo1 stop"], stdout=subprocess.DEVNULL) as command:
        person.wait(lambda: person.heard_s > 0.0, "stop on the topic")
        person.wait(lambda: person.state == PolicyStatus.STOPPED, "STOPPED")
        stopped_s = time.monotonic()
        person.wait(lambda: command.poll() is not None, "end of the command")
    return person.heard_s - begun_s, stopped_s - begun_s


def _seconds(command: list[str]) -> float:
    begun_s = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - begun_s


if __name__ == "__main__":
    sys.exit(main())
