"""Arms made from a robot file and its URDF, and the URDF reader."""

from dataclasses import replace

import numpy as np
import pytest

from evo1_policy.kinematics.urdf import UrdfError, parse_urdf
from evo1_policy.robot_config import load_robot
from evo1_sim.arms import ARMS, find_arm
from evo1_sim.kinematics import Kinematics
from evo1_sim.simulated_robot import TICK_NS, SimulatedRobot
from evo1_sim.trajectory import TrajectoryPoint
from evo1_sim.world import World

ROBOTS = ("xarm5", "xarm7", "lite6", "uf850", "ur5e", "fr3")


def arm_of(robots_dir, name):
    robot = load_robot(robots_dir / f"{name}.yaml")
    return robot, find_arm(robot.name, robot)


@pytest.mark.parametrize("name", ROBOTS)
def test_an_arm_of_its_urdf_follows_its_controllers_to_the_end(name, robots_dir):
    robot, arm = arm_of(robots_dir, name)
    simulated = SimulatedRobot(World(arm), robot, start_ns=0)
    goal = np.clip(
        np.array(robot.home) + 0.02 * robot.velocity_max, robot.position_min, robot.position_max
    )
    for output, command in enumerate(robot.command):
        columns = [robot.joint_names.index(joint) for joint in command.joints]
        point = TrajectoryPoint(
            time_from_start_ns=200_000_000,
            positions=tuple(goal[columns]),
            velocities=(),
            accelerations=(),
        )
        assert simulated.accept(output, [point], command.joints, stamp_ns=0) == ""
    readings = [simulated.tick(tick * TICK_NS, TICK_NS) for tick in range(1, 40)]
    assert readings[-1].positions == pytest.approx(goal, abs=1e-6)
    assert all(np.isfinite(reading.velocities).all() for reading in readings)
    fastest = max(np.abs(reading.velocities / robot.velocity_max).max() for reading in readings)
    assert 0.05 < fastest <= 1.0 + 1e-9


def test_the_fr3s_flange_is_where_frankas_kinematics_say(robots_dir):
    robot, arm = arm_of(robots_dir, "fr3")
    flange = Kinematics(arm).forward(robot.home)
    assert flange.position == pytest.approx([0.307, 0.0, 0.697], abs=2e-3)
    assert flange.rotation[:, 2] == pytest.approx([0, 0, -1], abs=2e-3)


def test_a_finger_moves_in_metres_and_the_other_mimics_it(robots_dir):
    robot, arm = arm_of(robots_dir, "fr3")
    world = World(arm)
    world.set_targets([*robot.home[:-1], 0.0])
    world.step(1_000_000_000)
    assert world.joint_positions()[-1] == 0.0
    world.set_targets([*robot.home[:-1], 0.01])
    world.step(1_000_000_000)
    fingers = [world.data.joint(f"fr3_finger_joint{i}").qpos[0] for i in (1, 2)]
    assert fingers == pytest.approx([0.01, 0.01])


def test_a_share_of_a_grippers_way_is_its_joints_whole_range(robots_dir):
    robot = load_robot(robots_dir / "fr3.yaml")
    share = replace(robot.joints[-1], unit="share", position_max=1.0, velocity_max=2.0)
    robot = replace(robot, joints=(*robot.joints[:-1], share), home=(*robot.home[:-1], 1.0))
    world = World(find_arm("fr3", robot))
    assert world.joint_positions()[-1] == 1.0
    assert world.data.joint("fr3_finger_joint2").qpos[0] == pytest.approx(0.04)


def test_a_joint_of_another_unit_or_of_no_urdf_is_refused(robots_dir):
    robot = load_robot(robots_dir / "fr3.yaml")
    wrong = replace(robot, joints=(*robot.joints[:-1], replace(robot.joints[-1], unit="rad")))
    with pytest.raises(UrdfError, match=r"'fr3_finger_joint1' is prismatic; .*expected m"):
        find_arm("fr3", wrong)
    other = replace(robot, joints=(*robot.joints[:-1], replace(robot.joints[-1], name="lift")))
    with pytest.raises(UrdfError, match="no moving joint 'lift'; there are fr3_joint1"):
        find_arm("fr3", other)
    with pytest.raises(ValueError, match=r"no arm 'fr3' .*names no urdf"):
        find_arm("fr3", replace(robot, urdf=""))


def test_an_arm_with_a_cell_keeps_it(robots_dir):
    assert arm_of(robots_dir, "so101")[1] is ARMS["so101"]


JOINT = '<joint name="{0}" type="{1}"><parent link="{2}"/><child link="{3}"/>{4}</joint>'


def urdf_of(*joints, links=("a", "b", "c")):
    parts = [f'<link name="{link}"/>' for link in links]
    parts += [JOINT.format(*joint) for joint in joints]
    return f'<robot name="r">{"".join(parts)}</robot>'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<robot", "no XML"),
        ("<sdf/>", "the outermost element is <sdf>, not <robot>"),
        ('<!DOCTYPE r [<!ENTITY a "b">]><robot/>', "document type"),
        (urdf_of(), "0 joints"),
        (urdf_of(("j", "revolute", "a", "x", "")), "no link 'x'"),
        (urdf_of(("j", "revolute", "a", "b", "")), "one root link, got a, c"),
        (
            urdf_of(("j", "fixed", "a", "b", ""), ("k", "fixed", "b", "a", ""), links="ab"),
            "one root link, got none",
        ),
        (
            urdf_of(("j", "fixed", "a", "b", ""), ("k", "fixed", "c", "b", "")),
            "link 'b' stands twice",
        ),
        (
            urdf_of(("j", "revolute", "a", "b", '<limit lower="low"/>'), links="ab"),
            "lower: expected a number, got 'low'",
        ),
        (
            urdf_of(("j", "revolute", "a", "b", '<origin xyz="1 nan 0"/>'), links="ab"),
            "xyz: expected three numbers",
        ),
        (
            urdf_of(("j", "revolute", "a", "b", '<mimic joint="k"/>'), links="ab"),
            "mimics no joint",
        ),
        (
            '<robot xmlns:x="http://ros.org/wiki/xacro"><x:include filename="f"/></robot>',
            "is xacro; expand it first",
        ),
    ],
)
def test_a_urdf_that_is_none_is_refused_by_name(text, problem):
    with pytest.raises(UrdfError, match=f"mine.urdf: .*{problem}"):
        parse_urdf(text, source="mine.urdf")


def test_a_joint_is_read_as_it_stands():
    text = urdf_of(
        ("turn", "revolute", "a", "b", '<limit lower="-1" upper="2" velocity="3" effort="9"/>'),
        ("slide", "prismatic", "b", "c", '<axis xyz="0 0 1"/><limit lower="0" upper="0.1"/>'),
    )
    urdf = parse_urdf(text, source="mine.urdf")
    turn, slide = urdf.joints["turn"], urdf.joints["slide"]
    assert (turn.lower, turn.upper, turn.velocity, turn.unit) == (-1.0, 2.0, 3.0, "rad")
    assert (slide.velocity, slide.unit, slide.axis) == (None, "m", (0.0, 0.0, 1.0))
    assert urdf.branches() == {"turn": ("turn",), "slide": ("turn", "slide")}


def test_every_urdf_that_ships_is_named_by_a_robot_file(robots_dir):
    named = {load_robot(path).urdf for path in robots_dir.glob("*.yaml")} - {""}
    shipped = {path.name for path in robots_dir.glob("urdf/*.urdf")}
    assert named == {f"package://evo1_bringup/robots/urdf/{name}" for name in shipped}
