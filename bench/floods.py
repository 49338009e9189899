"""What floods, oversized messages and liars do to policy, recorder and driver.

Starts the SO-100's driver on an emulated bus with policy and recorder, and beside it, for
`--seconds` each, a process that publishes what nobody should; then the recorder, and in a system
with a demonstrator the relay, are killed outright in motion. Tells when and why the policy held,
how long a stop took meanwhile, how the nodes' status kept coming, what memory and processor they
took, and whether the arm rested and went on afterwards.

    make bench BENCH_ARGS=floods
"""

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import rclpy
from evo1_msgs.msg import PolicyStatus, RecorderStatus
from figures import ROBOTS, bench_parser, merge_figures
from nodes import Listener
from processes import cpu_seconds, rss_mb
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from evo1_bringup.options import parse_options
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import describe
from evo1_policy.robot_config import load_robot
from evo1_policy.ros.listening import ControllerState
from evo1_policy.ros.qos import STOP_TOPIC, camera_qos, command_qos, state_qos, stop_qos

ROBOT = load_robot(ROBOTS / "so100.yaml")
NAMES = list(ROBOT.joint_names)
READY_S = 240.0
MOST_JOINTS = 3_000_000
WATCHED = ("policy", "recorder", "so100_driver")

Flood = tuple[str, str, type, Any, Any, float]  # node, topic, type, quality, message, rate [Hz]


def floods() -> dict[str, list[Flood]]:
    """What is published, by name."""
    home = [ROBOT.home[k] for k in range(len(NAMES))]
    command, state = ROBOT.command[0].topic, ROBOT.command[0].state_topic
    point = JointTrajectoryPoint(positions=home, velocities=[0.0] * len(home))
    far = JointTrajectoryPoint(positions=[p + 1.0 for p in home], velocities=[0.0] * len(home))
    joints = JointState(name=NAMES, position=home)
    many = JointState(name=["j"] * MOST_JOINTS, position=array("d", bytes(8 * MOST_JOINTS)))
    long = JointTrajectory(joint_names=NAMES, points=[point] * 100_000)
    wish = JointTrajectory(joint_names=NAMES, points=[point])
    image = Image(height=6000, width=6000, encoding="rgb8", step=18000, data=bytes(108_000_000))
    words = String(data="x" * 10_000_000)
    camera, lie = ROBOT.cameras[0].topic, ControllerState(joint_names=NAMES, reference=far)
    return {
        "10 kHz joint states": [
            ("flood", ROBOT.state.topic, JointState, state_qos(), joints, 10_000.0)
        ],
        "1,000 stops a second": [("flood", STOP_TOPIC, Bool, stop_qos(), Bool(data=True), 1000.0)],
        "10 kHz commands": [
            ("flood", command, JointTrajectory, command_qos(), wish, 10_000.0),
        ],
        "oversized": [
            ("flood", ROBOT.state.topic, JointState, state_qos(), many, 3.0),
            ("flood", command, JointTrajectory, command_qos(), long, 3.0),
            ("flood", "policy/instruction", String, 10, words, 3.0),
            ("flood", camera, Image, camera_qos(), image, 3.0),
        ],
        "a controller that lies by the true one's name": [
            ("so100_driver", state, ControllerState, state_qos(), lie, 100.0)
        ],
    }


def flood(name: str, seconds: float) -> None:
    """Publish; prints what was sent."""
    rclpy.init(args=[])
    nodes: dict[str, Node] = {}
    due: list[list[Any]] = []
    for who, topic, kind, quality, message, rate in floods()[name]:
        node = nodes.setdefault(who, Node(who))
        publisher = node.create_publisher(kind, topic, quality)
        due.append([0.0, 1.0 / rate, publisher, serialize_message(message), 0, topic])
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        for one in due:
            if now >= one[0]:
                one[0] += one[1]
                one[2].publish(one[3])
                one[4] += 1
        time.sleep(max(0.0, min(one[0] for one in due) - (time.monotonic() - begun)))
    sent = ", ".join(f"{one[4]} of {len(one[3]):,} bytes on {one[5]}" for one in due)
    print(f"sent in {time.monotonic() - begun:.1f} s: {sent}", flush=True)
    rclpy.shutdown()


