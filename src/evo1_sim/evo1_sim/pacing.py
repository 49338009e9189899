"""Even ticks on a clock, with a bound on catching up. Must not import ROS."""


class Pacer:
    """Says when the next tick is due and which instant it stands for.

    A loop that was held up runs the missed ticks at once, each with the instant that it was due,
    until it has caught up. Beyond max_lag_ns, or when the clock jumps back, it starts afresh from
    now; real time that went lost this way is counted.

    Args:
        period_ns: time between two ticks [ns].
        max_lag_ns: largest delay that is caught up [ns].
        now_ns: the first tick is due one period after this [ns].
    """

    def __init__(self, *, period_ns: int, max_lag_ns: int, now_ns: int) -> None:
        self._period_ns = period_ns
        self._max_lag_ns = max_lag_ns
        self._due_ns = now_ns + period_ns
        self.lost_ns = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long to wait for the next tick [ns]; 0 means that it is due."""
        late_ns = now_ns - self._due_ns
        if late_ns > self._max_lag_ns:
            self.lost_ns += late_ns
            self._due_ns = now_ns
        elif late_ns < -self._period_ns:  # only a clock that jumped back is this early
            self._due_ns = now_ns + self._period_ns
        return max(self._due_ns - now_ns, 0)

    def tick(self) -> int:
        """Take the tick that is due; return its instant [ns]."""
        due_ns = self._due_ns
        self._due_ns += self._period_ns
        return due_ns
