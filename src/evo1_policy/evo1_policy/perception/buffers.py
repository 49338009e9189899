"""Bounded buffers of what arrived on one topic, sorted by stamp, with rate, clock and rejects.

Must not import ROS or torch.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.perception.colour import Image
from evo1_policy.perception.frames import Frame

FRAME_SPAN_NS = 2_000_000_000
FRAME_BYTES_KEPT = 64_000_000  # of one camera, as they came
FRAMES_KEPT_ALWAYS = 4  # however large they are: the nearest to a tick, and what settles it
JOINT_SPAN_NS = 2_000_000_000
JOINT_ROWS_KEPT = 4096
RATE_WINDOW_NS = 2_000_000_000
MAX_AHEAD_NS = 1_000_000_000  # a stamp further in the future is of no use at all
# Stamps ahead of their arrival are of another clock, or ours is coarse. An arm at 1.5 rad/s moves
# 75 mrad in this time; beyond, images would be paired with joints of another moment.
MAX_OFFSET_NS = 50_000_000
_BOOT_NS = 365 * 86_400 * 1_000_000_000  # a stamp so far back is time since boot
_OFFSET_FRESH_NS = 100_000_000
RESTART_NS = 1_000_000_000  # a stamp further back means that the source's clock was set back
_GOOD_MESSAGES = 30  # in a row, before a problem is over
_SELECTIONS_KEPT = 64  # names that never repeat must not fill the memory

ARRIVAL_ADVICE = "let its driver fill header.stamp, or set stamp: arrival in the robot file"
CLOCK_ADVICE = (
    "synchronise with chrony or ptp, or set stamp: arrival in the robot file (a simulation that "
    "is slower than real time falls behind, too)"
)

Places = npt.NDArray[np.intp]


class Stream:
    """Name, bound, clock and counters of one topic.

    Args:
        name: a camera's name, or 'joint_states'.
        topic: where it comes from, for messages.
        max_age_ns: beyond it the stream is stale [ns].
        stamp: 'header', or 'arrival' where the time of arrival stands for the header's stamp.
        live: whether arrivals are of a clock that runs; a bag of a simulation may have any other.
    """

    def __init__(
        self, name: str, topic: str, max_age_ns: int, stamp: str = "header", *, live: bool = True
    ) -> None:
        self.name = name
        self.topic = topic
        self.max_age_ns = max_age_ns
        self.received = 0
        self.rejected = 0
        self._by_arrival = stamp == "arrival"
        self._live = live
        self._problem = ""
        self._good = 0
        self._arrivals: deque[int] = deque(maxlen=JOINT_ROWS_KEPT)
        self._offsets: deque[int] = deque(maxlen=JOINT_ROWS_KEPT)  # one an arrival
        self._offset = (0, 0)  # when it was looked at, and what it was [ns]

    @property
    def problem(self) -> str:
        """What was wrong with the last rejected message; empty after 30 good ones in a row."""
        return self._problem if self._good < _GOOD_MESSAGES else ""

    def time_of(self, stamp_ns: int, received_ns: int) -> int:
        """The time that a message is taken to be of: its stamp, or its arrival [ns]."""
        return received_ns if self._by_arrival else stamp_ns

    def accept(self, stamp_ns: int, received_ns: int) -> None:
        """Count a usable message."""
        self.received += 1
        self._good += 1
        self._arrivals.append(received_ns)
        self._offsets.append(received_ns - stamp_ns)

    def reject(self, problem: str) -> None:
        """Count an unusable message and remember why."""
        self.received += 1
        self.spoil(problem)

    def spoil(self, problem: str) -> None:
        """A message that was counted as usable is not."""
        self.rejected += 1
        self._good = 0
        self._problem = problem

    def rate_hz(self, now_ns: int) -> float:
        """Usable messages a second over the last two seconds."""
        self._forget(now_ns)
        intervals = len(self._arrivals) - 1
        if intervals < 1 or self._arrivals[-1] <= self._arrivals[0]:
            return 0.0
        span_ns = self._arrivals[-1] - self._arrivals[0]
        silent_ns = now_ns - self._arrivals[-1]
        if silent_ns > 3 * span_ns / intervals:
            span_ns += silent_ns  # a stream that died shows a falling rate at once
        return 1e9 * intervals / span_ns

    def offset_ns(self, now_ns: int) -> int:
        """Median of arrival minus stamp over the last two seconds [ns]; 0 where nothing came.

        It is the transport, and how far the clock of the stamps is behind ours.
        """
        looked_ns, offset_ns = self._offset
        if not 0 <= now_ns - looked_ns < _OFFSET_FRESH_NS:
            self._forget(now_ns)
            offset_ns = int(np.median(self._offsets)) if self._offsets else 0
            self._offset = (now_ns if self._offsets else 0, offset_ns)
        return offset_ns

    def clear_rate(self) -> None:
        """Forget when messages arrived; the counters stay."""
        self._arrivals.clear()
        self._offsets.clear()
        self._offset = (0, 0)

    def stamp_problem(self, stamp_ns: int, received_ns: int) -> str:
        """Say what is wrong with a stamp on its own, empty where nothing is."""
        ahead_ns = stamp_ns - received_ns
        if stamp_ns <= 0:
            return f"{self.topic}: message without a stamp; {ARRIVAL_ADVICE}"
        if self._live and -ahead_ns > _BOOT_NS:
            return (
                f"{self.topic}: stamped {stamp_ns / 1e9:.0f} s, the time since its driver's boot, "
                f"which is no clock's time; {ARRIVAL_ADVICE}"
            )
        if ahead_ns > MAX_AHEAD_NS:
            return (
                f"{self.topic}: stamp is {ahead_ns / 1e9:.1f} s in the future; {CLOCK_ADVICE}, "
                "or set use_sim_time the same everywhere"
            )
        return ""

    def clock_problem(self, now_ns: int) -> str:
        """Say how far the clock of the stamps is from this node's, empty where that may be."""
        return clock_problem(self.topic, self.offset_ns(now_ns), max_age_ns=self.max_age_ns)

    def _forget(self, now_ns: int) -> None:
        while self._arrivals and now_ns - self._arrivals[0] > RATE_WINDOW_NS:
            self._arrivals.popleft()
            self._offsets.popleft()


