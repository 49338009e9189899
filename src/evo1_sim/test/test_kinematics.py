from math import pi

import numpy as np
import pytest

from evo1_sim.arms.so100 import SO100
from evo1_sim.arms.xarm6 import XARM6
from evo1_sim.kinematics import InverseKinematicsError, Kinematics

DOWN = np.diag([1.0, -1.0, -1.0])


@pytest.mark.parametrize(
    ("joint5", "position", "forward"),
    [(0.0, (0.207, 0, 0.112), (0, 0, -1)), (-pi / 2, (0.228, 0, 0.285), (1, 0, 0))],
)
def test_xarm6_flange_stands_where_the_maker_says(joint5, position, forward):
    pose = Kinematics(XARM6, "flange").forward((0, 0, 0, 0, joint5, 0, 0))
    np.testing.assert_allclose(pose.position, position, atol=1e-3)
    np.testing.assert_allclose(pose.rotation[:, 2], forward, atol=1e-6)


def test_xarm6_tool_is_172_mm_before_the_flange():
    joints = (0.3, -0.4, -1.0, 0.2, 1.0, -0.5, 0)
    tool = Kinematics(XARM6, "tool").forward(joints)
    flange = Kinematics(XARM6, "flange").forward(joints)
    np.testing.assert_allclose(
        tool.position - flange.position, 0.172 * flange.rotation[:, 2], atol=1e-9
    )


def test_so100_at_zero_points_down_where_its_link_lengths_put_it():
    pose = Kinematics(SO100, "flange").forward(np.zeros(6))
    x = 0.0452 + 0.0306 + 0.028 + 0.1349
    z = 0.0165 + 0.1025 + 0.11257 + 0.0052 - 0.0601
    np.testing.assert_allclose(pose.position, (x, 0, z), atol=1e-4)
    tool = Kinematics(SO100, "tool").forward(np.zeros(6))
    np.testing.assert_allclose(tool.rotation[:, 2], (0, 0, -1), atol=1e-4)


@pytest.mark.parametrize("position", [(0.35, -0.25, 0.05), (0.5, 0.2, 0.3), (0.4, 0.0, 0.2)])
def test_xarm6_inverse_returns_to_the_pose_within_the_limits(position):
    kinematics = Kinematics(XARM6)
    joints = kinematics.solve(position, start=XARM6.home, rotation=DOWN)
    pose = kinematics.forward(joints)
    np.testing.assert_allclose(pose.position, position, atol=6e-4)
    np.testing.assert_allclose(pose.rotation, DOWN, atol=6e-3)
    assert (joints >= XARM6.lower).all()
    assert (joints <= XARM6.upper).all()


def test_so100_inverse_reaches_a_pose_that_points_down():
    kinematics = Kinematics(SO100)
    wanted = np.array([[-1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]])
    joints = kinematics.solve((0.2, 0.0, 0.05), start=SO100.home, rotation=wanted)
    np.testing.assert_allclose(kinematics.forward(joints).position, (0.2, 0, 0.05), atol=6e-4)
    assert joints[-1] == SO100.home[-1]


def test_a_pose_out_of_reach_is_refused_with_the_distance():
    with pytest.raises(InverseKinematicsError, match="within reach"):
        Kinematics(XARM6).solve((1.5, 0, 0.3), start=XARM6.home, rotation=DOWN)
