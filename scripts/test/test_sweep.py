"""A sample of the sweep: commands on files that nobody should trust (make fuzz runs more)."""

import subprocess
import sys
from pathlib import Path

import pytest

SWEEP = Path(__file__).resolve().parent / "sweep.py"


@pytest.mark.fuzz
def test_commands_on_hostile_files_end_in_a_line_and_change_nothing() -> None:
    words = ["--runs", "60", "--seconds", "60", "--seed", "3", "--limit", "60"]
    done = subprocess.run(
        [sys.executable, SWEEP, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
