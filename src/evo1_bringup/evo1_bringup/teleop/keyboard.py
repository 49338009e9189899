"""A keyboard as a jogging device. Must not import ROS.

A terminal tells that a key was pressed or repeats, never that it was released, so each press
moves for a moment, and a key held down moves on.
"""

from evo1_bringup.teleop.jog import JogCommand

PRESS_S = 0.18  # how long one press moves; longer than the pause between two repeats
SPEED_STEP = 1.25
SLOWEST, FASTEST = 0.1, 2.0

CARTESIAN_HELP = (
    "w/s forward/back  a/d left/right  r/f up/down  q/e turn  t/g tilt  z/x roll  "
    "o/p gripper open/close  +/- faster/slower  c resume  b hand back  Ctrl-C quit"
)
JOINT_HELP = (
    "qwertyui move joints 1-8 one way, asdfghjk back  o/p gripper open/close  "
    "+/- faster/slower  c resume  b hand back  Ctrl-C quit"
)
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
