"""Keyboard, gamepad (sensor_msgs/Joy) and an SO-100 leader arm. Must not import ROS."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.so100_arm import So100Arm
from evo1_bringup.teleop.jog import JogCommand
from evo1_policy.action_chunk import Floats
from evo1_policy.node_parameters import ParameterTable, parameter
from evo1_policy.robot_config import RobotConfig
from evo1_sim.servo_bus.so100_calibration import (
    ServoCalibration,
    to_radians,
)

PRESS_S = 0.18  # how long one press moves; longer than the pause between two repeats
SPEED_STEP = 1.25
SLOWEST, FASTEST = 0.1, 2.0

# What a person can press, by device and by whether it moves the tool.
HELP = {
    ("keyboard", True): "w/s forward/back  a/d left/right  r/f up/down  q/e turn  t/g tilt  "
    "z/x roll  o/p gripper open/close  +/- faster/slower  c resume  b hand back  Ctrl-C quit",
    ("keyboard", False): "qwertyui move joints 1-8 one way, asdfghjk back  "
    "o/p gripper open/close  +/- faster/slower  c resume  b hand back  Ctrl-C quit",
    ("gamepad", True): "hold RB to move; left stick: forward/back, left/right; right stick: "
    "up/down, turn; cross: tilt and roll; A opens, B closes the gripper; Y resumes after a hold",
    ("gamepad", False): "hold RB to move; sticks and cross: joints 1-6; A opens, B closes the "
    "gripper; Y resumes after a hold",
    ("leader", False): "move the leader arm; c resumes after a hold, b hands back, Ctrl-C quits",
}
_CARTESIAN: dict[str, JogCommand] = {
    "w": JogCommand(linear=(1.0, 0.0, 0.0)),
    "s": JogCommand(linear=(-1.0, 0.0, 0.0)),
    "a": JogCommand(linear=(0.0, 1.0, 0.0)),
    "d": JogCommand(linear=(0.0, -1.0, 0.0)),
    "r": JogCommand(linear=(0.0, 0.0, 1.0)),
    "f": JogCommand(linear=(0.0, 0.0, -1.0)),
    "q": JogCommand(angular=(0.0, 0.0, 1.0)),
    "e": JogCommand(angular=(0.0, 0.0, -1.0)),
    "t": JogCommand(angular=(0.0, 1.0, 0.0)),
    "g": JogCommand(angular=(0.0, -1.0, 0.0)),
    "z": JogCommand(angular=(1.0, 0.0, 0.0)),
    "x": JogCommand(angular=(-1.0, 0.0, 0.0)),
}
_FORTH, _BACK = "qwertyui", "asdfghjk"
_GRIPPER = {"o": JogCommand(gripper=1.0), "p": JogCommand(gripper=-1.0)}


class Keyboard:
    """Turns keys into what is asked for over time.

    A terminal tells that a key was pressed or repeats, never that it was released, so each press
    moves for a moment, and a key held down moves on.

    Args:
        joints: D, of the arm.
        cartesian: whether keys move the tool; otherwise each moves a joint.

    Attributes:
        speed: factor on every speed.
    """

    def __init__(self, *, joints: int, cartesian: bool) -> None:
        self._keys = {**(_CARTESIAN if cartesian else _joint_keys(joints)), **_GRIPPER}
        self._pressed: dict[str, float] = {}  # key -> until when [s]
        self.speed = 1.0

    def press(self, key: str, now_s: float) -> bool:
        """Take one key; return whether it means anything."""
        if key in ("+", "=", "-", "_"):
            factor = SPEED_STEP if key in "+=" else 1.0 / SPEED_STEP
            self.speed = min(max(self.speed * factor, SLOWEST), FASTEST)
            return True
        key = key.lower()
        if key not in self._keys:
            return False
        self._pressed[key] = now_s + PRESS_S
        return True

    def command(self, now_s: float) -> JogCommand:
        """What is asked for at `now_s`; several keys add up."""
        self._pressed = {key: until for key, until in self._pressed.items() if until > now_s}
        commands = [self._keys[key] for key in self._pressed]
        return JogCommand(
            linear=_sum3([command.linear for command in commands], self.speed),
            angular=_sum3([command.angular for command in commands], self.speed),
            joints=_sum([command.joints for command in commands], self.speed),
            gripper=sum(command.gripper for command in commands),
        )


def _joint_keys(joints: int) -> dict[str, JogCommand]:
    keys = {}
    for row, sign in ((_FORTH, 1.0), (_BACK, -1.0)):
        for index, key in enumerate(row[:joints]):
            rates = [0.0] * joints
            rates[index] = sign
            keys[key] = JogCommand(joints=tuple(rates))
    return keys


def _sum(rows: list[tuple[float, ...]], speed: float) -> tuple[float, ...]:
    filled = [row for row in rows if row]
    return tuple(speed * sum(column) for column in zip(*filled, strict=True))


def _sum3(rows: list[tuple[float, float, float]], speed: float) -> tuple[float, float, float]:
    x, y, z = _sum([*rows, (0.0, 0.0, 0.0)], speed)
    return x, y, z


AXES, BUTTONS = (0, 31), (0, 63)  # indices in sensor_msgs/Joy


@dataclass(frozen=True, kw_only=True)
class GamepadMapping(ParameterTable):
    """Numbers of axes and buttons; the defaults are those of an Xbox-like pad on joy_node."""

    axis_x: int = parameter(1, "Left stick, up positive.", span=AXES)
    axis_y: int = parameter(0, "Left stick, left positive.", span=AXES)
    axis_z: int = parameter(4, "Right stick, up positive.", span=AXES)
    axis_yaw: int = parameter(3, "Right stick, left positive.", span=AXES)
    axis_pitch: int = parameter(7, "Cross, up positive.", span=AXES)
    axis_roll: int = parameter(6, "Cross, left positive.", span=AXES)
    button_enable: int = parameter(5, "The arm moves while it is held.", span=BUTTONS)
    button_open: int = parameter(0, "Opens the gripper.", span=BUTTONS)
    button_close: int = parameter(1, "Closes the gripper.", span=BUTTONS)
    button_resume: int = parameter(3, "Goes on after a hold.", span=BUTTONS)
    dead_zone: float = parameter(0.12, "Axes that are nearer to 0 are at rest.", span=(0.0, 0.9))


class Gamepad:
    """Turns states of a gamepad into what is asked for.

    The arm moves only while the enable button is held, so that a gamepad that is put down moves
    nothing.

    Args:
        joints: D, of the arm.
        cartesian: whether sticks move the tool; otherwise joints.
        mapping: numbers of axes and buttons.
    """

    def __init__(
        self, *, joints: int, cartesian: bool, mapping: GamepadMapping | None = None
    ) -> None:
        self._joints = joints
        self._cartesian = cartesian
        self._mapping = mapping or GamepadMapping()
        self._resume_down = True  # what is held from the start on was not pressed for us

    def resumes(self, buttons: Sequence[int]) -> bool:
        """Whether the resume button went down."""
        down = self._pressed(buttons, self._mapping.button_resume)
        before, self._resume_down = self._resume_down, down
        return down and not before

    def command(self, axes: Sequence[float], buttons: Sequence[int]) -> JogCommand:
        """What is asked for by one state."""
        mapping = self._mapping
        if not self._pressed(buttons, mapping.button_enable):
            return JogCommand()
        x, y, z, yaw, pitch, roll = (
            self._deflection(axes, axis)
            for axis in (
                mapping.axis_x,
                mapping.axis_y,
                mapping.axis_z,
                mapping.axis_yaw,
                mapping.axis_pitch,
                mapping.axis_roll,
            )
        )
        gripper = float(self._pressed(buttons, mapping.button_open)) - float(
            self._pressed(buttons, mapping.button_close)
        )
        if self._cartesian:
            return JogCommand(linear=(x, y, z), angular=(roll, pitch, yaw), gripper=gripper)
        joints = (y, x, z, pitch, yaw, roll)[: self._joints]
        return JogCommand(joints=joints, gripper=gripper)

    def _deflection(self, axes: Sequence[float], axis: int) -> float:
        """An axis without its dead zone, growing smoothly from 0 beyond it."""
        if not 0 <= axis < len(axes):
            return 0.0
        value = min(max(float(axes[axis]), -1.0), 1.0)
        beyond = abs(value) - self._mapping.dead_zone
        if not beyond > 0.0:  # NaN too
            return 0.0
        return (beyond / (1.0 - self._mapping.dead_zone)) * (1.0 if value > 0.0 else -1.0)

    def _pressed(self, buttons: Sequence[int], number: int) -> bool:
        return 0 <= number < len(buttons) and bool(buttons[number])


_READS = 3


class LeaderServos:
    """The servos of a leader arm on their bus, torque off.

    Args:
        bus: of the leader, open.
        servos: its calibration, in the robot file's joint order.

    Raises:
        BusError: a servo is missing, or of another kind, or holds another calibration.
    """

    def __init__(self, bus: FeetechBus, servos: Sequence[ServoCalibration]) -> None:
        self._arm = So100Arm(bus, servos)
        self._arm.identify()
        self._arm.check_calibration()
        self._arm.release()

    def read_positions(self) -> npt.NDArray[np.int64]:
        """Present positions (D,) [ticks].

        Raises:
            BusError: nothing credible was heard of a servo.
        """
        for _ in range(_READS):
            ticks = self._arm.read_ticks(time.monotonic_ns())
            if not isinstance(ticks, list):
                return ticks
        names = ", ".join(servo.name for servo in ticks)
        raise BusError(f"leader arm: nothing credible was heard of {names}; check its cables")


class LeaderArm:
    """Reads where a person holds the leader arm; its torque stays off.

    Args:
        bus: its servos.
        servos: its calibration, in the robot file's joint order.
        robot: the follower's file.
    """

    def __init__(
        self, bus: LeaderServos, servos: Sequence[ServoCalibration], robot: RobotConfig
    ) -> None:
        self._bus = bus
        self._servos = tuple(servos)
        self._robot = robot
        self._gripper = (
            robot.joint_names.index(robot.gripper.joint) if robot.gripper is not None else None
        )

    def read(self) -> Floats:
        """Positions (D,) [rad] for the follower, within its limits.

        The gripper goes by its share of the calibrated range: a leader has a trigger there, with
        another range than the follower's jaw.

        Raises:
            BusError: a servo did not answer.
        """
        ticks = self._bus.read_positions()
        positions = to_radians(ticks, self._servos)
        lower, upper = self._robot.position_min, self._robot.position_max
        if self._gripper is not None:
            servo = self._servos[self._gripper]
            share = (ticks[self._gripper] - servo.range_min) / (servo.range_max - servo.range_min)
            share = 1 - share if servo.mirrored else share
            low, high = lower[self._gripper], upper[self._gripper]
            positions[self._gripper] = low + share * (high - low)
        return np.asarray(np.clip(positions, lower, upper), dtype=np.float64)
