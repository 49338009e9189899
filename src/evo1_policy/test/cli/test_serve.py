"""evo1 serve as a process: what it says, whom it refuses, how it ends."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from evo1_policy.checkpoint import shipped_checkpoint
from evo1_policy.cli.serve import main
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_policy.robot_config import load_robot
from evo1_policy.serving.remote import RemotePolicy


def test_the_shipped_policy_is_served_and_ctrl_c_ends_it(robots_dir):
    """And a chunk from there is the chunk from here."""
    robot, folder = load_robot(robots_dir / "xarm6.yaml"), shipped_checkpoint("xarm6")
    words = [str(folder), "--device", "cpu", "--threads", "1", "--protocol", "evo1:0"]
    command = [sys.executable, "-m", "evo1_policy.cli.serve", *words, "--protocol", "authors:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        said = [server.stdout.readline() for _ in range(4)]
        assert "xarm6, 7 numbers and image_1, image_2 in, 7 numbers out" in said[0]
        assert said[2].startswith("authors: ws://127.0.0.1:")
        there = RemotePolicy(said[1].removeprefix("evo1: ").strip(), robot=robot)
        seen = Observation(
            images={camera.name: np.full((48, 64, 3), 90, np.uint8) for camera in robot.cameras},
            state=np.array(robot.home),
            instruction="pick up the can",
            stamp_ns=7,
            received_ns=7,
            skew_ns=0,
        )
        chunk = there.infer(seen)
        there.close()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0
    here = Policy.load(folder, robot=robot, device="cpu").infer(seen)
    np.testing.assert_allclose(chunk.actions, here.actions, atol=2e-5)
    assert chunk.start_ns == here.start_ns


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: others could reach it: give a token"),
        (["--protocol", "grpc"], "--protocol: expected one of authors, evo1, vla-eval"),
        (["--protocol", "evo1:70000"], "--protocol evo1:70000: expected a port"),
        (["--token-file", "/nowhere"], "/nowhere: cannot read the token"),
        (["--interface", "nothing"], "nothing: no such file"),
        (["--cameras", "a,b,c"], "--cameras: expected 2 names, in the order of image_1, image_2"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(words, told, capsys, monkeypatch):
    monkeypatch.delenv("EVO1_TOKEN", raising=False)
    assert main([str(shipped_checkpoint("xarm6")), *words]) == 2
    assert told in capsys.readouterr().err
