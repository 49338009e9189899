"""The relay between a demonstrator and the controllers, over real DDS."""

import time

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
    names, goal = ["joint6"], [0.1]
    arm.keep_demonstrating(names, goal, lambda: arm.says("following"), "following")
    arm.stuck["joint2"] = arm.positions["joint2"] + 0.6
    arm.keep_demonstrating(names, goal, lambda: arm.says("holding: joint 'joint2'"), "hold")
    assert arm.call("resume").success
    arm.wait(lambda: arm.says("waiting"), "end of the hold")


@pytest.mark.parametrize("way", ["service", "topic"])
def test_a_stopped_relay_refuses_targets_until_it_is_cleared_and_resumed(arm, relay, way):
    names, goal = ["joint6"], [0.2]
    arm.keep_demonstrating(names, goal, lambda: arm.says("following"), "following")
    if way == "service":
        assert arm.call("stop").success
    else:
        arm.stop_by_topic(stop=True)
    arm.wait(lambda: arm.says("STOPPED: stopped by request"), "stop")
    assert not arm.call("resume").success
    rest = arm.positions["joint6"]
    for _ in range(20):
        arm.demonstrate(names, [-0.3])
        time.sleep(0.02)
    assert arm.positions["joint6"] >= rest - 1e-6
    if way == "service":
        assert arm.call("clear_stop").success
    else:
        arm.stop_by_topic(stop=False)
    arm.wait(lambda: arm.says("holding: paused"), "end of the stop")
    assert arm.call("resume").success
    arm.keep_demonstrating(names, [0.0], lambda: arm.says("following"), "following again")


def test_a_second_relay_in_the_namespace_is_refused_by_the_firsts_name(arm, relay, robot_file):
    import rclpy
    from rclpy.parameter import Parameter

    from evo1_bringup.ros.teleop_relay_node import TeleopRelayNode
    from evo1_policy.ros.stop_listener import MoverThereError

    context = rclpy.Context()
    rclpy.init(context=context)
    file = Parameter("robot_file", value=str(robot_file))
    try:
        with pytest.raises(MoverThereError, match=r"moved already, by /teleop_relay \(pid"):
            TeleopRelayNode(context=context, parameter_overrides=[file])
    finally:
        rclpy.shutdown(context=context)


def test_commands_find_the_relay(arm, relay, capsys):
    from evo1_bringup.cli import main

    for words, says in (
        (["pause"], "holding: paused"),
        (["status"], "relay: holding: paused"),
        (["stop"], "STOPPED"),
        (["clear-stop"], "holding: paused"),
        (["resume"], "waiting"),
        (["stop", "--all"], "STOPPED"),
    ):
        assert main(words) == 0, words
        assert says in capsys.readouterr().out, words


def test_the_robot_file_cannot_be_changed_behind_a_running_relay(relay):
    from rclpy.parameter import Parameter

    before = relay.get_parameter("robot_file").value
    (refused,) = relay.set_parameters([Parameter("robot_file", value="another.yaml")])
    assert not refused.successful
    assert "read-only" in refused.reason
    assert relay.get_parameter("robot_file").value == before


def test_a_relay_that_fails_says_so_on_its_status(arm, relay):
    arm.wait(lambda: arm.says("waiting"), "state")
    relay.tell_end("teleop_relay ends: KeyError: 'joint1'")
    arm.wait(lambda: arm.says("STOPPED: teleop_relay ends: KeyError"), "last words")


def test_a_flipped_joint_of_a_running_robot_is_found_through_the_relay(arm, robot_file):
    """The relay is the gate; drive_joint goes on, joint6 is wired the other way round."""
    from evo1_bringup.ros.relayed_hand import relayed_hand
    from evo1_sim.joint_trial import try_joints

    joints = ["drive_joint", "joint6"]
    arm.flipped = {"joint6"}
    with relayed_hand(arm.robot, "", moves=True) as hand:
        (found,) = try_joints(arm.robot, hand, lambda _: True, joints=joints, limp=False)
    assert found.line.startswith("error: joints: joint6: moves the wrong way: told ")
