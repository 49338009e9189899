"""Jogging: wishes in, joint targets out."""

import numpy as np
import pytest

from evo1_bringup.teleop.jog import JogCommand, Jogger, rotation_matrix
from evo1_policy.robot_config import load_robot

DT = 0.02


@pytest.fixture(scope="module")
def xarm6(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


@pytest.fixture(scope="module")
def kinematics():
    from evo1_sim.arms import ARMS
    from evo1_sim.kinematics import Kinematics

    return Kinematics(ARMS["xarm6"])


@pytest.fixture
def jogger(xarm6, kinematics):
    jogger = Jogger(xarm6, solver=kinematics)
    jogger.start(np.array(xarm6.home))
    return jogger


def jog(jogger, command, seconds):
    for _ in range(round(seconds / DT)):
        joints = jogger.step(command, DT)
    return joints


def test_the_tool_moves_straight_and_keeps_its_rotation(jogger, xarm6, kinematics):
    before = kinematics.forward(xarm6.home)
    joints = jog(jogger, JogCommand(linear=(0.0, 1.0, 0.0)), 1.0)
    after = kinematics.forward(joints)
    np.testing.assert_allclose(after.position - before.position, [0.0, 0.12, 0.0], atol=1e-4)
    np.testing.assert_allclose(after.rotation, before.rotation, atol=1e-3)


def test_the_tool_turns_on_the_spot(jogger, xarm6, kinematics):
    before = kinematics.forward(xarm6.home)
    after = kinematics.forward(jog(jogger, JogCommand(angular=(0.0, 0.0, 1.0)), 0.5))
    np.testing.assert_allclose(after.position, before.position, atol=1e-4)
    wanted = rotation_matrix([0.0, 0.0, 0.3]) @ before.rotation
    np.testing.assert_allclose(after.rotation, wanted, atol=1e-3)


def test_out_of_reach_the_target_stays_and_says_so(jogger, kinematics):
    far = jog(jogger, JogCommand(linear=(1.0, 0.0, 0.0)), 8.0)
    assert jogger.note in (
        "out of reach that way",
        "too near to where the arm would flip over; go another way",
    )
    np.testing.assert_array_equal(jogger.step(JogCommand(linear=(1.0, 0.0, 0.0)), DT), far)
    back = jog(jogger, JogCommand(linear=(-1.0, 0.0, 0.0)), 1.0)
    assert jogger.note == ""
    assert kinematics.forward(back).position[0] < kinematics.forward(far).position[0] - 0.09


def test_a_joint_moves_alone_and_stops_at_its_limit(xarm6):
    jogger = Jogger(xarm6)
    jogger.start(np.array(xarm6.home))
    joints = jog(jogger, JogCommand(joints=(0.0, 0.0, 1.0)), 0.5)
    np.testing.assert_allclose(joints[2], xarm6.home[2] + 0.25)
    np.testing.assert_allclose(np.delete(joints, 2), np.delete(xarm6.home, 2), atol=2e-3)
    joints = jog(jogger, JogCommand(joints=(0.0, 0.0, 1.0)), 4.0)
    assert joints[2] < xarm6.position_max[2]
    assert jogger.note == "joint3 is at its limit"


def test_the_gripper_closes_and_opens_within_its_range(jogger, xarm6):
    closed = jog(jogger, JogCommand(gripper=-1.0), 2.0)
    assert closed[-1] == pytest.approx(xarm6.gripper.closed, abs=2e-3)
    opened = jog(jogger, JogCommand(gripper=1.0), 2.0)
    assert opened[-1] == pytest.approx(xarm6.gripper.open, abs=2e-3)


def test_nothing_asked_for_moves_nothing(jogger, xarm6):
    first = jogger.step(JogCommand(), DT)
    np.testing.assert_allclose(first, xarm6.home, atol=1e-3)
    np.testing.assert_array_equal(jog(jogger, JogCommand(), 1.0), first)


def test_a_target_needs_the_arms_present_place_first(xarm6):
    with pytest.raises(RuntimeError, match="start the jogger"):
        Jogger(xarm6).step(JogCommand(), DT)
