"""The relay between a demonstrator and the controllers, over real DDS."""

import numpy as np
import pytest

pytestmark = pytest.mark.ros


def test_targets_become_checked_trajectories_on_every_output(arm):
    goal = [*arm.robot.home[:5], 0.2, 0.3]
    arm.keep_demonstrating(
        arm.robot.joint_names,
        goal,
        lambda: (
            abs(arm.positions["joint6"] - 0.2) < 0.01
            and abs(arm.positions["drive_joint"] - 0.3) < 0.01
        ),
        "arrival",
    )
    for output in arm.robot.command:
        for message in arm.commands[output.topic]:
            assert tuple(message.joint_names) == output.joints
            assert not any(message.points[-1].velocities)
    arm.wait(lambda: arm.says("waiting"), "end of following once nobody demonstrates")


def test_a_target_that_makes_no_sense_moves_nothing(arm):
    arm.demonstrate(["joint9"], [0.1])
    arm.demonstrate(["joint1"], [float("nan")])
    arm.demonstrate(["joint1", "joint2"], [0.1])
    arm.keep_demonstrating(["joint6"], [0.05], lambda: arm.says("following"), "following")
    arm.wait(lambda: all(arm.commands.values()), "commands")
    joint1 = np.concatenate(
        [[p.positions[0] for p in m.points] for m in arm.commands[arm.robot.command[0].topic]]
    )
    np.testing.assert_allclose(joint1, arm.robot.home[0], atol=1e-5)


def test_joint_states_that_stop_hold_the_arm_until_they_are_back(arm):
    names, goal = ["joint6"], [0.1]
    arm.keep_demonstrating(names, goal, lambda: arm.says("following"), "following")
    arm.alive = False
    arm.keep_demonstrating(names, goal, lambda: arm.says("holding: joint positions"), "hold")
    arm.alive = True
    arm.keep_demonstrating(names, goal, lambda: arm.says("following"), "following again")


def test_an_arm_that_is_pushed_away_is_held_until_resume(arm):
    from std_srvs.srv import Trigger

    names, goal = ["joint6"], [0.1]
    arm.keep_demonstrating(names, goal, lambda: arm.says("following"), "following")
    arm.stuck["joint2"] = arm.positions["joint2"] + 0.6
    arm.keep_demonstrating(names, goal, lambda: arm.says("holding: joint 'joint2'"), "hold")
    arm.wait(arm.resume.service_is_ready, "service")
    future = arm.resume.call_async(Trigger.Request())
    arm.wait(future.done, "answer")
    assert future.result().success
    arm.wait(lambda: arm.says("waiting"), "end of the hold")
