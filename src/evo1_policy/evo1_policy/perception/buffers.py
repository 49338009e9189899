"""Bounded buffers of what arrived on one topic, sorted by stamp, with rate and rejects.

Must not import ROS or torch.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FRAMES_KEPT = 64  # about two seconds at 30 Hz
JOINT_SPAN_NS = 2_000_000_000
JOINT_ROWS_KEPT = 4096
RATE_WINDOW_NS = 2_000_000_000
MAX_AHEAD_NS = 1_000_000_000  # a stamp further in the future comes from another clock
RESTART_NS = 1_000_000_000  # a stamp further back means that the source's clock was set back
_GOOD_MESSAGES = 30  # in a row, before a problem is over
_SELECTIONS_KEPT = 64  # names that never repeat must not fill the memory

Places = npt.NDArray[np.intp]


class Stream:
    """Name, bound and counters of one topic."""

    def __init__(self, name: str, topic: str, max_age_ns: int) -> None:
        self.name = name
        self.topic = topic
        self.max_age_ns = max_age_ns
        self.received = 0
        self.rejected = 0
        self._problem = ""
        self._good = 0
        self._arrivals: deque[int] = deque(maxlen=JOINT_ROWS_KEPT)

    @property
    def problem(self) -> str:
        """What was wrong with the last rejected message; empty after 30 good ones in a row."""
        return self._problem if self._good < _GOOD_MESSAGES else ""

    def accept(self, received_ns: int) -> None:
        """Count a usable message."""
        self.received += 1
        self._good += 1
        self._arrivals.append(received_ns)

    def reject(self, problem: str) -> None:
        """Count an unusable message and remember why."""
        self.received += 1
        self.rejected += 1
        self._good = 0
        self._problem = problem

    def rate_hz(self, now_ns: int) -> float:
        """Usable messages a second over the last two seconds."""
        while self._arrivals and now_ns - self._arrivals[0] > RATE_WINDOW_NS:
            self._arrivals.popleft()
        intervals = len(self._arrivals) - 1
        if intervals < 1 or self._arrivals[-1] <= self._arrivals[0]:
            return 0.0
        span_ns = self._arrivals[-1] - self._arrivals[0]
        silent_ns = now_ns - self._arrivals[-1]
        if silent_ns > 3 * span_ns / intervals:
            span_ns += silent_ns  # a stream that died shows a falling rate at once
        return 1e9 * intervals / span_ns

    def clear_rate(self) -> None:
        """Forget when messages arrived; the counters stay."""
        self._arrivals.clear()

    def stamp_problem(self, stamp_ns: int, received_ns: int) -> str:
        """Say what is wrong with a stamp on its own, empty where nothing is."""
        if stamp_ns <= 0:
            return f"{self.topic}: message without a stamp; its driver must fill header.stamp"
        ahead_ns = stamp_ns - received_ns
        if ahead_ns > MAX_AHEAD_NS:
            return (
                f"{self.topic}: stamp is {ahead_ns / 1e9:.1f} s in the future; "
                "synchronise the clocks, or set use_sim_time the same everywhere"
            )
        return ""


class FrameBuffer:
    """The last frames of one camera; references, no copies."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stamps: list[int] = []
        self.arrivals: list[int] = []
        self.frames: list[npt.NDArray[np.uint8]] = []

    def add(self, frame: npt.NDArray[np.uint8], *, stamp_ns: int, received_ns: int) -> None:
        """Append a frame; one that is not newer than the last is rejected.

        A camera whose clock was set back by more than a second starts afresh.
        """
        problem = self.stream.stamp_problem(stamp_ns, received_ns)
        newest_ns = self.stamps[-1] if self.stamps else 0
        if not problem and stamp_ns <= newest_ns:
            back_ns = newest_ns - stamp_ns
            if back_ns > RESTART_NS:
                self.clear()
            elif back_ns == 0:
                problem = f"{self.stream.topic}: two frames with the same stamp; kept the first"
            else:
                problem = (
                    f"{self.stream.topic}: stamp goes back by {back_ns / 1e6:.1f} ms; "
                    "dropped the frame"
                )
        if problem:
            self.stream.reject(problem)
            return
        self.stream.accept(received_ns)
        self.stamps.append(stamp_ns)
        self.arrivals.append(received_ns)
        self.frames.append(frame)
        if len(self.stamps) > FRAMES_KEPT:
            del self.stamps[0], self.arrivals[0], self.frames[0]

    def clear(self) -> None:
        """Forget every frame."""
        self.stamps.clear()
        self.arrivals.clear()
        self.frames.clear()
        self.stream.clear_rate()


