"""Decides when a gripper that takes goals, not streams, gets a new one. Must not import ROS."""

MOVED = 0.15  # of the stroke; a target so far from the last goal is sent while it still moves
SAME = 0.02  # of the stroke; nearer targets are one
SETTLED_NS = 150_000_000  # so long within SAME, a target has settled
RETRY_NS = 1_000_000_000  # after a goal that was refused
LONGEST_NS = 5_000_000_000  # a goal without a result counts as ended; its server may be gone


class GripperGate:
    """Passes a target on when it has settled or moved far, and never while a goal runs.

    For each goal the xArm's gripper is checked, enabled, driven and asked for its place again and
    again, on the connection that streams the arm's targets.

    Args:
        stroke: from open to closed, in the gripper's own unit.
    """

    def __init__(self, stroke: float) -> None:
        self._moved, self._same = MOVED * stroke, SAME * stroke
        self._sent: float | None = None
        self._running_until_ns = self._not_before_ns = 0
        self._resting, self._since_ns = 0.0, 0  # near which target it has been since when

    def offer(self, target: float, now_ns: int) -> float | None:
        """The goal to send now, or None. Call it again and again.

        Args:
            target: wanted now, in the gripper's own unit.
            now_ns: present time, on a clock that never jumps [ns].
        """
        if abs(target - self._resting) > self._same:
            self._resting, self._since_ns = target, now_ns
        if now_ns < max(self._running_until_ns, self._not_before_ns):
            return None
        if self._sent is not None:
            way = abs(target - self._sent)
            settled = now_ns - self._since_ns >= SETTLED_NS
            if way <= self._same or not (settled or way > self._moved):
                return None
        self._sent, self._running_until_ns = target, now_ns + LONGEST_NS
        return target

    def ended(self) -> None:
        """The goal that ran has ended, wherever the gripper is: an object may be in it."""
        self._running_until_ns = 0

    def refused(self, now_ns: int) -> None:
        """The goal was not taken: the same target may be sent again, but not at once."""
        self._sent, self._running_until_ns, self._not_before_ns = None, 0, now_ns + RETRY_NS
