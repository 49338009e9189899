"""One policy for two arms: 14 joints, four command outputs, three cameras."""

import re

import numpy as np
import pytest
from command_checks import check_commands, end_of, wait_at_rest

from evo1_policy.robot_config import load_robot

pytestmark = pytest.mark.ros

HOLDING, STOPPED = 2, 4


@pytest.fixture
def robot_file(robots_dir, tmp_path):
    """The pair's, with patience for a busy machine."""
    file = tmp_path / "patient.yaml"
    text = (robots_dir / "xarm6_bimanual.yaml").read_text()
    file.write_text(re.sub(r"max_age_ms: \d+", "max_age_ms: 800", text))
    return file


@pytest.fixture
def robot(robot_file):
    return load_robot(robot_file)


@pytest.fixture
def start(start_node, robot_file):
    return lambda: start_node(robot_file=str(robot_file))


def test_both_arms_move_within_their_limits_and_stop_together(cell, robot, start):
    start()
    cell.wait_moving()
    cell.wait(
        lambda: (np.abs(cell.arm.positions(cell.now_ns()) - robot.home) > 0.03).sum() >= 12,
        "both arms to move",
    )
    assert cell.call("stop").success
    assert cell.wait_state(STOPPED, "stopped")
    wait_at_rest(cell)
    check_commands(cell)
    last = [messages[-1] for messages in cell.commands.values()]
    assert len(last) == 4
    assert len({end_of(message) for message in last}) == 1  # all four outputs at one instant


def test_states_of_each_arm_may_come_in_messages_of_their_own(cell, start):
    cell.joint_messages = 2
    start()
    cell.wait_moving()
    cell.wait(lambda: len(cell.chunks) >= 5, "five chunks")
    check_commands(cell)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_arm_without_joint_states_holds_both_and_its_joint_is_named(cell, robot, start, side):
    cell.joint_messages = 2
    start()
    cell.wait_moving()
    cell.hidden_joints |= {name for name in robot.joint_names if name.startswith(side)}
    cell.wait(
        lambda: cell.status.state == HOLDING and f"joint '{side}_joint1'" in cell.status.reason,
        "the hold that names the joint",
    )
    wait_at_rest(cell)
    cell.hidden_joints.clear()
    cell.wait_moving()


def test_one_joint_that_is_missing_is_named(cell, start):
    start()
    cell.wait_moving()
    cell.hidden_joints.add("right_drive_joint")
    cell.wait(
        lambda: cell.status.state == HOLDING and "right_drive_joint" in cell.status.reason,
        "the hold that names the joint",
    )
