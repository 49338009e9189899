"""Delays, jumps and repetitions, as numbers in and numbers out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_training.datasets.checker.motion import (
    jumps,
    lag_steps,
    longest_run,
    moved_share,
    moving,
    repeated_share,
    usual_step,
)
from evo1_training.datasets.checker.pictures import PictureWatch


def curve(count, shift=0.0):
    seconds = (np.arange(count) + shift) / 30
    return np.sin(2 * seconds) + 0.3 * np.sin(5.3 * seconds)


@given(lag=st.floats(-8, 15), noise=st.integers(0, 2**31))
def test_delay_is_found_to_a_fraction_of_a_step(lag, noise):
    jitter = np.random.default_rng(noise).normal(0, 1e-4, 150)
    assert lag_steps(curve(150) + jitter, curve(150, lag), max_steps=20) == pytest.approx(
        lag, abs=0.5
    )


def test_delay_of_a_still_joint_cannot_be_told():
    assert np.isnan(lag_steps(np.zeros(100), curve(100), max_steps=20))


def test_delay_of_few_frames_cannot_be_told():
    assert np.isnan(lag_steps(curve(20), curve(20), max_steps=20))


@given(st.lists(st.booleans(), max_size=30))
def test_longest_run_is_wanted_throughout_and_none_is_longer(wanted):
    run = longest_run(np.array(wanted, np.bool_))
    assert all(wanted[run])
    runs = "".join("x" if one else " " for one in wanted).split()
    assert run.stop - run.start == max(map(len, runs), default=0)


def test_smooth_motion_has_no_jumps():
    smooth = np.stack([curve(200), curve(200, 30)], -1)
    assert not jumps(smooth, usual_step(smooth)).any()


def test_jump_is_found_at_its_step():
    values = np.stack([curve(200), curve(200)], -1)
    values[100:, 1] += 3
    found = jumps(values, usual_step(values))
    assert np.argwhere(found).tolist() == [[99, 1]]


def test_joint_that_hardly_moves_does_not_count_as_motion():
    values = np.stack([np.zeros(100), 1e-9 * curve(100)], -1)
    assert not moving(values).any()


def test_state_held_for_two_rows_repeats_half():
    rows = np.arange(200)
    held = curve(200)[rows - rows % 2, np.newaxis]
    assert repeated_share(held, curve(200)[:, np.newaxis]) == pytest.approx(0.5, abs=0.05)


def test_share_of_the_range_that_was_covered():
    ramp = np.linspace(0, 1, 101)[:, np.newaxis]
    assert moved_share(ramp, 20, 45) == pytest.approx(0.25)


def test_runs_of_one_picture_are_found():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(2))
    watch = PictureWatch()
    for row, image in enumerate([a, b, b, b, a, a]):
        watch.add(row, image)
    assert watch.runs == [(1, 3), (4, 5)]
    assert not watch.black
