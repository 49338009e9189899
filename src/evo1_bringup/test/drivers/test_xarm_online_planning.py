"""Trajectories as targets of the xArm's online planning."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_bringup.drivers.following import Asked
from evo1_bringup.drivers.pacing import LOOKAHEAD_NS, PERIOD_NS, OnlinePlanning
from evo1_policy.robot_config import load_robot
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint

MS = 1_000_000
HOME = np.array([0.0, -0.35, -0.85, 0.0, 1.2, 0.0])


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def planning(robot, goal, seconds, now_ns=0):
    joints = robot.command[0].joints
    made = OnlinePlanning(robot, joints)
    point = TrajectoryPoint(
        positions=list(goal), velocities=[0.0] * 6, time_from_start_ns=round(seconds * 1e9)
    )
    accept(made, point, joints, now_ns)
    return made


def accept(made, point, joints, now_ns, measured=HOME):
    asked = Asked(points=[point], joint_names=joints)
    made.newest.accept(asked, now_ns=now_ns, steady_ns=now_ns, begin=measured)


def moves(made, until_ns, measured=None):
    return [
        (now_ns, move)
        for now_ns in range(10 * MS, until_ns, 10 * MS)
        if (move := made.step(now_ns, HOME if measured is None else measured)) is not None
    ]


def test_nothing_is_asked_before_a_trajectory(robot):
    assert OnlinePlanning(robot, robot.command[0].joints).step(10**9, HOME) is None


def test_targets_run_ahead_of_the_clock_and_end_at_the_goal(robot):
    goal = HOME + 0.3
    asked = moves(planning(robot, goal, 1.0), 1500 * MS, measured=goal)
    times = [now_ns for now_ns, _ in asked]
    assert min(np.diff(times)) >= PERIOD_NS
    np.testing.assert_allclose(asked[-1][1].angles, goal, atol=1e-3)
    assert asked[-1][0] <= 1000 * MS - LOOKAHEAD_NS + 2 * PERIOD_NS
    middle = next(move for now_ns, move in asked if now_ns >= 450 * MS)
    assert middle.angles[0] > 0.15  # where the trajectory will be, not where it is


def test_a_goal_that_was_reached_is_not_asked_again(robot):
    made = planning(robot, HOME + 0.3, 1.0)
    moves(made, 1500 * MS)
    assert made.step(2000 * MS, HOME + 0.3) is None


def test_an_arm_that_is_behind_is_asked_again_and_faster(robot):
    made = planning(robot, HOME + 0.3, 1.0)
    moves(made, 1500 * MS, measured=HOME + 0.3)
    late = made.step(2000 * MS, HOME + 0.2)
    np.testing.assert_allclose(late.angles, HOME + 0.3)
    assert late.speed == pytest.approx(1.2)


def test_after_a_stop_the_next_trajectory_begins_where_the_arm_is(robot):
    made = planning(robot, HOME + 0.3, 1.0)
    moves(made, 500 * MS)
    made.stop()
    assert made.step(600 * MS, HOME) is None
    joints = robot.command[0].joints
    point = TrajectoryPoint(
        positions=list(HOME), velocities=[0.0] * 6, time_from_start_ns=1000 * MS
    )
    accept(made, point, joints, 700 * MS, measured=HOME + 0.1)
    move = made.step(710 * MS, HOME + 0.1)
    assert 0.05 < move.angles[0] <= 0.1


@settings(max_examples=25)
@given(
    st.lists(st.floats(-9.0, 9.0), min_size=6, max_size=6),
    st.floats(0.05, 3.0),
)
def test_no_target_leaves_the_limits_whatever_is_asked(robot, goal, seconds):
    lower, upper = robot.position_min[:6], robot.position_max[:6]
    for _, move in moves(planning(robot, goal, seconds), 3200 * MS):
        assert (lower <= move.angles).all()
        assert (move.angles <= upper).all()
        assert 0 < move.speed <= robot.velocity_max[:6].min()
        assert move.acceleration == robot.acceleration_max[:6].min()


def test_a_stop_leaves_the_arm_at_what_was_asked_last_until_it_is_cleared(robot):
    made, joints = planning(robot, HOME + 0.3, 1.0), robot.command[0].joints
    asked = moves(made, 500 * MS)[-1][1].angles
    made.newest.stop(True)
    assert made.step(600 * MS, HOME) is None
    positions, velocities = made.commanded(600 * MS, HOME)
    np.testing.assert_allclose(positions, asked)
    assert not velocities.any()
    point = TrajectoryPoint(positions=list(HOME), time_from_start_ns=1000 * MS)
    with pytest.raises(TrajectoryError, match="stopped by a person"):
        accept(made, point, joints, 700 * MS)
    made.newest.stop(False)
    accept(made, point, joints, 800 * MS)
    assert made.step(900 * MS, HOME + 0.1) is not None


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e308, 1e308, 2e4])
def test_numbers_that_no_joint_could_mean_are_refused_by_name(robot, value):
    made, joints = OnlinePlanning(robot, robot.command[0].joints), robot.command[0].joints
    point = TrajectoryPoint(positions=[0, 0, value, 0, 0, 0], time_from_start_ns=1000 * MS)
    with pytest.raises(TrajectoryError, match=r"points\[0\]\.positions: joint 'joint3'"):
        accept(made, point, joints, 0)
    assert made.step(10 * MS, HOME) is None