class JointBuffer:
    """Rows of joint positions, merged by name from messages that may carry a part each.

    Attributes:
        stamps: strictly increasing [ns].
        arrivals: when the last part of each row arrived [ns].
        rows: (D,) float64 [rad] each, NaN where no message of that stamp carried the joint.
    """

    def __init__(self, stream: Stream, joint_names: Sequence[str]) -> None:
        self.stream = stream
        self.stamps: list[int] = []
        self.arrivals: list[int] = []
        self.rows: list[npt.NDArray[np.float64]] = []
        self.newest_ns = np.zeros(len(joint_names), dtype=np.int64)  # 0: never
        self.newest = np.full(len(joint_names), np.nan)
        self._span_ns = max(JOINT_SPAN_NS, 4 * stream.max_age_ns)
        self._places = {name: place for place, name in enumerate(joint_names)}
        self._selections: dict[tuple[str, ...], tuple[Places, Places]] = {}

    def add(
        self,
        names: Sequence[str],
        positions: npt.NDArray[np.float64],
        *,
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        """Merge a message (n,) [rad] into the rows; joints of no interest are ignored.

        A message may be late, but not repeat a stamp of a joint; where the source's clock was
        set back by more than a second, the rows start afresh.
        """
        sources, places = self._select(tuple(names))
        if not places.size:
            if not self.stamps:
                self.stream.reject(self._strangers(names))
            return
        values = np.asarray(positions, dtype=np.float64)[sources]
        problem = self.stream.stamp_problem(stamp_ns, received_ns) or self._not_finite(
            places, values
        )
        if not problem and int(self.newest_ns[places].max()) - stamp_ns > RESTART_NS:
            self.clear()
        problem = problem or self._merge(places, values, stamp_ns, received_ns)
        if problem:
            self.stream.reject(problem)
        else:
            self.stream.accept(received_ns)

    def clear(self) -> None:
        """Forget every row."""
        self.stamps.clear()
        self.arrivals.clear()
        self.rows.clear()
        self.newest_ns[:] = 0
        self.newest[:] = np.nan
        self.stream.clear_rate()

    def _select(self, names: tuple[str, ...]) -> tuple[Places, Places]:
        """Where the robot's joints stand in a message, and in a row; remembered by its names."""
        selection = self._selections.get(names)
        if selection is None:
            sources = [i for i, name in enumerate(names) if name in self._places]
            places = [self._places[names[i]] for i in sources]
            selection = np.array(sources, dtype=np.intp), np.array(places, dtype=np.intp)
            if len(self._selections) >= _SELECTIONS_KEPT:
                self._selections.clear()
            self._selections[names] = selection
        return selection

    def _merge(
        self, places: Places, values: npt.NDArray[np.float64], stamp_ns: int, received_ns: int
    ) -> str:
        """Put values at their stamp; say why not where that is impossible."""
        if self.stamps and self.stamps[-1] - stamp_ns > self._span_ns:
            return f"{self.stream.topic}: stamp is far behind the other joints'; message dropped"
        row = bisect_left(self.stamps, stamp_ns)
        if row == len(self.stamps) or self.stamps[row] != stamp_ns:
            self.stamps.insert(row, stamp_ns)
            self.arrivals.insert(row, received_ns)
            self.rows.insert(row, np.full(len(self._places), np.nan))
        elif not np.isnan(self.rows[row][places]).any():
            return f"{self.stream.topic}: two messages with the same stamp; kept the first"
        self.rows[row][places] = values
        self.arrivals[row] = max(received_ns, self.arrivals[row])
        newer = stamp_ns >= self.newest_ns[places]
        self.newest_ns[places[newer]] = stamp_ns
        self.newest[places[newer]] = values[newer]
        self._trim()
        return ""

    def _trim(self) -> None:
        """Drop rows beyond the span, some at a time."""
        old = bisect_left(self.stamps, self.stamps[-1] - self._span_ns)
        old = max(old, len(self.stamps) - JOINT_ROWS_KEPT)
        if old > 0:
            del self.stamps[:old], self.arrivals[:old], self.rows[:old]

    def _not_finite(self, places: Places, values: npt.NDArray[np.float64]) -> str:
        if np.isfinite(values).all():
            return ""
        names = list(self._places)
        bad = ", ".join(
            names[place]
            for place, value in zip(places, values, strict=True)
            if not np.isfinite(value)
        )
        return f"{self.stream.topic}: position of {bad} is not finite; expected rad"

    def _strangers(self, names: Sequence[str]) -> str:
        return (
            f"{self.stream.topic}: message carries none of this robot's joints "
            f"({', '.join(self._places)}), but {', '.join(names) or 'others'}"
        )