class Witness(Listener):
    """Hears what everybody says, and asks the policy for what a person would."""

    def __init__(self) -> None:
        super().__init__("policy/clear_stop", "policy/resume", "policy/stop")
        self.policy, self.recorder, self.relay = PolicyStatus(), "", ""
        self.positions: dict[str, float] = {}
        self.heard: dict[str, float] = {}
        self.gaps: dict[str, float] = {}
        listen = self.node.create_subscription
        listen(PolicyStatus, "policy/status", self._on_policy, 10)
        listen(RecorderStatus, "recorder/status", self._on_recorder, 10)
        listen(String, "teleop_relay/status", self._on_relay, 10)
        listen(JointState, ROBOT.state.topic, self._on_joints, state_qos())

    def said(self) -> str:
        """State and reason of the policy."""
        return f"{self.policy.state} {self.policy.reason_code}: {self.policy.reason}"

    def tell(self, name: str) -> None:
        """Ask the policy, whatever it answers."""
        with suppress(RuntimeError):
            self.ask(f"policy/{name}")

    def seconds_until(
        self, done: Callable[[], bool], what: str, seconds: float = READY_S
    ) -> float:
        """How long it takes until it is done, or infinity, with a word of it."""
        try:
            return self.wait(done, what, seconds)
        except RuntimeError as error:
            print(f"    {error}")
            return math.inf

    def drive(self) -> None:
        """Have the relay move the arm: wishes that swing a joint, for as long as this lives."""
        wishes = self.node.create_publisher(JointTrajectory, ROBOT.teleop_topic, command_qos())
        home = [ROBOT.home[k] for k in range(len(NAMES))]

        def wish() -> None:
            swing = 0.3 * math.sin(time.monotonic())
            point = JointTrajectoryPoint(positions=[home[0] + swing, *home[1:]])
            wishes.publish(JointTrajectory(joint_names=NAMES, points=[point]))

        self.seconds_until(lambda: self.relay.startswith("waiting"), "relay")
        self.node.create_timer(0.02, wish)
        self.seconds_until(lambda: self.relay.startswith("following"), "relay that follows")
        self.spin(3.0)

    def moved(self) -> float:
        """How far any joint went within half a second [rad]."""
        before = dict(self.positions)
        self.spin(0.5)
        return max((abs(self.positions[k] - v) for k, v in before.items()), default=math.inf)

    def run(self) -> None:
        """Have the policy move the arm."""
        for _ in range(20):
            self.tell("clear_stop")
            self.tell("resume")
            if self.seconds_until(lambda: self.policy.state == 1, "motion", 10.0) < math.inf:
                return

    def _came(self, who: str) -> None:
        now = time.monotonic()
        self.gaps[who] = max(self.gaps.get(who, 0.0), now - self.heard.get(who, now))
        self.heard[who] = now

    def _on_policy(self, message: Any) -> None:
        self._came("policy")
        self.policy = message

    def _on_recorder(self, message: Any) -> None:
        self._came("recorder")
        self.recorder = " | ".join(stream.problem for stream in message.streams if stream.problem)

    def _on_relay(self, message: Any) -> None:
        self._came("relay")
        self.relay = message.data

    def _on_joints(self, message: Any) -> None:
        if len(message.name) == len(NAMES):
            self.positions = dict(zip(message.name, message.position, strict=True))


@contextmanager
def system(**options: str) -> Iterator[Supervisor]:
    """The SO-100 on its emulated bus."""
    given = {"port": "emulated", **options}
    with Supervisor(
        describe("so100", parse_options("so100", given)), printer=_say, grace_s=3.0
    ) as running:
        yield running


def _say(label: str, line: str) -> None:
    if "Traceback" in line or "ERROR" in line or label == "evo1":
        print(f"    {label}: {line[:200]}", flush=True)


