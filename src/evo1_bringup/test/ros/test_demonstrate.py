"""Simulation, relay, recorder and the scripted demonstrator, as a person starts them."""

import contextlib
import os
import subprocess
import sys

import pytest

from evo1_bringup.options import parse_options
from evo1_bringup.supervisor import Supervisor
from evo1_bringup.system import describe

pytestmark = [pytest.mark.ros, pytest.mark.gl]


def demonstrate(*arguments, timeout_s=150):
    return subprocess.run(
        [sys.executable, "-m", "evo1_sim.ros.demonstrate", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ},
        check=False,
    )


@contextlib.contextmanager
def system(robots_dir, folder, **options):
    """A system with patience for a busy machine; gives its output."""
    file = folder / "patient.yaml"
    text = (robots_dir / "so100.yaml").read_text()
    text = text.replace("max_age_ms: 150", "max_age_ms: 2000")
    file.write_text(text.replace("max_age_ms: 100", "max_age_ms: 1000"))
    given = {
        "robot_file": str(file),
        "teleop": "true",
        "camera_width": "64",
        "camera_height": "48",
        **options,
    }
    lines = []
    described = describe("so100", parse_options("so100", given))
    with Supervisor(described, printer=lambda label, line: lines.append(f"[{label}] {line}")):
        yield lines


def test_a_demonstration_is_shown_recorded_and_saved(robots_dir, tmp_path):
    from evo1_training.recording.episode import episode_folders, read_sidecar

    root = tmp_path / "episodes"
    with system(robots_dir, tmp_path, record="true", record_root=str(root)) as lines:
        result = demonstrate("--robot", "so100", "--seed", "3", "--timeout", "60")
        log = result.stderr + "\n".join(lines)
        assert result.returncode == 0, log
        assert "1 demonstration saved" in result.stdout
        (folder,) = episode_folders(root)
        facts = read_sidecar(folder).facts
        assert "cube" in facts.instruction
        assert any(topic.role == "teleop" for topic in facts.topics)


def test_missing_parts_are_named_with_the_command_that_starts_them(robots_dir, tmp_path):
    alone = demonstrate("--robot", "so100", "--timeout", "2")
    assert alone.returncode == 1
    assert "no simulation is running" in alone.stderr
    assert "evo1 launch so100 teleop:=true" in alone.stderr
    with system(robots_dir, tmp_path) as lines:
        other = demonstrate("--robot", "xarm6", "--timeout", "40")
        assert "the running simulation is of so100" in other.stderr, "\n".join(lines)
        silent = demonstrate("--robot", "so100", "--timeout", "4")
        assert silent.returncode == 1
        assert "no recorder is running" in silent.stderr
        assert "evo1 launch so100 teleop:=true record:=true" in silent.stderr
        assert "Traceback" not in silent.stderr
