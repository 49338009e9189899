"""The policy's loop keeps its promises against a true controller, where it broke them once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.robot_config import load_robot
from evo1_sim.closed_loop import SITUATIONS, ClosedLoop, Situation, rehearse
from evo1_sim.controller import xarm6_settings


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def assert_smooth(seams):
    assert seams.sent > 20
    assert seams.refused == 0
    assert seams.moving_s > 15
    assert seams.step_mrad_max < 0.06  # what the true one gave on time
    assert seams.acceleration_ratio_max < 1.05


def test_on_time_no_seam_is_felt(robot):
    assert_smooth(rehearse(robot, SITUATIONS[0]))


@pytest.mark.parametrize("situation", SITUATIONS[1:], ids=lambda situation: situation.name)
def test_no_seam_is_felt_in(robot, situation):
    assert_smooth(rehearse(robot, situation))


def test_a_controller_at_50_hz_feels_no_seam_of_late_commands(robot):
    slow = replace(
        robot, command=tuple(replace(command, rate_hz=50.0) for command in robot.command)
    )
    situation = Situation(name="slow", delay_ms=20.0)
    assert_smooth(rehearse(slow, situation, controller=xarm6_settings(50.0)))


@given(
    pause_s=st.integers(200, 400),  # hundredths
    rest_s=st.sampled_from([0.1, 0.4, 1.5]),
    off_s=st.floats(2.0, 4.0),
    gone_s=st.sampled_from([0.0, 0.03, 0.1, 0.3, 0.7, 1.5]),
    delay_ms=st.floats(0.5, 20.0),
    error_rad=st.floats(-0.05, 0.05),
)
@settings(max_examples=10)
def test_no_seam_is_felt_whenever_it_happens(
    robot, pause_s, rest_s, off_s, gone_s, delay_ms, error_rad
):
    situation = Situation(
        name="any",
        delay_ms=delay_ms,
        standing_error_rad=error_rad,
        off_s=((off_s, off_s + gone_s),),
        pauses_s=((pause_s / 100, pause_s / 100 + rest_s),),
    )
    seams = rehearse(robot, situation, seconds=7.0)
    assert seams.step_mrad_max < 0.06
    assert seams.acceleration_ratio_max < 1.05


def test_a_brake_that_meets_a_controller_just_switched_on_makes_no_step(robot):
    """Off at 16 s, tracking_error at 16.67 s, on again at 16.7 s, before the policy can know."""
    assert_smooth(rehearse(robot, SITUATIONS[3], controller=xarm6_settings(100.0)))


@pytest.mark.parametrize(
    ("aborts", "error_rad", "reasons", "least_own_mrad"),
    [
        ({"trajectory_tolerance_rad": 0.02}, 0.0, {"controller_left"}, 10.0),  # on the way
        ({"goal_time_s": 0.1}, 0.03, set(), 29.0),  # after the end: at a pause, it is gone on from
        ({"cmd_timeout_s": 0.6}, 0.03, set(), 29.0),
    ],
)
def test_what_a_controller_aborts_is_seen_in_its_words_and_makes_nobody_else_step(
    robot, aborts, error_rad, reasons, least_own_mrad
):
    """As FollowJointTrajectory would say: PATH_ and GOAL_TOLERANCE_VIOLATED, and a timeout."""
    situation = Situation(name="aborts", standing_error_rad=error_rad, pauses_s=((3.0, 5.0),))
    controller = replace(xarm6_settings(), **aborts)
    seams = rehearse(robot, situation, controller=controller, seconds=8.0)
    assert set(seams.reasons) - {"paused"} == reasons
    assert seams.own_step_mrad_max >= least_own_mrad
    assert seams.step_mrad_max < 0.06


def test_a_policy_whose_clock_is_behind_is_not_late(robot):
    """What it sends for soon is past for the controller by 50 ms, and followed from its middle."""
    assert_smooth(rehearse(robot, Situation(name="behind", skew_ms=-50.0)))


def test_an_arm_that_stands_is_not_told_to_stop_again_when_its_controller_comes_back(robot):
    situation = Situation(
        name="back at a pause",
        delay_ms=1.0,
        standing_error_rad=0.03125,
        off_s=((2.25, 2.55),),
        pauses_s=((2.55, 2.65),),
    )
    loop = ClosedLoop(robot, situation, xarm6_settings())  # with its table: the sway is cut
    loop.run(3.0)
    assert loop.measure().step_mrad_max < 0.06
