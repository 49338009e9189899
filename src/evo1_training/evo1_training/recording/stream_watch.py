"""How one recorded topic does: rate, gaps, age, clock and losses, live and over a take.

Looks at no more of a message than the stamp in its first bytes. Times are the node's clock [ns].
Must not import ROS or torch.
"""

import math
import struct
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evo1_policy.perception.buffers import Stream
from evo1_policy.perception.messages import HEAD_BYTES, MessageError, head_stamp_ns
from evo1_training.recording.episode import RecordedTopic

IMAGE_TYPE = "sensor_msgs/msg/Image"
STAMPED_TYPES = (
    IMAGE_TYPE,
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/JointState",
    "trajectory_msgs/msg/JointTrajectory",
)
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


@dataclass(frozen=True, kw_only=True)
class StreamFigures:
    """How one topic did over a take.

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
    messages: int
    lost: int
    rejected: int
    rejection: str
    disordered: int
    rate_hz: float
    max_gap_ms: float
    gaps: int
    bound_ms: float
    end_gap_ms: float
    stamps: Sequence[int]
    offset_ms: float = 0.0
    max_age_ms: float = 0.0
    sizes: Sequence[tuple[int, int]] = ()


@dataclass(kw_only=True)
class _Counters:
    """Of one topic over one take."""

    begun: bool = False  # a usable message so far
    messages: int = 0
    lost: int = 0
    rejected: int = 0
    rejection: str = ""
    disordered: int = 0
    gaps: int = 0
    max_gap_ns: int = 0
    first_ns: int = 0
    last_ns: int = 0
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))  # arrival minus stamp
    sizes: set[tuple[int, int]] = field(default_factory=set)


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
        self._stamped = topic.type in STAMPED_TYPES
        self._clock = Stream(name, topic.name, round(max_age_ms * _MS), stamp)
        self._arrivals: deque[int] = deque()
        self._received = 0
        self._rejected = 0
        self._take = _Counters()

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
            self._take.offsets.append(received_ns - stamp_ns)
        if self.topic.type == IMAGE_TYPE and (size := cdr_image_size(data)) is not None:
            self._take.sizes.add(size)
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
        self._take = _Counters(first_ns=now_ns, last_ns=now_ns)

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
            max_gap_ms=self._take.max_gap_ns / _MS if recording else 0.0,
            lost=self._take.lost if recording else 0,
            problem=self.problem or self._staleness(now_ns),
        )

    def figures(self, end_ns: int) -> StreamFigures:
        """Tell how the topic did over the take that ends now."""
        take = self._take
        count = take.messages - take.rejected
        end_gap_ns = max(0, end_ns - take.last_ns)
        last_gap = self._gap_ns > 0 and end_gap_ns > self._gap_ns + self.max_age_ms * _MS
        span_ns = take.last_ns - take.first_ns
        return StreamFigures(
            name=self.name,
            topic=self.topic.name,
            role=self.topic.role,
            messages=take.messages,
            lost=take.lost,
            rejected=take.rejected,
            rejection=take.rejection,
            disordered=take.disordered,
            rate_hz=(count - 1) * 1e9 / span_ns if count > 1 and span_ns > 0 else 0.0,
            max_gap_ms=max(take.max_gap_ns, end_gap_ns if last_gap else 0) / _MS,
            gaps=take.gaps + last_gap,
            bound_ms=self._gap_ns / _MS,
            end_gap_ms=end_gap_ns / _MS,
            stamps=take.stamps,
            offset_ms=float(np.median(take.offsets)) / _MS if take.offsets else 0.0,
            max_age_ms=self.max_age_ms,
            sizes=sorted(take.sizes),
        )

    def _advance(self, stamp_ns: int) -> None:
        take = self._take
        if take.begun and stamp_ns <= take.last_ns:
            take.disordered += 1
            if stamp_ns == take.last_ns:
                return
        if not take.begun:
            take.begun = True
            take.max_gap_ns = max(0, stamp_ns - take.first_ns)
            take.first_ns = stamp_ns
        else:
            gap_ns = stamp_ns - take.last_ns
            take.max_gap_ns = max(take.max_gap_ns, gap_ns)
            take.gaps += 0 < self._gap_ns < gap_ns
        take.last_ns = stamp_ns
        self.newest_ns = stamp_ns
        if self.topic.role.startswith("camera:"):
            self.recent.append(stamp_ns)
            take.stamps.append(stamp_ns)

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
