"""Whether what encoders say can be where an arm is. No ROS, no torch."""

import numpy as np

from evo1_policy.control.limits import Limits
from evo1_policy.observation import JointSample

ZEROS_NS = 1_000_000_000  # some drivers say 0 for every joint before they have measured any
STEADY_NS = 50_000_000  # positions must be possible for so long before anything starts there
JUMP, JUMP_RAD = 3.0, 0.05  # times its velocity limit, and beside it: nothing moves so fast


class Encoders:
    """Notices positions that jump faster than any arm moves.

    Args:
        limits: of the robot.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._measured: JointSample | None = None
        self._steady_since_ns: int | None = None

    def look(self, measured: JointSample | None) -> None:
        """Take in the newest sample."""
        before, self._measured = self._measured, measured
        if measured is None or not np.isfinite(measured.positions).all():
            self._steady_since_ns = None
        elif before is None or self._steady_since_ns is None:
            self._steady_since_ns = measured.stamp_ns
        else:
            passed_s = (measured.stamp_ns - before.stamp_ns) / 1e9
            reach = JUMP * self._limits.velocity_max * passed_s + JUMP_RAD
            if (np.abs(measured.positions - before.positions) > reach).any():
                self._steady_since_ns = measured.stamp_ns

    def steady(self, measured: JointSample) -> bool:
        """Whether it has been possible for long enough that the arm is there."""
        if self._steady_since_ns is None:
            return False
        needed_ns = STEADY_NS if measured.positions.any() else ZEROS_NS
        return measured.stamp_ns - self._steady_since_ns >= needed_ns
