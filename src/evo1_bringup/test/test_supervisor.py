"""Real child processes: started, watched, and always taken down."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from evo1_bringup.ending import DRIVERS, MOVERS, orderly
from evo1_bringup.installation import NotInstalledError
from evo1_bringup.processes import Exit, Process, Programs
from evo1_bringup.supervisor import Supervisor, command_line

_SLEEPER = "trap 'echo stopped; exit 0' INT; echo up; while :; do sleep 0.05; done"
_FOREVER = "while :; do sleep 0.05; done"
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


def system_of(*processes: Process, real_arm: bool = False) -> Programs:
    return Programs(
        processes=processes,
        environment={"EVO1_TEST_NEW": "system", "EVO1_TEST_SET": "system"},
        real_arm=real_arm,
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
    done = program(prefix, "spawner", "echo done", role="finishes")
    lines = Lines()
    with Supervisor(system_of(done), printer=lines) as supervisor:
        lines.wait_for("spawner", "done")
        supervisor.wait(lambda: supervisor._children[0][1].poll() is not None)
        assert supervisor.exited() is None


def ends_after(prefix: Path, name: str, seconds: float, **fields: object) -> Process:
    """A program that takes its time to end, and says when it did."""
    script = (
        f"trap 'sleep {seconds}; echo ended; exit 0' INT; echo up; while :; do sleep 0.05; done"
    )
    return program(prefix, name, script, **fields)


def arm(prefix: Path, parking_s: float = 0.6) -> tuple[Process, ...]:
    return (
        ends_after(prefix, "driver", 0.0, role="driver"),
        ends_after(prefix, "camera", 0.0),
        ends_after(prefix, "policy", parking_s, role="mover"),
        ends_after(prefix, "recorder", 0.3, role="optional"),
    )


def started(lines: Lines, processes: tuple[Process, ...]) -> None:
    for process in processes:
        lines.wait_for(process.label, "up")


def test_the_policy_ends_first_and_the_driver_last(prefix):
    lines = Lines()
    processes = arm(prefix)
    with Supervisor(system_of(*processes), printer=lines) as supervisor:
        started(lines, processes)
    assert [ended.code for ended in supervisor.stop()] == [0, 0, 0, 0]
    ended = [label for label, line in lines.all if line == "ended"]
    assert ended[0] == "policy"
    assert ended[-1] == "driver"
    assert len(ended) == 4


def test_a_second_ctrl_c_waits_for_nobody(prefix):
    lines = Lines()
    processes = arm(prefix, parking_s=600.0)
    supervisor = Supervisor(system_of(*processes), printer=lines, grace_s=2.0)
    with supervisor:
        started(lines, processes)
        threading.Timer(1.5, supervisor.hurry).start()
        began = time.monotonic()
    assert time.monotonic() - began < 20.0  # not the half minute that the policy has to park
    assert ("driver", "ended") in lines.all


def test_what_the_arm_does_not_need_ends_alone_and_a_line_says_so(prefix):
    lines = Lines()
    recorder = program(prefix, "recorder", "exit 3", role="optional")
    policy = program(prefix, "policy", _SLEEPER, role="mover")
    with Supervisor(system_of(policy, recorder), printer=lines) as supervisor:
        assert supervisor.wait(lambda: len(lines.all) > 1) is None
        lines.wait_for("policy", "up")
    told = [line for label, line in lines.all if label == "evo1"]
    assert len(told) == 1
    assert "recorder ended with exit code 3. The arm does not need it" in told[0]


@pytest.mark.parametrize(
    ("role", "words"),
    [("mover", "HELD: its driver goes on"), ("needed", "HELD"), ("driver", "NOTHING DRIVES THE")],
)
def test_a_real_arm_is_held_until_a_person_ends_it(prefix, role, words):
    lines = Lines()
    dies = program(prefix, "dies", "exit 7", role=role)
    driver = program(prefix, "driver", _SLEEPER, role="driver")
    system = system_of(dies, driver, real_arm=True)

    def told() -> list[str]:
        return [line for label, line in lines.all if label == "evo1"]

    with Supervisor(system, printer=lines) as supervisor:
        lines.wait_for("driver", "up")
        ended = supervisor.wait(lambda: bool(told()))
        assert Path(f"/proc/{supervisor.pids()['driver']}").exists()
    assert ended == Exit(label="dies", code=7, role=role)
    assert words in told()[0]
    assert "Ctrl-C" in told()[0]


def test_a_killed_starter_leaves_the_order_as_it_is(prefix, tmp_path):
    record = tmp_path / "ended"
    said = f"echo $0 | sed 's,.*/,,' >> {record}"
    for name, seconds in (("policy", 0.6), ("driver", 0.0)):
        script = f"trap 'sleep {seconds}; {said}; exit 0' INT; while :; do sleep 0.05; done"
        program(prefix, name, f"{said}; {script}")
    code = (
        "import time\n"
        "from evo1_bringup.supervisor import Supervisor\n"
        "from evo1_bringup.processes import Process, Programs\n"
        "processes = (Process(package='fake', executable='policy', role='mover'),\n"
        "             Process(package='fake', executable='driver', role='driver'))\n"
        "with Supervisor(Programs(processes=processes), printer=print):\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ.copy())
    _wait_for_lines(record, 2)
    time.sleep(0.3)  # the traps stand
    parent.kill()
    parent.wait()
    assert _wait_for_lines(record, 4)[2:] == ["policy", "driver"]


def _wait_for_lines(file: Path, count: int) -> list[str]:
    end = time.monotonic() + 20
    while not (file.exists() and len(file.read_text().split()) >= count):
        assert time.monotonic() < end, file.read_text() if file.exists() else "nothing was written"
        time.sleep(0.02)
    return file.read_text().split()


def test_ctrl_c_of_a_terminal_reaches_each_program_once_and_in_order(prefix, tmp_path):
    record = tmp_path / "ended"
    programs = []
    for name, rank, seconds in (("driver", DRIVERS, 0.0), ("policy", MOVERS, 0.6)):
        said = f"echo {name} >> {record}"
        script = (
            f"trap 'sleep {seconds}; {said}; exit 0' INT; {said}; while :; do sleep 0.05; done"
        )
        command = [*orderly(tmp_path, rank), "bash", "-c", script]
        group = programs[0].pid if programs else 0
        programs.append(subprocess.Popen(command, process_group=group))
    _wait_for_lines(record, 2)
    os.killpg(programs[0].pid, signal.SIGINT)  # as a terminal does
    assert _wait_for_lines(record, 4)[2:] == ["policy", "driver"]
    assert [one.wait(timeout=20) for one in programs] == [0, 0]


def test_a_program_that_a_signal_ends_is_reported_with_it(prefix):
    dies = program(prefix, "dies", "kill -SEGV $$", role="needed")
    with Supervisor(system_of(dies), printer=Lines()) as supervisor:
        ended = supervisor.wait(lambda: False)
    assert ended == Exit(label="dies", code=-signal.SIGSEGV)


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
        grace_s=0.3,  # the first may be so young that it does not yet hear an interrupt
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
        "from evo1_bringup.supervisor import Supervisor\n"
        "from evo1_bringup.processes import Process, Programs\n"
        "one = Process(package='fake', executable='one')\n"
        "with Supervisor(Programs(processes=(one,)), printer=print):\n"
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
