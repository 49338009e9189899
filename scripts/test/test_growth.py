"""The soak's verdict: a leak is found, noise and a warm-up are none."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from growth import Sample, plot, table, trend, trends


def run(leak_mb_per_hour: float = 0.0, threads_per_hour: float = 0.0) -> list[Sample]:
    """An hour at 10 s: 100 MB are loaded in the first minutes, then it leaks."""
    noise = np.random.default_rng(0).normal(0, 1, 361)
    return [
        Sample(
            time_s=10.0 * k,
            rss_mb=min(400 + k * 5, 500) + leak_mb_per_hour * k / 360 + noise[k],
            threads=int(20 + threads_per_hour * k / 360),
            fds=23,
            shm=19,
        )
        for k in range(361)
    ]


def test_leak_is_found_and_its_size_told() -> None:
    found = trend(run(leak_mb_per_hour=60), "rss_mb")
    assert found.grows
    assert found.per_hour == pytest.approx(60, abs=3)
    assert trend(run(threads_per_hour=6), "threads").grows


def test_warm_up_and_noise_are_no_growth(tmp_path: Path) -> None:
    runs = {"policy": run()}
    found = trends(runs)
    assert not any(one.grows for one in found["policy"].values())
    assert "policy" in table(found)
    plot(runs, tmp_path / "soak.png", "policy")
    assert (tmp_path / "soak.png").stat().st_size > 1000


def test_too_few_samples_are_told() -> None:
    with pytest.raises(ValueError, match="a line needs 2"):
        trend(run()[:1], "rss_mb")
