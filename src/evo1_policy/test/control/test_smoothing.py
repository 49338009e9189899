"""Noise goes, motion stays: what smoothing does to a chunk, and to the time that it takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.control.limits import Limits
from evo1_policy.control.policy_loop import LoopSettings
from evo1_policy.control.reference import SMOOTH_SHARE, smooth
from evo1_policy.control.signals import Request

STEP_S = 1 / 30
MOST_RAD = 0.02


def calm_motion(kit, horizon: int = 25) -> np.ndarray:
    return np.array([kit.waves()(k * STEP_S) for k in range(horizon)])


def zigzag(horizon: int, size_rad: float) -> np.ndarray:
    """Of the arm's two joints."""
    return size_rad * np.outer((-1.0) ** np.arange(horizon), [1.0, -1.0, 0.0])


def sharpness(actions: np.ndarray) -> np.ndarray:
    """Largest acceleration of each joint, by its least-squares slopes: those without a kink."""
    horizon, width = actions.shape
    if horizon < 3:
        return np.zeros(width)
    first, last = np.eye(horizon)[:-1], np.eye(horizon)[1:]  # of a segment's two points
    entering, leaving = 6 * (last - first), 6 * (first - last)  # acceleration by positions
    entering_m, leaving_m = -4 * first - 2 * last, 2 * first + 4 * last  # and by slopes
    kinks = np.vstack([entering[:1], leaving[:-1] - entering[1:], leaving[-1:]])
    kinks_m = np.vstack([entering_m[:1], leaving_m[:-1] - entering_m[1:], leaving_m[-1:]])
    slopes = np.linalg.lstsq(kinks_m, -kinks @ actions, rcond=None)[0]
    acceleration = (entering @ actions + entering_m @ slopes) / STEP_S**2
    return np.abs(acceleration).max(axis=0)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    horizon=st.integers(1, 60),
    noise_rad=st.floats(0.0, 0.5),
    most_rad=st.floats(0.0, 0.1),
)
def test_no_action_moves_further_than_allowed_and_only_rough_joints_do(
    kit, seed, horizon, noise_rad, most_rad
):
    rng, limits = np.random.default_rng(seed), Limits.of(kit.robot)
    actions = calm_motion(kit, horizon) + rng.normal(0.0, noise_rad, (horizon, 3))
    before = actions.copy()
    smoothed = smooth(actions, STEP_S, limits, most_rad=most_rad)
    assert np.array_equal(actions, before)
    assert np.abs(smoothed - before).max() <= most_rad
    rough = sharpness(before) > SMOOTH_SHARE * limits.acceleration_max * (1 - 1e-6)
    assert (rough | (smoothed == before).all(axis=0)).all()


def test_a_motion_within_the_limits_is_not_touched(kit):
    actions = calm_motion(kit)
    smoothed = smooth(actions, STEP_S, Limits.of(kit.robot), most_rad=MOST_RAD)
    assert np.array_equal(smoothed, actions)


@pytest.mark.parametrize("size_rad", [0.003, 0.01, 0.015])
def test_noise_goes_and_the_motion_below_it_stays(kit, size_rad):
    limits, calm = Limits.of(kit.robot), calm_motion(kit)
    noisy = calm + zigzag(len(calm), size_rad)
    smoothed = smooth(noisy, STEP_S, limits, most_rad=MOST_RAD)
    assert (sharpness(noisy)[:2] > limits.acceleration_max[:2]).all()
    assert (sharpness(smoothed)[:2] <= limits.acceleration_max[:2]).all()
    assert np.abs(smoothed - calm)[2:-2].max() < 0.4 * size_rad


def test_only_the_joint_that_is_too_rough_is_smoothed(kit):
    calm = calm_motion(kit)
    noisy = calm + zigzag(len(calm), 0.01) * [1.0, 0.0, 0.0]
    smoothed = smooth(noisy, STEP_S, Limits.of(kit.robot), most_rad=MOST_RAD)
    assert np.array_equal(smoothed[:, 1:], noisy[:, 1:])
    assert not np.array_equal(smoothed[:, 0], noisy[:, 0])


def test_a_corner_that_is_meant_is_left_to_the_limits(kit):
    """Smoothing it away would take more than it may; time is slowed for it as before."""
    corner = np.tile(kit.home, (25, 1))
    corner[12:, [0, 2]] += 0.3
    assert np.array_equal(smooth(corner, STEP_S, Limits.of(kit.robot), most_rad=MOST_RAD), corner)


def noisy_policy(kit, size_rad: float):
    """Chunks with an error of each action's own around a calm motion."""
    rng, calm = np.random.default_rng(3), kit.waves()
    return lambda t: calm(t) + rng.normal(0.0, size_rad, 3) * [1.0, 1.0, 0.0]


def seams(kit, smoothing_rad: float):
    cell = kit.moving_cell(
        actions=noisy_policy(kit, 0.004), settings=LoopSettings(smoothing_rad=smoothing_rad)
    )
    cell.run(4.0)
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)
    kit.assert_seamless(cell)
    return [output.seam for output in cell.outputs if output.seam is not None]


def test_a_noisy_policy_keeps_its_pace_and_the_seam_report_says_what_it_took(kit):
    rough, smoothed = seams(kit, 0.0), seams(kit, MOST_RAD)
    assert np.median([seam.stretch for seam in rough]) > 1.4
    assert np.median([seam.stretch for seam in smoothed]) < 1.05
    assert all(seam.smoothed_rad == 0.0 for seam in rough)
    assert all(0.0 < seam.smoothed_rad <= MOST_RAD for seam in smoothed)


def test_noise_around_the_grippers_open_end_is_no_intervention(kit):
    rng, calm = np.random.default_rng(5), kit.waves()
    cell = kit.moving_cell(actions=lambda t: np.array([*calm(t)[:2], rng.normal(0.0, 0.003)]))
    cell.run(4.0)
    found = [output.seam for output in cell.outputs[150:] if output.seam is not None]
    assert len(found) > 3
    assert not any(seam.intervened for seam in found)


def test_smoothing_never_brings_an_arm_out_of_its_limits(kit):
    """Beside a limit a smoothed zigzag may swing further than the proposed one did."""
    limits = Limits.of(kit.robot)
    start = np.array([0.0, 0.995, 0.4])
    cell = kit.cell(
        kit.robot,
        actions=lambda t: start + np.array([0.0, 0.005 * (-1.0) ** round(t * 30), 0.0]),
        start=start,
    )
    cell.run(2.0, Request.START)
    assert cell.sent
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)
        assert (trajectory.positions <= limits.position_max).all()
