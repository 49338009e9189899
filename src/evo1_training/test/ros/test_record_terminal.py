"""A person at a terminal, and the true recorder."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from evo1_msgs.msg import RecorderStatus

from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import read_sidecar
from evo1_training.recording.mcap_records import Wanted

pytestmark = pytest.mark.ros

MODULE = "evo1_training.ros.record_terminal"


class Terminal:
    """The command in a pseudo-terminal."""

    def __init__(self):
        self._mine, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.output, self._seen = "", 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        """Read all the time: a program whose screen nobody reads stops at a full buffer."""
        while True:
            try:
                read = os.read(self._mine, 65536)
            except OSError:  # the other end is closed
                return
            if not read:
                return
            self.output += read.decode(errors="replace")

    def type(self, text):
        os.write(self._mine, text.encode())

    def wait(self, text, seconds=30):
        """Wait until `text` comes on the screen, from the last call on."""
        end = time.monotonic() + seconds
        while (place := self.output.find(text, self._seen)) < 0:
            assert time.monotonic() < end, f"no '{text}' in:\n{self.output[-3000:]}"
            time.sleep(0.02)
        self._seen = place

    def ended(self, seconds=20):
        """Return the exit status."""
        return self._process.wait(seconds)

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        os.close(self._mine)


@pytest.fixture
def terminal(ros_domain):
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def patient_robot(robots_dir, tmp_path):
    """A robot file for which a busy machine is not too slow to record."""
    text = (robots_dir / "so100.yaml").read_text()
    path = tmp_path / "robot.yaml"
    path.write_text(re.sub(r"max_age_ms: \d+", "max_age_ms: 20000", text))
    return path


def recorded(node, messages, *, since=0.0):
    """Wait for a take that has some messages, as told after a moment (time.time())."""

    def told():
        status = node.status
        stamp = status.header.stamp.sec + 1e-9 * status.header.stamp.nanosec
        recording = status.state == RecorderStatus.RECORDING
        return recording and status.messages > messages and stamp > since

    node.wait(told, f"a take with {messages} messages", seconds=40)


def discarded(node, root, count):
    """Wait until so many takes are in the trash; returns when that was seen (time.time())."""
    node.wait(
        lambda: len(list(root.glob(".trash/*/*"))) == count, f"{count} discarded", seconds=40
    )
    return time.time()


def test_takes_are_recorded_by_single_keys(publish, patient_robot, recorder, terminal, tmp_path):
    publish()
    root, node = tmp_path / "episodes", recorder(robot_file=str(patient_robot))
    terminal.wait("IDLE")
    terminal.type("i")
    terminal.wait("instruction: _")
    terminal.type("stack the cubes\n")
    terminal.wait("instruction: stack the cubes")
    terminal.type("s")
    node.wait_for(RecorderStatus.RECORDING)
    terminal.wait("RECORDING")
    terminal.type("q")
    terminal.wait("a take runs")
    recorded(node, 20)
    terminal.type("r")
    recorded(node, 40, since=discarded(node, root, 1))
    terminal.type(" ")
    terminal.wait("save: ")
    node.wait(lambda: node.status.episodes_saved == 1, "saved episode")
    terminal.wait("saved 1")
    terminal.type("x")
    terminal.wait("delete last: ")
    terminal.type("q")
    assert terminal.ended() == 0
    assert not list(root.glob("episode_*"))


@pytest.fixture
def simulation(patient_robot, tmp_path):
    """The simulated SO-100, with few small pictures, in a process of its own."""
    size = {"camera_width": 64, "camera_height": 48, "camera_rate_hz": 10.0}
    command = [sys.executable, "-m", "evo1_sim.ros.sim_node", "--ros-args"]
    for name, value in {"robot_file": patient_robot, **size}.items():
        command += ["-p", f"{name}:={value}"]
    with (tmp_path / "sim.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        yield process
        process.send_signal(signal.SIGINT)
        process.wait(20)


def labels(folders):
    return [read_sidecar(folder).facts.instruction for folder in folders]


@pytest.mark.gl
def test_simulated_takes_are_discarded_rerecorded_and_renamed(
    simulation, patient_robot, recorder, terminal, tmp_path
):
    root, node = tmp_path / "episodes", recorder(robot_file=str(patient_robot))
    terminal.wait("IDLE")
    terminal.type("s")
    recorded(node, 20)
    terminal.type("istack the cubes\n")
    terminal.wait("instruction: replaced 'put the cube into the box', from the next take on")
    terminal.type("d")
    discarded(node, root, 1)
    node.wait_for(RecorderStatus.IDLE)
    terminal.wait("discard: ")
    assert not list(root.glob("episode_*"))
    assert labels(root.glob(".trash/*/*")) == ["put the cube into the box"]

    terminal.type("s")
    recorded(node, 20)
    terminal.type("r")
    recorded(node, 20, since=discarded(node, root, 2))
    terminal.type(" ")
    node.wait(lambda: node.status.episodes_saved == 1, "saved episode")
    terminal.wait("save: ")
    terminal.type("q")
    assert terminal.ended() == 0
    (folder,) = root.glob("episode_*")
    assert labels([folder]) == ["stack the cubes"]
    episode = open_episode(folder)
    wanted = frozenset([*(topic.name for topic in episode.topics("camera")), "/joint_states"])
    assert {message.topic for message in episode.read(Wanted(topics=wanted))} == wanted


def test_without_a_recorder_a_key_says_who_is_missing(terminal):
    terminal.wait("no status from the recorder")
    terminal.type("s")
    terminal.wait("nobody offers /recorder/start; is the recorder running?")
    terminal.type("\x03")
    assert terminal.ended() == 0
