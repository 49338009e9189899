"""Joints in metres and grippers in shares meet tolerances in their own unit."""

import re

import numpy as np
import pytest

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.control.chunk_check import check_chunk
from evo1_policy.control.limits import Limits
from evo1_policy.control.reference import smooth
from evo1_policy.robot_config import RobotConfigError, differences, parse_robot

TEXT = """
name: mixed
embodiment: mixed
rate_hz: 30
joints:
  - {name: lift, unit: m, per_radian: 0.1, position: [0, 0.8], velocity: 0.3, acceleration: 1}
  - {name: elbow, position: [-3, 3], velocity: 1.5, acceleration: 6}
  - {name: finger, unit: m, position: [0, 0.04], velocity: 0.1, acceleration: 0.5}
  - {name: claw, unit: share, position: [0, 1], velocity: 2, acceleration: 10}
grippers:
  - {joint: finger, open: 0.04, closed: 0}
  - {joint: claw, open: 1, closed: 0}
cameras: [{name: image_1, topic: env/image_raw, type: sensor_msgs/msg/Image, max_age_ms: 150}]
state: {topic: joint_states, max_age_ms: 100}
command: [{topic: arm/joint_trajectory, joints: [lift, elbow, finger, claw]}]
teleop: {topic: teleop/joint_trajectory}
home: {lift: 0.2, elbow: 0, finger: 0.04, claw: 1}
max_skew_ms: 17
safety: {max_start_error_rad: 0.5, max_tracking_error_rad: 0.3}
"""
ROBOT = parse_robot(TEXT)
LIMITS = Limits.of(ROBOT)


def test_what_counts_as_a_radian_is_said_or_a_grippers_way():
    np.testing.assert_array_equal(ROBOT.per_radian, [0.1, 1.0, 0.04, 1.0])
    assert [joint.unit for joint in ROBOT.joints] == ["m", "rad", "m", "share"]
    with pytest.raises(RobotConfigError, match=r"joints\[0\]\.per_radian: missing; expected what"):
        parse_robot(TEXT.replace("per_radian: 0.1, ", ""))
    with pytest.raises(RobotConfigError, match=r"joints\[3\]\.unit: expected one of rad, m, sh"):
        parse_robot(TEXT.replace("unit: share", "unit: percent"))


def test_a_checkpoint_of_the_same_names_in_other_units_is_another_robots():
    turned = parse_robot(re.sub(r"unit: m, per_radian: 0.1, ", "", TEXT))
    ((key, ours, theirs),) = differences(ROBOT, turned)
    assert key == "joints"
    assert (ours.split(", ")[0], theirs.split(", ")[0]) == ("lift [m]", "lift")


def chunk_from(start):
    actions = np.tile(np.asarray(start, dtype=np.float64), (10, 1))
    return ActionChunk(
        actions=actions,
        start_ns=1_000_000_000,
        step_ns=ROBOT.step_ns,
        observation_stamp_ns=966_666_667,
        instruction="lift",
    )


@pytest.mark.parametrize(("lift", "refused"), [(0.24, False), (0.26, True)])
def test_a_lift_may_begin_five_centimetres_away_and_says_so_in_metres(lift, refused):
    problem = check_chunk(
        chunk_from([lift, 0.0, 0.0, 0.0]),
        ROBOT,
        Limits.of(ROBOT),
        commanded=np.array(ROBOT.home),
        splice_ns=1_000_000_000,
    )
    assert (problem is not None) is refused
    if problem is not None:
        assert "begins 0.06 m away from the arm at joint 'lift'" in problem.message
        assert "allowed 0.05 m (safety.max_start_error_rad)" in problem.message


def test_smoothing_moves_a_finger_by_a_share_of_its_way_not_by_centimetres():
    noise = np.random.default_rng(3).normal(size=(50, 4)) * ROBOT.per_radian * 0.02
    actions = np.array(ROBOT.home) * 0.5 + noise
    moved = np.abs(smooth(actions, 1 / 30, LIMITS, most_rad=0.02) - actions).max(axis=0)
    assert (moved <= 0.02 * ROBOT.per_radian).all()
    coarse = np.array([0.0, 0.0, 0.01, 0.0]) * (-1.0) ** np.arange(50)[:, None] + actions[0]
    kept = smooth(coarse, 1 / 30, LIMITS, most_rad=0.02)
    np.testing.assert_array_equal(kept[:, 2], coarse[:, 2])  # 10 mm is a quarter of its way