def under(name: str, witness: Witness, running: Supervisor, seconds: float) -> dict[str, float]:
    """What one flood does."""
    witness.run()
    pids = running.pids()
    before = {who: (rss_mb(pids[who]), cpu_seconds(pids[who])) for who in WATCHED}
    witness.gaps.clear()
    words = [sys.executable, __file__, "--flood", name, "--seconds", str(seconds)]
    peak = dict.fromkeys(WATCHED, 0.0)
    with subprocess.Popen(words, text=True, stdout=subprocess.PIPE) as publishing:
        held_s = witness.seconds_until(lambda: witness.policy.state != 1, "hold", seconds)
        print(
            f"  {name}: held {held_s:.1f} s after the start of the flood's process: "
            f"{witness.said()[:300]}"
        )
        begun = time.monotonic()
        witness.tell("stop")
        witness.seconds_until(lambda: witness.policy.state == 4, "stop")
        stop_s = time.monotonic() - begun
        while publishing.poll() is None:
            witness.spin(0.2)
            peak = {who: max(peak[who], rss_mb(pids[who]) - before[who][0]) for who in WATCHED}
        print(f"    {publishing.communicate()[0].strip()}")
    used = {who: cpu_seconds(pids[who]) - before[who][1] for who in WATCHED}
    gaps = ", ".join(f"{who} {gap:.2f} s" for who, gap in witness.gaps.items())
    print(f"    stop took {stop_s:.2f} s; longest silence: {gaps}")
    print(
        "    " + ", ".join(f"{who} +{peak[who]:.0f} MB, {used[who]:.1f} s CPU" for who in WATCHED)
    )
    print(f"    recorder says: {witness.recorder[:200]}")
    witness.spin(1.0)
    moved = witness.moved()
    witness.run()
    again = witness.policy.state == 1
    ended = running.exited()
    print(
        f"    at rest afterwards: {moved:.3f} rad in 0.5 s; runs again: {again}; ended: {ended}",
        flush=True,
    )
    key = name.split(" ")[-1] if "lies" not in name else "lie"
    return {f"floods.{key}.stop_s": stop_s, f"floods.{key}.mb": max(peak.values())}


def killed(witness: Witness, running: Supervisor, label: str) -> float:
    """Kill one in motion; the seconds until anybody names it."""
    os.kill(running.pids()[label], signal.SIGKILL)
    begun = time.monotonic()
    told: dict[str, float] = {}
    while time.monotonic() - begun < 5.0:
        witness.spin(0.02)
        if running.exited() or any(one.label == label for one in running._ended()):
            told.setdefault("evo1 launch", time.monotonic() - begun)
        for who, words in (("policy", witness.said()), ("recorder", witness.recorder)):
            if label in words:
                told.setdefault(who, time.monotonic() - begun)
    print(f"  {label} killed: named by {told}; moved {witness.moved():.3f} rad in 0.5 s 5 s later")
    return min(told.values(), default=math.inf)


def main() -> int:
    """Run every flood, then kill; print and merge the figures."""
    parser = bench_parser(__doc__, quick="4 seconds each")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", default="", help="words of names, by commas; 'killed' too")
    parser.add_argument("--flood", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.flood:
        flood(given.flood, given.seconds)
        return 0

    def chosen(name: str) -> bool:
        return any(word in name for word in given.only.split(","))

    seconds = 4.0 if given.quick else given.seconds
    figures: dict[str, float] = {}
    witness = Witness()
    with (
        tempfile.TemporaryDirectory() as root,
        system(record="true", record_root=root, autostart="true") as running,
    ):
        witness.seconds_until(lambda: witness.policy.state == 1, "motion")
        for name in floods():
            if chosen(name):
                figures |= under(name, witness, running, seconds)
        if chosen("killed"):
            figures["floods.killed_recorder_s"] = killed(witness, running, "recorder")
    if chosen("killed"):
        with system(teleop="true") as running:
            witness.drive()
            figures["floods.killed_relay_s"] = killed(witness, running, "teleop_relay")
    merge_figures(given.json, figures)
    witness.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
