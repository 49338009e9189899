"""How commands end: one line for what a person can mend, a traceback for a bug."""

import io
import os
import subprocess
import sys

import pytest

from evo1_policy.command_line import Parser, Redrawn, entry_point
from evo1_policy.robot_config import RobotConfigError


def ended(capsys, error, **options):
    @entry_point("tool", **options)
    def main():
        raise error

    return main(), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RobotConfigError("robot.yaml: rate_hz: missing"), "tool: robot.yaml: rate_hz: missing\n"),
        (ValueError("expected 6"), "tool: expected 6\n"),
        (ValueError(), "tool: ValueError\n"),
        (OSError(28, "No space left on device", "/data/a"), "tool: /data/a: No space left on "),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "tool: a -> b: Invalid cross"),
        (FileNotFoundError(2, "No such file or directory", "a\nb\x1b[2J"), r"tool: a\nb\x1b[2J: "),
        (FileNotFoundError(2, "No such file or directory", os.fsdecode(b"\xff")), r"tool: \udcff"),
        (ValueError("two lines\n[INFO] forged"), "tool: two lines\n  [INFO] forged\n"),
        (RuntimeError("Could not determine home directory."), "tool: this user has no home"),
        (RuntimeError("Symlink loop from '/a'"), "tool: Symlink loop from '/a'"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "no"), r"tool: a\udcff: a name that can"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "tool: 'utf-8' codec can't decode"),
    ],
)
def test_what_a_person_can_mend_is_one_line_and_a_status(capsys, error, told):
    status, said = ended(capsys, error)
    assert status == 1
    assert said.startswith(told)
    assert "Traceback" not in said
    assert said.isprintable() or said.count("\n") == told.count("\n") or told[-1] != "\n"


@pytest.mark.parametrize("error", [KeyError("joint"), RuntimeError("odd"), AssertionError()])
def test_a_bug_keeps_its_traceback(capsys, error):
    with pytest.raises(type(error)):
        ended(capsys, error)


def test_interruption_and_another_status_are_told(capsys):
    assert ended(capsys, KeyboardInterrupt()) == (130, "tool: interrupted\n")
    assert ended(capsys, ValueError("no"), failed=2) == (2, "tool: no\n")


def test_where_an_error_came_from_is_shown_on_request(capsys, monkeypatch):
    monkeypatch.setenv("EVO1_TRACEBACK", "1")
    status, said = ended(capsys, ValueError("no"))
    assert status == 1
    assert said.startswith("Traceback")
    assert said.endswith("tool: no\n")


def test_a_terminal_that_knows_only_ascii_is_no_reason_to_fail(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)

    @entry_point("tool")
    def main():
        sys.stdout.write("✓ Müller\n")
        return 0

    assert main() == 0
    assert screen.buffer.getvalue() == rb"\u2713 M\xfcller" + b"\n"


PROGRAM = """
import sys
from evo1_policy.command_line import Parser, entry_point

@entry_point("tool")
def main():
    {what}
    return 0

sys.exit(main())
"""


def run(what, shell, tmp_path, **options):
    (tmp_path / "tool.py").write_text(PROGRAM.format(what=what))
    path = os.pathsep.join(sys.path)
    line = shell.format(tool=f"'{sys.executable}' '{tmp_path / 'tool.py'}'")
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
        **options,
    )


@pytest.mark.parametrize(
    ("what", "shell", "status", "said"),
    [
        ("print('x' * 10**6)", "{tool} | head -c 1; exit ${{PIPESTATUS[0]}}", 141, ""),
        ("print('x')", "{tool} >&-", 0, ""),
        ("sys.stdout.write('x')", "{tool} >&- <&-", 0, ""),
        ("print('x')", "{tool} > /dev/full", 1, "tool: [Errno 28] No space left on device\n"),
        ("raise ValueError('x')", "{tool} 2>/dev/full", 1, ""),
    ],
)
def test_output_that_nobody_takes_ends_without_a_traceback(tmp_path, what, shell, status, said):
    done = run(what, shell, tmp_path)
    assert (done.returncode, done.stderr) == (status, said)


def test_a_file_is_never_opened_in_place_of_a_closed_output(tmp_path):
    what = "import os; f = open('data', 'w'); print('x', flush=True); os.write(1, b'x'); f.close()"
    assert run(what, "{tool} <&- >&- 2>&-", tmp_path, cwd=tmp_path).returncode == 0
    assert (tmp_path / "data").read_text() == ""


def test_a_removed_current_folder_is_named(tmp_path):
    what = "import pathlib; pathlib.Path.cwd()"
    shell = f"mkdir '{tmp_path}/gone' && cd '{tmp_path}/gone' && rmdir ../gone && {{tool}}"
    done = run(what, shell, tmp_path)
    assert done.returncode == 1
    assert "the folder in which this shell stands was removed" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("pick --trails 3", "unrecognized arguments: --trails 3; did you mean '--trials'?"),
        ("pick --trails=3", "unrecognized arguments: --trails=3; did you mean '--trials'?"),
        ("plcae", "; did you mean 'place'?"),
        ("pick --xyz", "unrecognized arguments: --xyz\n"),
    ],
)
def test_what_was_mistyped_is_guessed(capsys, typed, told):
    parser = Parser("evo1 tool")
    parser.add_argument("what", choices=["pick", "place"])
    parser.add_argument("--trials", type=int)
    with pytest.raises(SystemExit):
        parser.parse_args(typed.split())
    assert told in capsys.readouterr().err.replace(
        "choose from pick, place", "choose from 'pick', 'place'"
    )


def test_what_goes_on_is_drawn_over_itself_on_a_terminal_and_told_slowly_elsewhere(capsys):
    def say(*lines):
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    screen = Redrawn(say, terminal=True)
    screen.show(["RUNNING", "wide " * 100])
    screen.show(["HOLDING", "now", "one row more"])
    screen.show(["IDLE"])
    drawn = capsys.readouterr().out.split("\x1b[J")
    assert [part.splitlines()[-1] for part in drawn[:2]] == ["\x1b[2F", "\x1b[3F"]
    assert drawn[2] == "IDLE\n"
    assert len(drawn[0].splitlines()[1]) == 79  # a wrapped line were two rows
    lines = Redrawn(say, terminal=False)
    for k in range(5):
        lines.show([f"chunks {k}", "more"])
    assert capsys.readouterr().out == "chunks 0\nmore\n"
