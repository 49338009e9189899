"""Chunks on the clock, and trajectories that are cut, joined and sampled."""

import numpy as np
import pytest

from evo1_policy.action_chunk import ActionChunk, Trajectory, interpolate

MS = 1_000_000


def ramp():
    """One joint, 10 ms steps from tick 100: 0, 1, 2, 3 rad at 100 rad/s, then at rest."""
    return Trajectory(
        first_tick=100,
        step_ns=10 * MS,
        positions=np.array([[0.0], [1.0], [2.0], [3.0]]),
        velocities=np.array([[100.0], [100.0], [100.0], [0.0]]),
    )


def test_actions_are_due_by_the_clock():
    chunk = ActionChunk(
        actions=np.zeros((3, 2)),
        start_ns=500,
        step_ns=10,
        observation_stamp_ns=490,
        instruction="",
    )
    assert chunk.horizon == 3
    assert chunk.times_ns().tolist() == [500, 510, 520]
    assert chunk.end_ns == 520


def test_a_trajectory_is_sampled_between_its_points_and_stands_still_outside():
    path = ramp()
    assert path.sample(1005 * MS)[0] == pytest.approx([0.5])
    assert path.sample(1005 * MS)[1] == pytest.approx([100.0])
    assert path.sample(900 * MS)[0] == pytest.approx([0.0])
    assert path.sample(900 * MS)[1] == pytest.approx([0.0])
    assert path.sample(1031 * MS)[0] == pytest.approx([3.0])
    assert path.sample(1031 * MS)[1] == pytest.approx([0.0])


def test_knots_are_exact_copies_and_stand_still_outside():
    cut = ramp().knots(99, 105)
    assert cut.start_ns == 990 * MS
    assert cut.positions[:, 0].tolist() == [0.0, 0.0, 1.0, 2.0, 3.0, 3.0, 3.0]
    assert cut.velocities[:, 0].tolist() == [0.0, 100.0, 100.0, 100.0, 0.0, 0.0, 0.0]


def test_a_shifted_trajectory_is_the_same_motion_later():
    assert ramp().shifted(7).sample(1075 * MS)[0] == pytest.approx(ramp().sample(1005 * MS)[0])


def test_a_resting_trajectory_can_be_extended():
    path = Trajectory.resting(np.array([1.0, 2.0]), tick=5, step_ns=10)
    longer = path.extended(np.array([[1.5, 2.5]]), np.array([[0.0, 0.0]]))
    assert longer.first_tick == 5
    assert longer.last_tick == 6
    assert longer.end_ns == 60
    assert path.last_tick == 5


def test_a_cubic_is_interpolated_exactly_and_continued_straight():
    t = np.arange(5.0)[:, np.newaxis] * 0.1
    at = np.array([-0.1, 0.07, 0.25, 0.4, 0.5])
    positions, velocities = interpolate(t**3 - t, 3 * t**2 - 1, 0.1, at)
    assert positions[1:4, 0] == pytest.approx(at[1:4] ** 3 - at[1:4])
    assert velocities[1:4, 0] == pytest.approx(3 * at[1:4] ** 2 - 1)
    assert positions[[0, 4], 0] == pytest.approx([0.1, 0.4**3 - 0.4 - 0.1 * 0.52])
