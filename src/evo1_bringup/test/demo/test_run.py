"""The demo as a person runs it, short."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from evo1_bringup.demo import main


@pytest.mark.ros
@pytest.mark.gl
@pytest.mark.parametrize("robot", ["xarm6", "so100"])
def test_demo_moves_the_arm_and_writes_its_report(robot, tmp_path):
    command = [sys.executable, "-m", "evo1_bringup.demo", "--robot", robot, "--seconds", "6"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["ok"], summary["reason"]
    assert summary["robot"] == robot
    assert summary["chunks"] > 0
    assert summary["largest_motion_rad"] > 0.02
    assert summary["seam_position_jump_rad_max"] <= 1e-6
    assert set(summary["streams"]) == {"image_1", "image_2", "joint_states"}
    for name in ("video.mp4", "joints.png", "log.txt"):
        assert (tmp_path / name).stat().st_size > 0
    assert "result" in done.stdout


@pytest.mark.ros
def test_demo_without_a_usable_policy_fails_and_says_why(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "evo1_bringup.demo", "--out", str(out)]
    done = subprocess.run(
        [*command, f"checkpoint:={tmp_path}"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ok"] is False
    assert "policy ended with exit code" in summary["reason"]
    assert "cannot configure" in done.stdout  # the process's own words are shown


@pytest.mark.ros
def test_demo_that_is_interrupted_leaves_no_process(tmp_path):
    command = [sys.executable, "-m", "evo1_bringup.demo", "--out", str(tmp_path)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    children: list[psutil.Process] = []
    end = time.monotonic() + 60
    while len(children) < 2:
        assert time.monotonic() < end
        assert demo.poll() is None
        children = psutil.Process(demo.pid).children()
        time.sleep(0.05)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=60) == 130
    assert not any(child.is_running() for child in children)


def test_demo_refuses_a_real_arm(capsys, tmp_path):
    assert main(["robot_ip:=10.0.0.2", f"checkpoint:={tmp_path}"]) == 2
    assert "the demo runs in simulation" in capsys.readouterr().err


def test_options_may_stand_before_and_behind_assignments(capsys):
    assert main(["sped:=1", "--seconds", "3"]) == 2
    assert "sped: no option of xarm6" in capsys.readouterr().err
