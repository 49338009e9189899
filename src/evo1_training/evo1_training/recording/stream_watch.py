"""How one recorded topic does: rate, gaps, age, clock and losses, live and over a take.

Looks at no more of a message than the stamp in its first bytes. Times are the node's clock [ns].
Must not import ROS or torch.
"""

import math
import struct
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evo1_policy.perception.buffers import Stream
from evo1_policy.perception.messages import HEAD_BYTES, MessageError, head_stamp_ns
from evo1_training.recording.cdr import COMPRESSED, IMAGE, JOINT_STATE, TRAJECTORY
from evo1_training.recording.episode import RecordedTopic

_STAMPED = (IMAGE, COMPRESSED, JOINT_STATE, TRAJECTORY)
_MS = 1_000_000
_RATE_WINDOW_NS = 1_000_000_000
_RECENT = 8  # frames of a camera that the live skew looks at


@dataclass(frozen=True, kw_only=True)
class StreamCondition:
    """How one topic does now.

    Attributes:
        name: camera, 'joint_states', or the topic itself.
        topic: resolved name.
        role: as in episode.py.
        rate_hz: over the last second.
        age_ms: since the newest stamp; negative: it is ahead of the node's clock; NaN: none yet.
        offset_ms: median of arrival minus stamp over the last two seconds.
        max_age_ms: beyond it the stream is stale; 0: not bounded.
        received: messages since the node was activated.
        rejected: those that could not be used.
        max_gap_ms: longest time between two messages of the running take.
        lost: known lost in the running take.
        problem: what is wrong now; empty where nothing is.
    """

    name: str
    topic: str
    role: str
    rate_hz: float
    age_ms: float
    offset_ms: float
    max_age_ms: float
    received: int
    rejected: int
    max_gap_ms: float
    lost: int
    problem: str


@dataclass(kw_only=True)
class StreamFigures:
    """How one topic does over a take; grown by its StreamWatch, complete with the take's end.

    Attributes:
        name: camera, 'joint_states', or the topic itself.
        topic: resolved name.
        role: as in episode.py.
        messages: received.
        lost: known lost.
        rejected: could not be used.
        rejection: why the first one could not.
        disordered: stamps that did not go forward.
        rate_hz: by stamps, from first to last.
        max_gap_ms: longest time without, the take's beginning and end included.
        gaps: how often there was more than the stream's bound between two messages.
        bound_ms: that bound; 0: none.
        end_gap_ms: from the last message to the end of the take.
        offset_ms: median of arrival minus stamp.
        max_age_ms: how old its messages may be; 0: not bounded.
        stamps: of cameras, in order [ns].
        sizes: of raw images, (width, height), each once [px].
    """

    name: str
    topic: str
    role: str
    messages: int = 0
    lost: int = 0
    rejected: int = 0
    rejection: str = ""
    disordered: int = 0
    rate_hz: float = 0.0
    max_gap_ms: float = 0.0
    gaps: int = 0
    bound_ms: float = 0.0
    end_gap_ms: float = 0.0
    offset_ms: float = 0.0
    max_age_ms: float = 0.0
    stamps: Sequence[int] = ()
    sizes: Sequence[tuple[int, int]] = ()


