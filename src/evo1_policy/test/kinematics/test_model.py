"""Where the tool is: of a URDF and of MJCF, fingers that follow included."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from evo1_policy.kinematics.collision import Workspace, workspace_of
from evo1_policy.kinematics.model import ModelError, arm_model, find_model
from evo1_policy.robot_config import load_robot, parse_robot
from evo1_policy.robot_joints import GripperConfig

CORNER = """v 0 0 0
v 0.1 0 0
v 0 0.1 0
v 0 0 0.1
f 1 2 3
f 1 3 4
f 1 4 2
f 2 4 3
"""
URDF = """<?xml version="1.0"?>
<robot name="arm">
  <link name="base_link"><visual><geometry><mesh filename="package://nowhere/base.dae"/></geometry>
    </visual><collision><geometry><cylinder radius="0.05" length="0.1"/></geometry>
    </collision></link>
  <joint name="turn" type="revolute"><parent link="base_link"/><child link="upper"/>
    <origin xyz="0 0 0.2"/><axis xyz="0 0 1"/>
    <limit lower="-3" upper="3" effort="1" velocity="2"/></joint>
  <link name="upper"><collision><origin xyz="0.2 0 0"/><geometry><mesh filename="corner.obj"/>
    </geometry></collision></link>
  <joint name="reach" type="prismatic"><parent link="upper"/><child link="hand"/>
    <origin xyz="0.4 0 0"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="0.2" effort="1" velocity="1"/></joint>
  <link name="hand"/>
  <joint name="finger" type="prismatic"><parent link="hand"/><child link="left"/>
    <origin xyz="0.05 0 0"/><axis xyz="0 1 0"/>
    <limit lower="0" upper="0.04" effort="1" velocity="1"/></joint>
  <link name="left"><collision><geometry><sphere radius="0.01"/></geometry></collision></link>
  <joint name="other_finger" type="prismatic"><parent link="hand"/><child link="right"/>
    <origin xyz="0.05 0 0"/><axis xyz="0 1 0"/>
    <mimic joint="finger" multiplier="-1" offset="-0.01"/>
    <limit lower="-0.05" upper="0" effort="1" velocity="1"/></joint>
  <link name="right"><collision><geometry><sphere radius="0.01"/></geometry></collision></link>
</robot>
"""

XACRO = URDF.replace("<robot ", '<robot xmlns:xacro="http://ros.org/wiki/xacro" ').replace(
    '<link name="hand"/>', '<link name="hand"><xacro:inertia mass="1"/></link>'
)
LINKS = ("base_link", "hand", "left", "right")


@pytest.fixture
def robot_of(robot, tmp_path):
    """A robot of the URDF's joints, by the text of the URDF."""
    (tmp_path / "corner.obj").write_text(CORNER)
    names = ("turn", "reach", "finger")
    joints = tuple(replace(robot.joints[3], name=name) for name in names)

    def make(urdf: str, **changes):
        path = tmp_path / "arm.urdf"
        path.write_text(urdf)
        collision = replace(
            robot.safety.collision, model=str(path), boxes=(), **{"tool": "hand", **changes}
        )
        safety = replace(robot.safety, collision=collision)
        gripper = GripperConfig(joint="finger", open=0.04, closed=0.0)
        home = (0.0, 0.0, 0.0)
        return replace(robot, joints=joints, grippers=(gripper,), home=home, safety=safety)

    return make


def test_the_tool_of_a_urdf_is_where_its_joints_put_it(robot_of):
    arm = arm_model(robot_of(URDF))
    pose = arm.forward(np.array([np.pi / 2, 0.1, 0.02]))
    np.testing.assert_allclose(pose.position, [0.0, 0.5, 0.2], atol=1e-9)
    np.testing.assert_allclose(pose.rotation[:, 0], [0.0, 1.0, 0.0], atol=1e-9)


def test_the_tool_moves_as_its_places_an_instant_apart_say(robot_of, robot):
    """Also where it hangs on a joint that follows another, or sits on a base put askew."""
    follower = URDF.replace('<axis xyz="0 0 1"/>', '<axis xyz="0.6 0 0.8"/>')
    follower = follower.replace('xyz="0 0 0.2"', 'xyz="0.1 0 0.2" rpy="0.3 -0.2 1"')
    for arm in (arm_model(robot), *(arm_model(robot_of(follower, tool=t)) for t in LINKS)):
        width = len(arm.joint_names)
        positions = np.random.default_rng(0).uniform(-1.0, 1.0, (20, width))
        velocities = np.random.default_rng(1).uniform(-2.0, 2.0, (20, width))
        ahead, before = positions + 1e-6 * velocities, positions - 1e-6 * velocities
        places = [[arm.forward(row).position for row in rows] for rows in (ahead, before)]
        moves = (np.array(places[0]) - np.array(places[1])) / 2e-6
        np.testing.assert_allclose(arm.tool_velocities(positions, velocities), moves, atol=1e-8)


