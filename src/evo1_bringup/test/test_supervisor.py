"""Real child processes: started, watched, and always taken down."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evo1_bringup.installation import NotInstalledError
from evo1_bringup.options import parse_options
from evo1_bringup.supervisor import Exit, Supervisor, command_line
from evo1_bringup.system import Process, System, describe

_SLEEPER = "trap 'echo stopped; exit 0' INT; echo up; while :; do sleep 0.05; done"
_STUBBORN = "trap '' INT; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return tmp_path


def program(prefix: Path, name: str, script: str, **fields: object) -> Process:
    file = prefix / "lib" / "fake" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/bash\n{script}\n")
    file.chmod(0o755)
    return Process(package="fake", executable=name, **fields)


def system_of(*processes: Process) -> System:
    simulated = describe("xarm6", parse_options("xarm6", {}))
    return System(
        robot=simulated.robot,
        robot_path=simulated.robot_path,
        simulated=True,
        processes=processes,
        environment={"EVO1_TEST_NEW": "system", "EVO1_TEST_SET": "system"},
    )


class Lines:
    """Collects output; waits for a line."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def __call__(self, label: str, line: str) -> None:
        self.all.append((label, line))

    def wait_for(self, label: str, line: str) -> None:
        end = time.monotonic() + 10
        while (label, line) not in self.all:
            assert time.monotonic() < end, f"never heard {label}: {line}; heard {self.all}"
            time.sleep(0.01)


def test_sigint_is_sent_once_and_every_child_ends(prefix):
    lines = Lines()
    system = system_of(program(prefix, "one", _SLEEPER), program(prefix, "two", _SLEEPER))
    with Supervisor(system, printer=lines) as supervisor:
        lines.wait_for("one", "up")
        lines.wait_for("two", "up")
        assert supervisor.exited() is None
        pids = supervisor.pids().values()
    assert lines.all.count(("one", "stopped")) == 1
    assert lines.all.count(("two", "stopped")) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_child_that_ignores_sigint_is_ended_all_the_same(prefix):
    lines = Lines()
    supervisor = Supervisor(
        system_of(program(prefix, "deaf", _STUBBORN)), printer=lines, grace_s=0.3
    )
    with supervisor:
        lines.wait_for("deaf", "up")
    assert supervisor.stop() == [Exit(label="deaf", code=-signal.SIGTERM)]


def test_child_that_dies_is_named(prefix):
    system = system_of(program(prefix, "good", _SLEEPER), program(prefix, "bad", "exit 7"))
    with Supervisor(system, printer=Lines()) as supervisor:
        ended = supervisor.wait(lambda: False)
    assert ended == Exit(label="bad", code=7)
    assert ended.message == "bad ended with exit code 7"


def test_child_that_finishes_its_work_ends_nothing(prefix):
    done = program(prefix, "spawner", "echo done", finishes=True)
    lines = Lines()
    with Supervisor(system_of(done), printer=lines) as supervisor:
        lines.wait_for("spawner", "done")
        supervisor.wait(lambda: supervisor._children[0][1].poll() is not None)
        assert supervisor.exited() is None


def test_shell_wins_over_the_systems_environment(prefix, monkeypatch):
    monkeypatch.setenv("EVO1_TEST_SET", "shell")
    monkeypatch.delenv("EVO1_TEST_NEW", raising=False)
    lines = Lines()
    script = 'echo "$EVO1_TEST_NEW $EVO1_TEST_SET"; exec sleep 60'
    with Supervisor(system_of(program(prefix, "show", script)), printer=lines):
        lines.wait_for("show", "system shell")


def test_start_that_fails_takes_down_what_was_started(prefix):
    supervisor = Supervisor(
        system_of(program(prefix, "one", _SLEEPER), Process(package="fake", executable="missing")),
        printer=Lines(),
    )
    with pytest.raises(NotInstalledError, match="missing"), supervisor:
        pytest.fail("must not get here")
    assert [ended.label for ended in supervisor.stop()] == ["one"]


def test_command_line_names_node_namespace_and_topics():
    process = Process(
        package="p",
        executable="e",
        name="n",
        namespace="left/arm",
        parameters={"a": 1},
        parameter_files=("/f.yaml",),
        remappings=(("x", "y/z"),),
        arguments=("go",),
    )
    assert command_line(process, Path("/bin/e"), Path("/p.yaml")) == [
        *["/bin/e", "go", "--ros-args", "-r", "__node:=n", "-r", "__ns:=/left/arm"],
        *["-r", "x:=y/z", "--params-file", "/f.yaml", "--params-file", "/p.yaml"],
    ]


def test_children_end_when_the_parent_is_killed(prefix, tmp_path):
    program(prefix, "one", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    code = (
        "import time\n"
        "from evo1_bringup.options import parse_options\n"
        "from evo1_bringup.supervisor import Supervisor\n"
        "from evo1_bringup.system import Process, describe\n"
        "from dataclasses import replace\n"
        "system = describe('xarm6', parse_options('xarm6', {}))\n"
        "system = replace(system, processes=(Process(package='fake', executable='one'),))\n"
        "with Supervisor(system, printer=print):\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ.copy())
    file = tmp_path / "pid"
    end = time.monotonic() + 20
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    pid = int(file.read_text())
    parent.kill()
    parent.wait()
    while _alive(pid):
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
