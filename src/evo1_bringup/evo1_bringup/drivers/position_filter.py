"""Believes a position only if the joint can have got there since the last one it believed.

A checksum of one byte lets one damaged reply in 256 through. Must not import ROS.
"""

from collections.abc import Sequence

MAX_SPEED = 8.0 * 4096 / 6.2832  # ticks/s; twice what an STS3215 does without load
SLACK = 12  # ticks; of play and noise
STALE_NS = 40_000_000  # after it a joint may be so far away that a forged position looks likely
RANGE = (-4096, 8191)  # ticks; nothing else is a position of a servo that turns once


class PositionFilter:
    """Judges positions in ticks, by servo id.

    Where the last one that was believed is missing or old, it needs to see two that agree: one
    alone may be forged, and then the joint would seem to jump for as long as the silence was.
    """

    def __init__(self) -> None:
        self._believed: dict[int, tuple[int, int]] = {}
        self._candidates: dict[int, tuple[int, int]] = {}
        self.rejected = 0

    def believe(self, servo_id: int, ticks: int, now_ns: int) -> bool:
        """Whether a position read at now_ns is credible; if so, the next is judged by it."""
        believed = self._believed.get(servo_id)
        possible = believed is None or _reachable(believed, ticks, now_ns)
        if not (RANGE[0] <= ticks <= RANGE[1] and possible):
            self.rejected += 1
            return False
        if believed is None or now_ns - believed[1] > STALE_NS:
            candidate = self._candidates.get(servo_id)
            self._candidates[servo_id] = ticks, now_ns
            if candidate is None or not _reachable(candidate, ticks, now_ns):
                self.rejected += candidate is not None
                return False
        self._candidates.pop(servo_id, None)
        self._believed[servo_id] = ticks, now_ns
        return True

    def position(self, servo_id: int) -> int | None:
        """The last position that was believed [ticks]."""
        believed = self._believed.get(servo_id)
        return None if believed is None else believed[0]

    def knows(self, servo_ids: Sequence[int]) -> bool:
        """Whether there is a believed position of each."""
        return all(servo_id in self._believed for servo_id in servo_ids)

    def forget(self) -> None:
        """Begin anew: the arm was moved while nobody looked."""
        self._believed.clear()
        self._candidates.clear()


def _reachable(known: tuple[int, int], ticks: int, now_ns: int) -> bool:
    before, then_ns = known
    return abs(ticks - before) <= MAX_SPEED * (now_ns - then_ns) * 1e-9 + SLACK
