"""A person at the keyboard or with a gamepad drives an arm through the true relay."""

import os
import pty
import select
import subprocess
import sys
import threading
import time

import pytest

pytestmark = pytest.mark.ros

TIMEOUT_S = 40.0


class Terminal:
    """The teleop command in a pseudo-terminal, read by a thread."""

    def __init__(self, *arguments):
        self._mine, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "evo1_bringup.ros.teleop_node", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.output = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def type(self, text):
        os.write(self._mine, text.encode())

    def wait(self, condition, what):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f"no {what}:\n{self.output[-2000:]}"
            time.sleep(0.02)

    def hold(self, key, until, what):
        """Repeat a key as a keyboard does, until a condition holds."""

        def repeated():
            self.type(key)
            return until()

        self.wait(repeated, what)

    def ended(self):
        return self._process.wait(TIMEOUT_S)

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._thread.join(TIMEOUT_S)
        os.close(self._mine)

    def _read(self):
        while True:
            if select.select([self._mine], [], [], 0.1)[0]:
                try:
                    self.output += os.read(self._mine, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    return
            elif self._process.poll() is not None:
                return


@pytest.fixture
def teleop():
    """Start the command; ended after the test."""
    running = []

    def start(*arguments):
        running.append(Terminal(*arguments))
        return running[-1]

    yield start
    for terminal in running:
        terminal.close()


def test_a_key_held_down_moves_the_tool_and_letting_go_stops_it(arm, teleop, robot_file):
    pytest.importorskip("mujoco")
    before = dict(arm.positions)
    terminal = teleop("--robot", "xarm6", "--robot-file", str(robot_file))
    terminal.wait(lambda: "relay: waiting" in terminal.output, "relay")
    terminal.hold("a", lambda: arm.positions["joint1"] > before["joint1"] + 0.1, "motion")
    terminal.hold("p", lambda: arm.positions["drive_joint"] > 0.1, "gripper")
    # Still wishes keep coming for a moment, then none, and the relay waits.
    terminal.wait(lambda: arm.says("waiting"), "rest")
    terminal.type("\x03")
    assert terminal.ended() == 0


def test_a_gamepad_moves_joints_while_its_button_is_held(arm, teleop, robot_file):
    from sensor_msgs.msg import Joy

    joy = arm.node.create_publisher(Joy, "joy", 10)
    arguments = ("--robot", "xarm6", "--device", "gamepad", "--space", "joint")
    terminal = teleop(*arguments, "--robot-file", str(robot_file))
    terminal.wait(lambda: "relay: waiting" in terminal.output, "relay")
    before = arm.positions["joint1"]

    def push():
        joy.publish(Joy(axes=[1.0] + [0.0] * 7, buttons=[0, 0, 0, 0, 0, 1, 0, 0]))
        return arm.positions["joint1"] > before + 0.1

    terminal.wait(push, "motion")
    terminal.type("\x03")
    assert terminal.ended() == 0


def test_a_relay_that_was_killed_is_missed_though_its_last_words_are_known(teleop, robot_file):
    import rclpy
    from std_msgs.msg import String

    from evo1_policy.ros.qos import fault_qos

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("relay_to_die", context=context)
    words = node.create_publisher(String, "teleop_relay/status", fault_qos())
    arguments = ("--robot", "xarm6", "--space", "joint", "--robot-file", str(robot_file))
    terminal = teleop(*arguments)

    def speak():
        words.publish(String(data="following"))
        return "relay: following" in terminal.output

    terminal.wait(speak, "relay")
    terminal.wait(
        lambda: "the relay fell silent; its last words: following" in terminal.output, "silence"
    )
    heard = terminal.output.count("relay: following")
    terminal.wait(lambda: speak() and terminal.output.count("relay: following") > heard, "return")
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_leader_needs_its_port_and_its_calibration(teleop, tmp_path):
    terminal = teleop("--robot", "so100", "--device", "leader")
    assert terminal.ended() == 2
    assert "--device leader needs --port and --calibration" in terminal.output
    missing = str(tmp_path / "no.json")
    terminal = teleop(
        "--robot", "so100", "--device", "leader", "--port", "/dev/null", "--calibration", missing
    )
    assert terminal.ended() == 1
    terminal.wait(lambda: "cannot read the calibration" in terminal.output, "reason")