def test_a_mimicking_finger_follows(robot_of):
    arm = arm_model(robot_of(URDF))
    arm.place(np.array([0.0, 0.0, 0.03]))
    fingers = [arm.data.body(name).xpos[1] for name in ("left", "right")]
    np.testing.assert_allclose(fingers, [0.03, -0.04], atol=1e-9)
    assert arm.model.neq == 0  # and nobody else makes a coupling of it


def test_a_finger_that_mimics_a_mimic_follows_the_joint_that_moves(robot_of):
    third = """<joint name="third" type="prismatic"><parent link="hand"/><child link="tip"/>
      <axis xyz="0 1 0"/><mimic joint="other_finger" multiplier="2" offset="0.1"/>
      <limit lower="-1" upper="1" effort="1" velocity="1"/></joint><link name="tip"/></robot>"""
    arm = arm_model(robot_of(URDF.replace("</robot>", third)))
    arm.place(np.array([0.0, 0.0, 0.03]))
    assert arm.data.body("tip").xpos[1] == pytest.approx(0.1 + 2 * (-0.01 - 0.03))


def test_a_file_that_xacro_expanded_may_still_name_its_namespace(robot_of):
    arm_model(robot_of(URDF.replace("<robot ", '<robot xmlns:xacro="http://ros.org/wiki/xacro" ')))


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "a\\b", ""],
)
def test_a_packages_files_are_below_its_share_folder(tmp_path, monkeypatch, name):
    share = tmp_path / "share" / "arms"
    (share / "urdf").mkdir(parents=True)
    (tmp_path / "share" / "x").write_text("<robot/>")
    (tmp_path / "source.urdf").write_text("<robot/>")
    (share / "urdf" / "arm.urdf").symlink_to(tmp_path / "source.urdf")  # as colcon makes them
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert find_model("package://arms/urdf/arm.urdf") == share / "urdf" / "arm.urdf"
    with pytest.raises(ModelError, match=r"package://arms: .*expected a name of a file below"):
        find_model(f"package://arms/{name}")
    with pytest.raises(ModelError, match="expected package://NAME/PATH"):
        find_model(f"package://../{name}")


def test_a_model_beside_its_robot_file_is_looked_for_nowhere_else(robot, tmp_path, monkeypatch):
    text = robot.text.replace(robot.safety.collision.model, "arm.xml")
    assert text != robot.text
    (tmp_path / "arm.xml").write_text("<mujoco/>")
    (tmp_path / "robot.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert load_robot("robot.yaml").safety.collision.model == str(tmp_path / "arm.xml")
    (tmp_path / "checkpoint").mkdir()
    copy = tmp_path / "checkpoint" / "robot.yaml"
    copy.write_text(text)
    said = r"no such model file\. Beside a copy .*give the robot file itself .*package://NAME/PATH"
    for copied in (load_robot(copy), parse_robot(text)):  # nor where the program was started
        with pytest.raises(ModelError, match=said):
            find_model(copied.safety.collision.model)


def test_meshes_beside_a_urdf_are_checked_and_visuals_are_not_even_looked_for(robot_of):
    workspace = Workspace(robot_of(URDF))
    kinds = set(workspace.arm.model.geom_type.tolist())
    assert int(mujoco.mjtGeom.mjGEOM_MESH) in kinds
    assert workspace.touching(np.zeros(3)) is None


def test_workspaces_of_one_robot_share_no_scratch(robot):
    first, second = workspace_of(robot), workspace_of(robot)
    first.arm.place(np.array([0.0, 0.8, 0.6, 0.0]))
    assert second.touching(np.array(robot.home)) is None
    assert first.arm.data is not second.arm.data


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (URDF.replace('name="reach"', 'name="slide"'), "no joint 'reach' of the robot file"),
        (XACRO, "expand it first: xacro FILE > arm.urdf"),
        (URDF.replace('joint="finger" m', 'joint="other_finger" m'), "mimics itself in a circle"),
        (URDF.replace('child link="left"', 'child link="right"'), "stands twice"),
        ("<!DOCTYPE robot [<!ENTITY a 'b'>]><robot/>", "declares entities"),
        ("<robot", "arm.urdf"),
        (URDF.replace("corner.obj", "gone.obj"), "gone.obj"),
    ],
)
def test_a_file_that_is_no_arm_of_this_robot_says_why(robot_of, wrong, says):
    with pytest.raises(ModelError, match=says):
        arm_model(robot_of(wrong))
