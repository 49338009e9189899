"""The commands of docs/first_steps.md, typed as they stand there; only counts are made small."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from evo1_bringup.cli import PROGRAMS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first_steps.md"
SMALL = {
    "rehearse": ["--episodes", "1", "--workers", "1", "--width", "64", "--height", "48"],
    "convert": ["--workers", "1"],
    "train": [
        "steps=1",
        "batch_size=2",
        "warmup_steps=0",
        "watching.open_loop_frames=2",
        "data.workers=0",
        "data.holdout=0",
    ],
    "evaluate": ["--trials", "1", "--workers", "1", "--limit-s", "1"],
}


def test_a_newcomer_types_what_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    blocks = re.findall(r"<!-- walked: \w+ -->\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 7
    for line in lines:
        program, *words = [word.replace("~", str(tmp_path)) for word in shlex.split(line)[1:]]
        package, name = PROGRAMS[program]
        main = importlib.import_module(f"{package}.cli.{name}").main
        assert main([*words, *SMALL.get(program, [])]) == 0, (line, capsys.readouterr())
    assert "0/1" in capsys.readouterr().out
    assert (tmp_path / "evo1_runs/first/stage2/best").is_dir()
