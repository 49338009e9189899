"""Joints that move the wrong way, found one by one on an arm without a body."""

import numpy as np
import pytest

from evo1_policy.kinematics.model import arm_model
from evo1_policy.robot_config import load_robot
from evo1_sim.joint_trial import SPEED_SHARE, tool_way, try_joints


class SimulatedHand:
    """Drives that are where they are told to be at once; some are wired the other way round."""

    def __init__(self, robot, flipped=(), dead=(), swapped=None):
        self.robot, self.flipped, self.dead = robot, flipped, dead
        self.swapped = swapped or {}
        self.home = dict(zip(robot.joint_names, robot.home, strict=True))
        self.at = dict(self.home)
        self.told = {name: [at] for name, at in self.home.items()}

    def positions(self):
        return dict(self.at)

    def follow(self, name, position):
        self.told[name].append(position)
        name = self.swapped.get(name, name)
        moved = position - self.home[name]
        if name not in self.dead:
            self.at[name] = self.home[name] + (-moved if name in self.flipped else moved)

    def wait(self, seconds):
        pass

    def refusal(self):
        return ""


@pytest.fixture
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def yes(question):
    return True


def test_a_sound_arm_moves_each_joint_slowly_and_back_and_tells_where_the_tool_goes(robot):
    hand, asked = SimulatedHand(robot), []
    assert try_joints(robot, hand, lambda q: asked.append(q) or True, limp=False) == []
    assert hand.at == pytest.approx(hand.home, abs=1e-9)
    for joint in robot.joints:
        fastest = np.abs(np.diff(hand.told[joint.name][1:])).max() / 0.02
        assert fastest <= SPEED_SHARE * joint.velocity_max * 1.001
    told = [question for question in asked if "says" in question]
    assert len(told) == robot.width
    assert "joint1 says +0.080 rad: seen from its base, did the tool go " in told[0]
    assert told[0].endswith(" mm left")
    assert "did the gripper" in told[-1]


@pytest.mark.parametrize("name", ["joint1", "joint4", "drive_joint"])
def test_a_flipped_joint_is_found_before_it_went_far_and_nothing_moves_after_it(robot, name):
    hand = SimulatedHand(robot, flipped=[name])
    (found,) = try_joints(robot, hand, yes, limp=False)
    assert (found.level, found.where) == ("error", f"joints: {name}")
    assert "moves the wrong way: told " in found.text
    assert abs(hand.at[name] - hand.home[name]) < 0.03 * robot.joints[-1].per_radian
    after = robot.joint_names[robot.joint_names.index(name) + 1 :]
    assert all(len(hand.told[other]) == 1 for other in after)


def test_a_joint_that_turns_against_the_model_is_seen_by_a_person_alone(robot):
    hand = SimulatedHand(robot)
    (found,) = try_joints(
        robot, hand, lambda q: not q.startswith("joint3 says"), joints=["joint3"], limp=False
    )
    assert found.line.startswith("error: joints: joint3: moves the other way than the model says")


def test_dead_drives_and_swapped_names_are_told_apart(robot):
    (found,) = try_joints(robot, SimulatedHand(robot, dead=["joint1"]), yes, limp=False)
    assert "was told +0.080 rad, its state says +0.000: is its controller active" in found.text
    hand = SimulatedHand(robot, swapped={"joint1": "joint2"})
    (found,) = try_joints(robot, hand, yes, joints=["joint1"], limp=False)
    assert "in its place joint2 moved; mend the names" in found.text


def test_drives_that_are_limp_are_turned_by_a_person_and_told_nothing(robot):
    hand = SimulatedHand(robot)

    def person(question):
        if "turn it by hand" in question:
            hand.at["joint6"] += 0.2
        return True

    assert try_joints(robot, hand, person, joints=["joint6"], limp=True) == []
    assert all(len(told) == 1 for told in hand.told.values())
    (found,) = try_joints(robot, hand, yes, joints=["joint6"], limp=True)
    assert "was turned by hand, its state says +0.000" in found.text


def test_an_unknown_joint_is_named_and_a_person_leaves_joints_out(robot):
    with pytest.raises(ValueError, match="'joint9' is no joint; known: joint1, "):
        try_joints(robot, SimulatedHand(robot), yes, joints=["joint9"], limp=False)
    hand = SimulatedHand(robot)
    assert try_joints(robot, hand, lambda question: False, limp=False) == []
    assert hand.at == hand.home


def test_the_way_of_the_tool_is_told_in_words(robots_dir):
    robot = load_robot(robots_dir / "ur5e.yaml")
    model, home = arm_model(robot), np.array(robot.home)
    last = home.copy()
    last[5] += 0.1
    assert tool_way(model, home, last) == "turn 6 degrees counter-clockwise, seen from below"