class StreamWatch:
    """One topic.

    Args:
        topic: what is watched.
        name: of the stream, for people.
        max_age_ms: beyond it the stream is stale; 0: not bounded.
        gap_ns: more than this between two messages is a gap; 0: not bounded [ns].
        required: whether a take waits for it.
        stamp: 'header', or 'arrival' where the robot file says so.
    """

    def __init__(
        self,
        topic: RecordedTopic,
        *,
        name: str,
        max_age_ms: float,
        gap_ns: int,
        required: bool,
        stamp: str = "header",
    ) -> None:
        self.topic = topic
        self.name = name
        self.required = required
        self.max_age_ms = max_age_ms
        self.newest_ns: int | None = None
        self.received_ns: int | None = None
        self.recent: deque[int] = deque(maxlen=_RECENT)
        self.newest: bytes = b""  # the last message, to look whether it can be used
        self.problem = ""
        self.notice = ""  # why nothing comes, where somebody knows
        self._gap_ns = gap_ns
        self._stamped = topic.type in _STAMPED
        self._clock = Stream(name, topic.name, round(max_age_ms * _MS), stamp)
        self._arrivals: deque[int] = deque()
        self._received = 0
        self._rejected = 0
        self.begin(0)

    def add(self, data: bytes, received_ns: int) -> None:
        """Look at a message."""
        self._received += 1
        self._arrivals.append(received_ns)
        self._forget(received_ns)
        stamp_ns = self._stamp_ns(data, received_ns)
        self._take.messages += 1
        self.received_ns = received_ns
        if self.required:
            self.newest = data
        problem = self._clock.stamp_problem(stamp_ns, received_ns) if self.required else ""
        if problem:
            self.reject(problem)
            return
        self._clock.accept(stamp_ns, received_ns)
        if self.max_age_ms:
            self._offsets.append(received_ns - stamp_ns)
        if self.topic.type == IMAGE and (size := cdr_image_size(data)) is not None:
            self._sizes.add(size)
        self._advance(stamp_ns)

    def reject(self, problem: str) -> None:
        """Count the last message as unusable."""
        self._rejected += 1
        self.problem = problem
        self._take.rejected += 1
        self._take.rejection = self._take.rejection or problem

    def accept(self) -> None:
        """The last message can be used."""
        self.problem = ""

    def lose(self, count: int) -> None:
        """Count messages that are known to be lost."""
        self._take.lost += count

    def begin(self, now_ns: int) -> None:
        """A take begins."""
        self._take = StreamFigures(
            name=self.name,
            topic=self.topic.name,
            role=self.topic.role,
            bound_ms=self._gap_ns / _MS,
            max_age_ms=self.max_age_ms,
        )
        self._begun = False  # a usable message so far
        self._first_ns = self._last_ns = now_ns
        self._stamps, self._offsets = array("q"), array("q")  # offsets: arrival minus stamp
        self._sizes: set[tuple[int, int]] = set()

    def age_ms(self, now_ns: int) -> float:
        """Time since the newest stamp; negative: it is ahead of `now_ns`; NaN: none yet."""
        return math.nan if self.newest_ns is None else (now_ns - self.newest_ns) / _MS

    def condition(self, now_ns: int, *, recording: bool) -> StreamCondition:
        """Tell how the topic does now."""
        self._forget(now_ns)
        return StreamCondition(
            name=self.name,
            topic=self.topic.name,
            role=self.topic.role,
            rate_hz=len(self._arrivals) / (_RATE_WINDOW_NS / 1e9),
            age_ms=self.age_ms(now_ns),
            offset_ms=self._clock.offset_ns(now_ns) / _MS,
            max_age_ms=self.max_age_ms,
            received=self._received,
            rejected=self._rejected,
            max_gap_ms=self._take.max_gap_ms if recording else 0.0,
            lost=self._take.lost if recording else 0,
            problem=self.problem or self._staleness(now_ns),
        )

    def figures(self, end_ns: int) -> StreamFigures:
        """Tell how the topic did over the take that ends now."""
        take, span_ns = self._take, self._last_ns - self._first_ns
        count = take.messages - take.rejected
        end_gap_ms = max(0, end_ns - self._last_ns) / _MS
        last_gap = 0 < take.bound_ms < end_gap_ms - self.max_age_ms
        return replace(
            take,
            rate_hz=(count - 1) * 1e9 / span_ns if count > 1 and span_ns > 0 else 0.0,
            max_gap_ms=max(take.max_gap_ms, end_gap_ms if last_gap else 0.0),
            gaps=take.gaps + last_gap,
            end_gap_ms=end_gap_ms,
            stamps=self._stamps,
            offset_ms=float(np.median(self._offsets)) / _MS if self._offsets else 0.0,
            sizes=sorted(self._sizes),
        )

    def _advance(self, stamp_ns: int) -> None:
        take, gap_ns = self._take, stamp_ns - self._last_ns
        if self._begun and gap_ns <= 0:
            take.disordered += 1
            if gap_ns == 0:
                return
        take.max_gap_ms = max(take.max_gap_ms, gap_ns / _MS)
        if not self._begun:
            self._begun, self._first_ns = True, stamp_ns
        else:
            take.gaps += 0 < self._gap_ns < gap_ns
        self._last_ns = self.newest_ns = stamp_ns
        if self.topic.role.startswith("camera:"):
            self.recent.append(stamp_ns)
            self._stamps.append(stamp_ns)

    def _staleness(self, now_ns: int) -> str:
        age_ms = self.age_ms(now_ns)
        if not self.max_age_ms:
            return ""
        if self.newest_ns is None or self.received_ns is None:
            return self.notice or f"nothing received on {self.topic.name}"
        alive = now_ns - self.received_ns <= self.max_age_ms * _MS
        if alive and (clock := self._clock.clock_problem(now_ns)):
            return clock
        if age_ms > self.max_age_ms:
            return (
                f"{self.topic.name}: newest stamp is {age_ms:.0f} ms old, allowed are "
                f"{self.max_age_ms:.0f} ms"
            )
        return ""

    def _stamp_ns(self, data: bytes, received_ns: int) -> int:
        """The time that a message is taken to be of; 0 where it has none [ns]."""
        if not self._stamped:
            return received_ns
        try:
            stamp_ns = head_stamp_ns(data, topic=self.topic.name)
        except MessageError:
            stamp_ns = 0
        if stamp_ns <= 0 and not self.required:
            return received_ns  # a trajectory without a stamp means now
        return self._clock.time_of(stamp_ns, received_ns)

    def _forget(self, now_ns: int) -> None:
        while self._arrivals and not 0 <= now_ns - self._arrivals[0] < _RATE_WINDOW_NS:
            self._arrivals.popleft()


def cdr_image_size(data: bytes) -> tuple[int, int] | None:
    """Read (width, height) of a serialised sensor_msgs/Image; None: unreadable [px]."""
    if len(data) < HEAD_BYTES:
        return None
    order = "<" if data[1] & 1 else ">"
    try:
        (length,) = struct.unpack_from(f"{order}I", data, HEAD_BYTES)  # of the frame's name
        place = (HEAD_BYTES + 4 + length + 3) // 4 * 4  # numbers begin at multiples of 4
        height, width = struct.unpack_from(f"{order}II", data, place)
    except struct.error:
        return None
    return int(width), int(height)
