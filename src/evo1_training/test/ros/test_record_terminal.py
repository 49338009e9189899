"""A person at a terminal, and the true recorder."""

import os
import pty
import select
import subprocess
import sys
import time

import pytest
from evo1_msgs.msg import RecorderStatus

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
        self.output = ""

    def type(self, text):
        os.write(self._mine, text.encode())

    def wait(self, text, seconds=30):
        """Read until `text` is on the screen, from now on."""
        end, since = time.monotonic() + seconds, len(self.output)
        while text not in self.output[since:]:
            assert time.monotonic() < end, f"no '{text}' in:\n{self.output[-3000:]}"
            if select.select([self._mine], [], [], 0.1)[0]:
                self.output += os.read(self._mine, 65536).decode(errors="replace")

    def ended(self, seconds=20):
        """Return the exit status; the screen is read so that the program cannot block."""
        end = time.monotonic() + seconds
        while self._process.poll() is None:
            assert time.monotonic() < end, self.output[-3000:]
            if select.select([self._mine], [], [], 0.1)[0]:
                try:
                    self.output += os.read(self._mine, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    return self._process.wait(seconds)
        return self._process.returncode

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._mine)


@pytest.fixture
def terminal(ros_domain):
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_takes_are_recorded_by_single_keys(publish, recorder, terminal, tmp_path):
    publish()
    node = recorder()
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
    node.wait(lambda: node.status.messages > 20, "messages")
    terminal.type("r")
    node.wait(
        lambda: node.status.state == RecorderStatus.RECORDING and node.status.messages < 20,
        "a new take",
    )
    node.wait(lambda: node.status.messages > 40, "messages")
    terminal.type(" ")
    terminal.wait("save: ")
    node.wait(lambda: node.status.episodes_saved == 1, "saved episode")
    terminal.wait("saved 1")
    terminal.type("x")
    terminal.wait("delete last: ")
    terminal.type("q")
    assert terminal.ended() == 0
    assert not list((tmp_path / "episodes").glob("episode_*"))


def test_without_a_recorder_a_key_says_who_is_missing(terminal):
    terminal.wait("no status from the recorder")
    terminal.type("s")
    terminal.wait("nobody offers /recorder/start; is the recorder running?")
    terminal.type("\x03")
    assert terminal.ended() == 0
