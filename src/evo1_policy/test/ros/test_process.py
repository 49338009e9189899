"""The node as a process: how it starts, refuses to start, and ends."""

import os
import signal
import subprocess
import sys

import pytest
from command_checks import wait_at_rest
from std_msgs.msg import String

pytestmark = pytest.mark.ros

START_TIMEOUT_S = 60.0
IDLE, RUNNING = 0, 1


@pytest.fixture
def start_process(tmp_path):
    """Start policy nodes as processes; killed after the test where they still run."""
    processes = []

    def start(**parameters):
        command = [sys.executable, "-m", "evo1_policy.ros.policy_node", "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


def finished(process, timeout_s=START_TIMEOUT_S):
    output, _ = process.communicate(timeout=timeout_s)
    return process.returncode, output


def test_shipped_policy_moves_the_arm_and_sigint_ends_it_at_rest(cell, start_process, robots_dir):
    process = start_process(
        robot_file=robots_dir / "xarm6.yaml",
        instruction="put the can into the box",
        autostart="true",
        threads=1,
    )
    cell.wait(lambda: len(cell.chunks) >= 3, "three chunks", START_TIMEOUT_S)
    process.send_signal(signal.SIGINT)
    code, output = finished(process)
    assert code == 0, output
    assert "Traceback" not in output
    wait_at_rest(cell)


def test_sigint_while_nothing_runs_exits_cleanly(start_process, robots_dir):
    process = start_process(robot_file=robots_dir / "xarm6.yaml", auto_activate="false")
    assert "waiting for a lifecycle manager" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    code, output = finished(process)
    assert code == 0, output
    assert "Traceback" not in output


def test_checkpoint_of_another_robot_is_refused_by_key(start_process, robots_dir):
    from evo1_policy.checkpoint import shipped_checkpoint

    process = start_process(
        robot_file=robots_dir / "so100.yaml", checkpoint=shipped_checkpoint("xarm6")
    )
    code, output = finished(process)
    assert code == 1, output
    assert "cannot configure" in output
    assert "embodiment" in output
    assert "xarm6" in output
    assert "so100" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rate_hz: 30", "rate_hertz: 30", "rate_hz"),
        ("velocity: 1.5, ", "", "joints[0].velocity"),
        ("position: [-2.0, 2.05]", "position: [2.05, -2.0]", "joints[1].position"),
    ],
)
def test_bad_robot_file_is_refused_by_key(start_process, robots_dir, tmp_path, old, new, words):
    text = (robots_dir / "xarm6.yaml").read_text()
    assert old in text
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace(old, new, 1))
    code, output = finished(start_process(robot_file=path))
    assert code == 1, output
    assert str(path) in output
    assert words in output
    assert "Traceback" not in output


def test_missing_robot_file_parameter_is_named(start_process):
    code, output = finished(start_process(instruction="pour"))
    assert code == 1, output
    assert "robot_file" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "given", [{"smoothing_rad": 9.0}, {"seed": -1}, {"dry_run": "yes please"}]
)
def test_a_parameter_of_no_use_is_named_in_one_line(start_process, robots_dir, given):
    code, output = finished(start_process(robot_file=robots_dir / "xarm6.yaml", **given))
    assert code == 1, output
    assert next(iter(given)) in output
    assert "Traceback" not in output


DIES = """
from rclpy.node import Node
from std_msgs.msg import String
from evo1_policy.ros.log import CleanLog
from evo1_policy.ros.process import run_node
from evo1_policy.ros.qos import fault_qos

class Dies(CleanLog, Node):
    def __init__(self):
        super().__init__("dies")
        self.status = self.create_publisher(String, "~/status", fault_qos())
        self.create_subscription(String, "instruction", self.fail, 10)

    def fail(self, message):
        raise OSError("the bus is gone")

    def tell_end(self, why):
        self.status.publish(String(data=why))

run_node(Dies, name="dies")
"""


def test_a_node_that_fails_says_why_on_its_own_topic_before_it_is_gone(cell):
    heard = []
    cell.node.create_subscription(String, "dies/status", lambda m: heard.append(m.data), 10)
    command = [sys.executable, "-c", DIES]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        cell.wait(
            lambda: process.poll() is not None or cell.say("fail"), "its end", START_TIMEOUT_S
        )
        code, output = finished(process)
    finally:
        process.kill()
    assert code != 0
    assert "dies ends: OSError: the bus is gone" in output
    cell.wait(lambda: heard == ["dies ends: OSError: the bus is gone"], "its last words")
