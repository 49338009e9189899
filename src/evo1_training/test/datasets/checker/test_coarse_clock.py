import numpy as np

from evo1_training.datasets.checker.timing import TICKS, problems


def codes(intervals_ms):
    ticks = np.cumsum([0, *intervals_ms]).astype(np.int64) * 1_000_000
    return [code for code, _ in problems({TICKS: ticks}, fps=30)]


def test_stamps_on_a_10_ms_grid_are_a_30_hz_camera():
    assert codes([30, 30, 40] * 20) == []


def test_camera_of_another_rate_is_told():
    assert codes([40] * 60) == ["time-rate"]
