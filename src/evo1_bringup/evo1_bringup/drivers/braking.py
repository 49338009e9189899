"""Coming to rest from wherever a command is: each joint slows down as its limit allows.

Must not import ROS.
"""

import numpy as np
import numpy.typing as npt

Joints = npt.NDArray[np.float64]


class Braking:
    """A motion to rest. Arrays are (D,).

    Args:
        positions: commanded [rad].
        velocities: commanded [rad/s].
        deceleration: of each joint, positive [rad/s^2].
        lower: position limits [rad].
        upper: position limits [rad].
    """

    def __init__(
        self,
        *,
        positions: npt.ArrayLike,
        velocities: npt.ArrayLike,
        deceleration: Joints,
        lower: Joints,
        upper: Joints,
    ) -> None:
        self.positions: Joints = np.array(positions, dtype=np.float64)
        self._velocities: Joints = np.array(velocities, dtype=np.float64)
        self._deceleration = deceleration
        self._lower, self._upper = lower, upper

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves any more."""
        return not self._velocities.any()

    def advance(self, duration_s: float) -> Joints:
        """Where the joints are commanded after another duration_s (D,) [rad]."""
        change = np.minimum(self._deceleration * duration_s, np.abs(self._velocities))
        after = self._velocities - np.sign(self._velocities) * change
        moved = self.positions + 0.5 * (self._velocities + after) * duration_s
        self.positions = np.clip(moved, self._lower, self._upper)
        self._velocities = np.where(moved == self.positions, after, 0.0)
        return self.positions
