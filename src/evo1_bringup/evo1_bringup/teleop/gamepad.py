"""A gamepad (sensor_msgs/Joy) as a jogging device. Must not import ROS.

The arm moves only while the enable button is held, so that a gamepad that is put down moves
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evo1_bringup.teleop.jog import JogCommand
from evo1_policy.node_parameters import ParameterTable, parameter

HELP = (
    "hold RB to move; left stick: forward/back, left/right; right stick: up/down, turn; "
    "cross: tilt and roll; A opens, B closes the gripper; Y resumes after a hold"
)
JOINT_HELP = (
    "hold RB to move; sticks and cross: joints 1-6; A opens, B closes the gripper; "
    "Y resumes after a hold"
)


@dataclass(frozen=True, kw_only=True)
class GamepadMapping(ParameterTable):
    """Numbers of axes and buttons; the defaults are those of an Xbox-like pad on joy_node."""

    axis_x: int = parameter(1, "Left stick, up positive.")
    axis_y: int = parameter(0, "Left stick, left positive.")
    axis_z: int = parameter(4, "Right stick, up positive.")
    axis_yaw: int = parameter(3, "Right stick, left positive.")
    axis_pitch: int = parameter(7, "Cross, up positive.")
    axis_roll: int = parameter(6, "Cross, left positive.")
    button_enable: int = parameter(5, "The arm moves while it is held.")
    button_open: int = parameter(0, "Opens the gripper.")
    button_close: int = parameter(1, "Closes the gripper.")
    button_resume: int = parameter(3, "Goes on after a hold.")
    dead_zone: float = parameter(0.12, "Axes that are nearer to 0 are at rest.")


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
