"""How much of its time a running arm rests for want of a chunk. No ROS, no torch."""


class IdleMeter:
    """Adds up, from the first chunk on, the time that a chunk was wanted and the arm at rest."""

    def __init__(self) -> None:
        self._before_ns: int | None = None
        self._idle_ns = self._running_ns = 0

    @property
    def fraction(self) -> float:
        """Share of the time so far, 0 to 1."""
        return self._idle_ns / self._running_ns if self._running_ns else 0.0

    def look(self, now_ns: int, *, running: bool, resting: bool) -> None:
        """Tell how things stand now; they are taken to have been so since the last look.

        Args:
            now_ns: the clock [ns].
            running: chunks are wanted, and one has come since the start.
            resting: what was commanded is over.
        """
        before, self._before_ns = self._before_ns, now_ns
        if not running or before is None or now_ns <= before:
            return
        self._running_ns += now_ns - before
        if resting:
            self._idle_ns += now_ns - before
