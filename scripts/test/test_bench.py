"""What the benchmarks compute and compare with; they themselves are run by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from processes import growth_mb

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = [
    os.environ[name]
    for name in ("EVO1_LEROBOT21_PYTHON", "EVO1_LEROBOT30_PYTHON")
    if os.environ.get(name)
]


@given(st.floats(50, 500), st.floats(0, 1), st.integers(10, 1200))
def test_growth_is_the_slope_over_three_fifths_of_the_time_and_spikes_do_not_count(
    start: float, slope: float, count: int
) -> None:
    samples = [start + slope * k for k in range(count)]
    samples[0] = samples[-1] = 10_000.0  # a median of two shows one
    if count < 15:
        samples[0], samples[-1] = start, start + slope * (count - 1)
    assert growth_mb(samples) == pytest.approx(0.6 * slope * count, abs=2 * slope + 1e-6)


@pytest.mark.parametrize("samples", [[100.0], [100.0, 100.0], [100.0] * 9])
def test_growth_of_few_samples_is_none(samples: list[float]) -> None:
    assert growth_mb(samples) == 0.0


@pytest.mark.parametrize("python", PYTHONS or [None])
def test_lerobot_records_what_the_benchmark_measures(tmp_path: Path, python: str | None) -> None:
    if python is None:
        pytest.skip("EVO1_LEROBOT21_PYTHON and EVO1_LEROBOT30_PYTHON name no interpreter")
    from lerobot_clients import run_with_lerobot

    arguments = [str(tmp_path / "dataset"), "--seconds", "1"]
    found = run_with_lerobot(python, "recorder_lerobot.py", arguments, tmp_path / "hf")
    assert 1 <= found["frames"] <= 30
    assert found["lost"] >= 2 * (30 - found["frames"])  # of each camera; or thrown away later
    info = json.loads((tmp_path / "dataset" / "meta" / "info.json").read_text())
    assert info["total_frames"] == found["frames"]


def test_an_option_without_a_benchmark_is_refused() -> None:
    command = [sys.executable, "-m", "bench", "--seconds=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--seconds=3: name the one benchmark that this is for" in done.stderr