def clock_problem(topic: str, offset_ns: int, *, max_age_ns: int) -> str:
    """Say what the median of arrival minus stamp means, empty where it is within bounds.

    Args:
        topic: of the stream.
        offset_ns: that median [ns].
        max_age_ns: how old the stream's messages may be [ns].
    """
    if offset_ns < -MAX_OFFSET_NS:
        return (
            f"clock of {topic} is {-offset_ns / 1e6:.0f} ms ahead of this node's; {CLOCK_ADVICE}"
        )
    if 0 < max_age_ns < offset_ns:
        return (
            f"clock of {topic} is {offset_ns / 1e6:.0f} ms behind this node's, or its transport "
            f"takes so long; {CLOCK_ADVICE}"
        )
    return ""


class FrameBuffer:
    """The last frames of one camera, within a time and a size; references, no copies."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stamps: list[int] = []
        self.arrivals: list[int] = []
        self.frames: list[Frame | Image] = []
        self._bytes = 0

    def add(self, frame: Frame | Image, *, stamp_ns: int, received_ns: int) -> None:
        """Append a frame; one that is not newer than the last is rejected.

        A camera whose clock was set back by more than a second starts afresh.
        """
        stamp_ns = self.stream.time_of(stamp_ns, received_ns)
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
        self.stream.accept(stamp_ns, received_ns)
        self.stamps.append(stamp_ns)
        self.arrivals.append(received_ns)
        self.frames.append(frame)
        self._bytes += frame.nbytes
        while len(self.stamps) > FRAMES_KEPT_ALWAYS and (
            stamp_ns - self.stamps[0] > FRAME_SPAN_NS or self._bytes > FRAME_BYTES_KEPT
        ):
            self._drop(0)

    def spoil(self, stamp_ns: int, problem: str) -> None:
        """Drop a frame that turned out to be no picture when somebody looked."""
        place = bisect_left(self.stamps, stamp_ns)
        if place < len(self.stamps) and self.stamps[place] == stamp_ns:
            self._drop(place)
        self.stream.spoil(problem)

    def _drop(self, place: int) -> None:
        self._bytes -= self.frames[place].nbytes
        del self.stamps[place], self.arrivals[place], self.frames[place]

    def clear(self) -> None:
        """Forget every frame."""
        self._bytes = 0
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
        self.rows: list[Floats] = []
        self.newest_ns = np.zeros(len(joint_names), dtype=np.int64)  # 0: never
        self.newest = np.full(len(joint_names), np.nan)
        self._span_ns = max(JOINT_SPAN_NS, 4 * stream.max_age_ns)
        self._places = {name: place for place, name in enumerate(joint_names)}
        self._selections: dict[tuple[str, ...], tuple[Places, Places]] = {}

    def add(
        self,
        names: Sequence[str],
        positions: Floats,
        *,
        stamp_ns: int,
        received_ns: int,
    ) -> None:
        """Merge a message (n,) [rad], finite, into the rows; joints of no interest are ignored.

        A message may be late, but not repeat a stamp of a joint; where the source's clock was
        set back by more than a second, the rows start afresh.
        """
        sources, places = self._select(tuple(names))
        if not places.size:
            if not self.stamps:
                self.stream.reject(self._strangers(names))
            return
        values = np.asarray(positions, dtype=np.float64)[sources]
        stamp_ns = self.stream.time_of(stamp_ns, received_ns)
        problem = self.stream.stamp_problem(stamp_ns, received_ns)
        if not problem and int(self.newest_ns[places].max()) - stamp_ns > RESTART_NS:
            self.clear()
        problem = problem or self._merge(places, values, stamp_ns, received_ns)
        if problem:
            self.stream.reject(problem)
        else:
            self.stream.accept(stamp_ns, received_ns)

    def clear(self) -> None:
        """Forget every row."""
        self.stamps.clear()
        self.arrivals.clear()
        self.rows.clear()
        self.newest_ns[:] = 0
        self.newest[:] = np.nan
        self.stream.clear_rate()

    @property
    def parts(self) -> int:
        """In how many kinds of messages the joints come; 1 where two kinds have one joint."""
        kinds = {tuple(places.tolist()) for _, places in self._selections.values() if places.size}
        joints = [place for kind in kinds for place in kind]
        return len(kinds) if len(set(joints)) == len(joints) else 1

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

    def _merge(self, places: Places, values: Floats, stamp_ns: int, received_ns: int) -> str:
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

    def _strangers(self, names: Sequence[str]) -> str:
        return (
            f"{self.stream.topic}: message carries none of this robot's joints "
            f"({', '.join(self._places)}), but {', '.join(names) or 'others'}"
        )
