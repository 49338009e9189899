"""End-effector actions become the joint targets that they were made of."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.kinematics.end_effector import (
    KNOWN,
    EndEffector,
    PoseForm,
    read_end_effector,
)
from evo1_policy.kinematics.inverse import ToolSpace
from evo1_policy.kinematics.model import ModelError
from evo1_policy.robot_config import load_robot
from evo1_policy.strict_yaml import Section, StrictYamlError

PARITY_M, PARITY_RAD = 1e-3, 5e-3


@pytest.fixture(scope="module")
def robots(robots_dir):
    names = ("xarm6", "so100", "xarm6_bimanual")
    return {name: load_robot(robots_dir / f"{name}.yaml") for name in names}


def swaying(robot, count=50):
    """(H, D) joint targets of a quick motion from home, within the limits."""
    phase, home = np.arange(robot.width), np.array(robot.home)
    seconds = np.arange(1, count + 1)[:, None] / 30
    moved = home + 0.3 * (np.sin(2 * seconds + phase) - np.sin(phase))
    return np.clip(moved, robot.position_min, robot.position_max)


@pytest.mark.parametrize("name", ["xarm6", "so100"])
@pytest.mark.parametrize("rotation", ["axis_angle", "rpy", "rotation_6d"])
@pytest.mark.parametrize("reference", ["base", "start", "previous"])
def test_joint_demonstrations_come_back_from_end_effector_actions(
    robots, name, rotation, reference
):
    robot = robots[name]
    form = PoseForm(rotation=rotation, position_scale=0.05, grippers=((-1.0, 1.0),))
    space = ToolSpace(EndEffector(action=form, reference=reference), robot)
    demonstrated, state = swaying(robot), np.array(robot.home)
    numbers = space.numbers(demonstrated, state)
    assert numbers.shape == (50, len(form.names))
    joints, error = space.joints(numbers, state)
    assert error.position_m < PARITY_M
    assert error.rotation_rad < PARITY_RAD
    np.testing.assert_allclose(joints, demonstrated, atol=PARITY_RAD)


@pytest.mark.parametrize("name", ["ur5e", "fr3"])
def test_arms_without_a_gripper_or_with_metres_in_the_finger_serve_too(robots_dir, name):
    robot = load_robot(robots_dir / f"{name}.yaml")
    grippers = ((-1.0, 1.0),) if robot.gripper else ()
    form = PoseForm(grippers=grippers)
    space = ToolSpace(EndEffector(action=form, reference="previous", state=form), robot)
    demonstrated, state = swaying(robot), np.array(robot.home)
    numbers = space.numbers(demonstrated, state)
    assert numbers.shape == (50, 6 + len(grippers))
    joints, error = space.joints(numbers, state)
    assert error.position_m < PARITY_M
    assert error.rotation_rad < PARITY_RAD
    np.testing.assert_allclose(space.numbers(joints, state), numbers, atol=1e-3)
    if robot.gripper:  # seven joints: other elbows serve the same poses
        closed = (demonstrated[:, -1] - robot.gripper.open) / -0.04  # m of the finger
        np.testing.assert_allclose(numbers[:, -1], 2 * closed - 1, atol=1e-9)
        np.testing.assert_allclose(joints[:, -1], demonstrated[:, -1], atol=1e-9)
        return
    np.testing.assert_allclose(joints, demonstrated, atol=PARITY_RAD)
    with pytest.raises(ModelError, match=r"'ur5e' has 0 grippers, .* say which joint closes it"):
        ToolSpace(KNOWN["libero"], robot)


def test_the_tool_is_where_the_numbers_say(robots):
    robot = robots["xarm6"]
    space = ToolSpace(EndEffector(action=PoseForm(rotation="rpy", grippers=((0, 1),))), robot)
    here = space.numbers([robot.home], robot.home)[0]
    moved = np.array([0.02, 0.01, -0.03, 0, 0, 0.1, 0.5])
    joints, error = space.joints([here + moved], robot.home)
    assert error.position_m < 1e-5
    there = space.numbers(joints, robot.home)[0]
    np.testing.assert_allclose(there - here, moved, atol=1e-4)
    assert joints[0, 6] == 0.425  # half closed


def test_liberos_deltas_move_by_5_cm_and_half_a_radian_in_the_base_frame(robots):
    robot, state = robots["xarm6"], np.array(robots["xarm6"].home)
    space = ToolSpace(KNOWN["libero"], robot)
    poses = ToolSpace(EndEffector(action=PoseForm(rotation="rotation_6d")), robot)
    steps = [[0, 0.2, -0.4, 0, 0, 0, -1], [0, 0.2, -0.4, 0, 0, 0.2, 1]]
    joints, _ = space.joints(steps, state)
    before, first, second = poses.numbers(np.vstack([state, joints]), state)
    np.testing.assert_allclose(first[:3] - before[:3], [0, 0.01, -0.02], atol=1e-4)
    np.testing.assert_allclose(second[:3] - before[:3], [0, 0.02, -0.04], atol=1e-4)
    angle = np.arctan2(*second[[4, 3]]) - np.arctan2(*before[[4, 3]])  # of the tool's x axis
    assert (angle + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0.1, abs=1e-3)
    assert joints[:, 6].tolist() == [0.0, 0.85]  # open, closed


def test_a_state_in_end_effector_form_is_made_of_the_joints(robots):
    robot = robots["xarm6"]
    state = ToolSpace(KNOWN["libero"], robot).state(robot.home)
    assert state.shape == (8,)
    assert state[6:].tolist() == [0.04, -0.04]  # both fingers, open
    found = ToolSpace(EndEffector(action=PoseForm()), robot)
    np.testing.assert_allclose(state[:6], found.numbers([robot.home], robot.home)[0], atol=1e-12)
    np.testing.assert_array_equal(found.state(robot.home), robot.home)  # none: the joints


@pytest.mark.parametrize("reference", ["base", "start", "previous"])
def test_numbers_that_count_from_a_world_lead_the_same_way(robots, reference):
    robot, base = robots["xarm6"], (1.0, 2.0, 0.9, 0.0, 0.0, np.pi / 2)
    form = PoseForm(grippers=((-1.0, 1.0),))
    here = ToolSpace(EndEffector(action=form, reference=reference, state=form), robot)
    there = ToolSpace(dataclasses.replace(here.meaning, base=base), robot)
    home = np.array(robot.home)
    x, y, z = here.state(home)[:3]
    np.testing.assert_allclose(there.state(home)[:3], [1 - y, 2 + x, 0.9 + z], atol=1e-9)
    demonstrated = swaying(robot)
    joints, error = there.joints(there.numbers(demonstrated, home), home)
    assert error.position_m < PARITY_M
    np.testing.assert_allclose(joints, demonstrated, atol=PARITY_RAD)
    assert read(there.meaning.to_dict()) == there.meaning
    assert "base" not in here.meaning.to_dict()


def test_a_base_that_is_no_six_numbers_of_a_world_is_refused(robots):
    plain = EndEffector(action=PoseForm()).to_dict()
    for base in ([0, 0, 0], [0, 0, 0, 0, 0, "x"], [1e300, 0, 0, 0, 0, 0], float("nan")):
        with pytest.raises(StrictYamlError, match="base: expected six numbers"):
            read(plain | {"base": base})


@pytest.mark.parametrize("name", ["xarm6", "so100"])
def test_what_is_out_of_reach_says_how_far_and_stays_within_the_limits(robots, name):
    robot = robots[name]
    space = ToolSpace(EndEffector(action=PoseForm(), reference="previous"), robot)
    outwards = np.tile([0.02, 0, 0, 0, 0, 0], (50, 1))
    joints, error = space.joints(outwards, robot.home)
    assert 0.1 < error.position_m < 1.0
    assert (joints >= robot.position_min).all()
    assert (joints <= robot.position_max).all()


def test_numbers_that_are_no_pose_give_no_joints(robots):
    space = ToolSpace(EndEffector(action=PoseForm(rotation="rotation_6d")), robots["xarm6"])
    flat = space.numbers(swaying(robots["xarm6"], 3), robots["xarm6"].home)
    for wrong in (np.nan, np.inf, 1e300):
        bad = flat.copy()
        bad[1, 2] = wrong
        joints, error = space.joints(bad, robots["xarm6"].home)
        assert np.isnan(joints).all()
        assert error.position_m == np.inf
    flat[2, 6:] = flat[2, 3:6]  # two equal columns: no rotation
    assert np.isnan(space.joints(flat, robots["xarm6"].home)[0]).all()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.floats(-4, 4), min_size=7, max_size=7), min_size=1, max_size=4))
def test_whatever_a_policy_says_the_joints_keep_their_limits_and_never_jump(robots, rows):
    robot = robots["xarm6"]
    action = PoseForm(grippers=((0, 1),))
    for reference in ("base", "previous"):
        space = ToolSpace(EndEffector(action=action, reference=reference), robot)
        joints, _ = space.joints(rows, robot.home)
        assert (joints >= robot.position_min).all()
        assert (joints <= robot.position_max).all()
        steps = np.diff(np.vstack([robot.home, joints]), axis=0)[:, :6]
        assert np.abs(steps).max() <= robot.safety.max_start_error_rad + 1e-9


def test_turning_past_half_a_turn_flips_no_branch(robots):
    robot, state = robots["xarm6"], np.array(robots["xarm6"].home)
    space = ToolSpace(EndEffector(action=PoseForm(rotation="axis_angle")), robot)
    demonstrated = np.tile(state, (120, 1))
    demonstrated[:, 5] = np.linspace(0, 5.5, 120)  # axis-angle changes its sign on the way
    joints, error = space.joints(space.numbers(demonstrated, state), state)
    np.testing.assert_allclose(joints, demonstrated, atol=PARITY_RAD)
    assert error.rotation_rad < PARITY_RAD


def test_several_arms_and_robots_without_a_model_are_refused(robots):
    with pytest.raises(ModelError, match=r"2 grippers.*several arms want a policy of joints"):
        ToolSpace(KNOWN["libero"], robots["xarm6_bimanual"])
    safety = dataclasses.replace(robots["xarm6"].safety, collision=None)
    bare = dataclasses.replace(robots["xarm6"], safety=safety)
    with pytest.raises(ModelError, match=r"names no model; .*safety\.collision\.model"):
        ToolSpace(KNOWN["libero"], bare)


def read(data):
    root = Section({"tool": json.loads(json.dumps(data))}, path="", source="a.json")
    return read_end_effector(root, "tool")


def test_a_description_comes_back_from_plain_data():
    for name, known in KNOWN.items():
        assert read(known.to_dict()) == known
        assert read(name) == known
    assert KNOWN["libero"].action_space == "ee_delta"
    assert read({"action": {}}).action_space == "ee_pose"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("liberty", "tool: expected one of libero, libero_authors, bridge, got 'liberty'"),
        (3, "tool: expected a mapping"),
        ({}, r"tool\.action: missing"),
        (
            {"action": {"rotation": "quaternion"}},
            r"tool\.action\.rotation: expected one of",
        ),
        ({"action": {"turn": 1}}, r"tool\.action\.turn: unknown key"),
        ({"action": {}, "axes": "tool"}, r"tool\.axes: unknown key"),
        ({"action": {"position_scale": 0}}, r"action\.position_scale: expected a number above 0"),
        (
            {"action": {"grippers": [[1, 1]]}},
            "tool: action.grippers: expected one gripper .* two numbers",
        ),
        ({"action": {"grippers": 3}}, r"action\.grippers: expected pairs"),
        ({"action": {"grippers": [[0, 1], [0, 1]]}}, "action.grippers: expected one gripper"),
        (
            {"action": {"rotation": "rotation_6d", "rotation_scale": 0.5}},
            "rotation_scale: expected 1 with rotation_6d",
        ),
        ({"action": {}, "reference": "world"}, "reference: expected one of base, start, previous"),
        ({"action": {}, "state": {"grippers": [[True, 1]]}}, r"state\.grippers: expected pairs"),
    ],
)
def test_a_description_that_cannot_be_is_refused_by_key(data, message):
    with pytest.raises(StrictYamlError, match=message):
        read(data)
