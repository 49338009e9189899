"""A gamepad (sensor_msgs/Joy) as a jogging device. Must not import ROS.

The arm moves only while the enable button is held, so that a gamepad that is put down moves
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evo1_bringup.teleop.jog import JogCommand

HELP = (
    "hold RB to move; left stick: forward/back, left/right; right stick: up/down, turn; "
    "cross: tilt and roll; A opens, B closes the gripper; Y resumes after a hold"
)
JOINT_HELP = (
    "hold RB to move; sticks and cross: joints 1-6; A opens, B closes the gripper; "
    "Y resumes after a hold"
)


@dataclass(frozen=True, kw_only=True)
class GamepadMapping:
    """Numbers of axes and buttons; the defaults are those of an Xbox-like pad on joy_node."""

    axis_x: int = 1  # left stick, up positive
    axis_y: int = 0  # left stick, left positive
    axis_z: int = 4  # right stick, up positive
    axis_yaw: int = 3  # right stick, left positive
    axis_pitch: int = 7  # cross, up positive
    axis_roll: int = 6  # cross, left positive
    button_enable: int = 5
    button_open: int = 0
    button_close: int = 1
    button_resume: int = 3
    dead_zone: float = 0.12


class Gamepad:
    """Turns states of a gamepad into what is asked for.

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
