"""The filter and the brake on their own: limits at every instant, and no deviation without one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.action_chunk import Trajectory
from evo1_policy.control.limits import Limits, brake, follow


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), points=st.integers(1, 120), scale=st.floats(0.01, 30.0))
def test_any_reference_is_followed_within_every_limit(kit, seed, points, scale):
    rng, limits = np.random.default_rng(seed), Limits.of(kit.robot)
    start = rng.uniform(limits.position_min, limits.position_max)
    reference = rng.normal(0.0, scale, (points, 3)), rng.normal(0.0, scale, (points, 3))
    if seed % 2:  # one joint that no limit bends, beside those that one does
        reference[0][:, 1], reference[1][:, 1] = start[1], 0.0
    positions, velocities, _ = follow(start, np.zeros(3), reference, limits)
    path = Trajectory.resting(start, tick=60, step_ns=limits.step_ns)
    path = path.extended(positions, velocities)
    # Braking must be possible from every point of the way, not only from the last.
    cut = int(rng.integers(1, points + 2))
    path = path.knots(60, 60 + cut - 1)
    path = path.extended(*brake(path.positions[-1], path.velocities[-1], limits))
    assert np.all(path.velocities[-1] == 0.0)
    if len(path.positions) == 1:
        return
    _, q, v, a = kit.hermite(path)
    tolerance = 1e-12
    assert np.all(q <= limits.position_max + tolerance)
    assert np.all(q >= limits.position_min - tolerance)
    assert np.all(np.abs(v) <= limits.velocity_max)
    assert np.all(np.abs(a) <= limits.acceleration_max)


@pytest.mark.parametrize("bent", [False, True])
def test_a_joint_inside_its_limits_is_reproduced_whatever_another_one_asks_for(kit, bent):
    limits = Limits.of(kit.robot)
    t = np.arange(1, 90)[:, np.newaxis] * limits.step_s
    size, speed = np.array([0.3, 0.2, 0.2]), np.array([2.0, 3.0, 1.0])
    reference = kit.home + size * (1 - np.cos(speed * t)), size * speed * np.sin(speed * t)
    if bent:
        reference[0][:, 0] += 0.5  # a jump
    positions, velocities, limited = follow(kit.home, np.zeros(3), reference, limits)
    assert (limited > 0) is bent
    assert np.array_equal(positions[:, 1:], reference[0][:, 1:])
    assert np.array_equal(velocities[:, 1:], reference[1][:, 1:])
    assert np.array_equal(positions[:, 0], reference[0][:, 0]) is not bent


def test_all_joints_brake_together_so_the_direction_is_kept(kit):
    limits = Limits.of(kit.robot)
    positions, velocities = brake(kit.home, np.array([1.2, -0.4, 0.2]), limits)
    steps = int(np.ceil(1.2 / 6.0 / limits.step_s))
    assert len(positions) == steps
    assert velocities[:, 1] == pytest.approx(velocities[:, 0] / -3.0)
    moved = positions[-1] - kit.home
    assert moved[1] == pytest.approx(moved[0] / -3.0)


def test_a_joint_near_its_limit_brakes_sooner_than_the_rest(kit):
    limits = Limits.of(kit.robot)
    positions, velocities = brake(np.array([0.0, 0.99, 0.4]), np.array([1.5, 0.2, 0.0]), limits)
    assert positions[:, 1].max() <= 1.0
    assert velocities[5, 1] == 0.0
    assert velocities[5, 0] > 0.0


def test_an_arm_that_stands_still_has_nothing_to_brake(kit):
    positions, _ = brake(kit.home, np.zeros(3), Limits.of(kit.robot))
    assert positions.shape == (0, 3)


def test_a_reference_that_dips_out_of_range_between_its_points_is_bent(kit):
    limits = Limits.of(kit.robot)
    start = np.array([0.0, 0.2, 1.3e-6])
    rising = np.array([2.3e-6, 7.0e-5, 1.3e-4])
    positions = np.column_stack([np.zeros(3), np.full(3, 0.2), rising])
    velocities = np.column_stack([np.zeros(3), np.zeros(3), [2.1e-3, 3.7e-3, 0.0]])
    q, v, _ = follow(start, np.zeros(3), (positions, velocities), limits)
    path = Trajectory.resting(start, tick=0, step_ns=limits.step_ns).extended(q, v)
    _, curve, _, _ = kit.hermite(path)
    assert (curve >= limits.position_min).all()
