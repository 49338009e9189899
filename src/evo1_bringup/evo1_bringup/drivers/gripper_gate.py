"""Decides when a gripper that takes goals, not streams, gets a new one. Must not import ROS."""


class GripperGate:
    """Passes a target on when it differs enough and the last goal is old enough.

    The xArm's gripper checks, enables and blocks for each goal, so a stream at 30 Hz would queue
    up; the last target of a motion always gets through, since it is offered again and again.

    Args:
        dead_band_rad: a smaller change is no new goal [rad].
        min_interval_ns: shortest time between two goals [ns].
    """

    def __init__(self, *, dead_band_rad: float, min_interval_ns: int) -> None:
        self._dead_band_rad = dead_band_rad
        self._min_interval_ns = min_interval_ns
        self._sent_rad: float | None = None
        self._sent_ns = 0

    def offer(self, target_rad: float, now_ns: int) -> float | None:
        """The goal to send now [rad], or None."""
        if self._sent_rad is not None:
            if abs(target_rad - self._sent_rad) < self._dead_band_rad:
                return None
            if now_ns - self._sent_ns < self._min_interval_ns:
                return None
        self._sent_rad = target_rad
        self._sent_ns = now_ns
        return target_rad

    def forget(self) -> None:
        """The last goal failed: the same target may be sent again."""
        self._sent_rad = None
