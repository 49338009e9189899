"""Keyboard, gamepad and leader arm: what they give."""

import numpy as np
import pytest

from evo1_bringup.teleop.devices import Gamepad, GamepadMapping, Keyboard, LeaderArm
from evo1_bringup.teleop.jog import JogCommand
from evo1_policy.robot_config import load_robot
from evo1_sim.servo_bus.so100_calibration import ServoCalibration

AXES = [0.0] * 8
HELD = [0, 0, 0, 0, 0, 1, 0, 0]


def test_a_key_moves_for_a_moment_and_a_held_one_on():
    keyboard = Keyboard(joints=7, cartesian=True)
    assert keyboard.press("w", 10.0)
    assert keyboard.command(10.1).linear == (1.0, 0.0, 0.0)
    keyboard.press("w", 10.15)
    assert keyboard.command(10.3).linear == (1.0, 0.0, 0.0)
    assert keyboard.command(10.4).still


def test_two_keys_add_up_and_opposite_ones_cancel():
    keyboard = Keyboard(joints=7, cartesian=True)
    for key in "wao":
        keyboard.press(key, 0.0)
    assert keyboard.command(0.1) == JogCommand(linear=(1.0, 1.0, 0.0), gripper=1.0)
    keyboard.press("s", 0.0)
    assert keyboard.command(0.1).linear == (0.0, 1.0, 0.0)


def test_joint_keys_move_single_joints():
    keyboard = Keyboard(joints=6, cartesian=False)
    keyboard.press("e", 0.0)
    assert keyboard.command(0.1).joints == (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    keyboard.press("y", 1.0)
    keyboard.press("h", 2.0)
    assert keyboard.command(2.1).joints == (0.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    assert not keyboard.press("u", 3.0)


def test_plus_and_minus_change_the_speed_within_bounds():
    keyboard = Keyboard(joints=7, cartesian=True)
    keyboard.press("-", 0.0)
    keyboard.press("w", 0.0)
    assert keyboard.command(0.1).linear[0] == pytest.approx(0.8)
    for _ in range(30):
        keyboard.press("+", 0.0)
    assert keyboard.speed == 2.0


def test_a_gamepad_moves_nothing_unless_the_enable_button_is_held():
    gamepad = Gamepad(joints=7, cartesian=True)
    axes = [0.0, 1.0, *AXES[2:]]
    assert gamepad.command(axes, [0] * 8).still
    assert gamepad.command(axes, HELD).linear == (1.0, 0.0, 0.0)


def test_a_stick_at_rest_is_still_and_grows_smoothly_beyond_its_dead_zone():
    gamepad = Gamepad(joints=7, cartesian=True)
    assert gamepad.command([0.0, 0.11, *AXES[2:]], HELD).still
    assert gamepad.command([0.0, float("nan"), *AXES[2:]], HELD).still
    assert gamepad.command([0.0, -0.56, *AXES[2:]], HELD).linear[0] == pytest.approx(-0.5)


def test_a_small_gamepad_lacks_axes_and_buttons_without_harm():
    assert Gamepad(joints=7, cartesian=True).command([0.5], [1]).still


def test_buttons_move_the_gripper_and_resume_counts_when_it_goes_down():
    gamepad = Gamepad(joints=6, cartesian=False, mapping=GamepadMapping(button_resume=7))
    assert gamepad.command(AXES, [1, 0, 0, 0, 0, 1]).gripper == 1.0
    assert gamepad.command(AXES, [0, 1, 0, 0, 0, 1]).gripper == -1.0
    pressed = [0] * 7 + [1]
    assert not gamepad.resumes(pressed)
    assert not gamepad.resumes([0] * 8)
    assert gamepad.resumes(pressed)
    assert not gamepad.resumes(pressed)


class Servos:
    """Servos that stand at given ticks."""

    def __init__(self, ticks):
        self.ticks = np.array(ticks, dtype=np.int64)

    def read_positions(self):
        return self.ticks


def test_a_leader_gives_the_followers_joints_and_its_trigger_the_gripper(robots_dir):
    robot = load_robot(robots_dir / "so100.yaml")
    servos = [
        ServoCalibration(
            joint=name,
            servo_id=i + 1,
            homing_offset=0,
            range_min=1000,
            range_max=3000,
            middle_rad=0.0,
        )
        for i, name in enumerate(robot.joint_names[:-1])
    ]
    trigger = ServoCalibration(
        joint="gripper_joint",
        servo_id=6,
        homing_offset=0,
        range_min=2000,
        range_max=2500,
        middle_rad=0.9,
    )
    bus = Servos([2000, 2100, 2000, 2000, 2000, 2250])
    leader = LeaderArm(bus, [*servos, trigger], robot)
    positions = leader.read()
    np.testing.assert_allclose(positions[:3], [0.0, 100 * 2 * np.pi / 4096, 0.0])
    assert positions[-1] == pytest.approx(0.9)  # half the trigger, half the jaw
    bus.ticks[-1] = 2600
    bus.ticks[0] = 4000
    assert leader.read()[-1] == pytest.approx(2.0)
    assert leader.read()[0] == pytest.approx(1.95)  # the follower's limit
