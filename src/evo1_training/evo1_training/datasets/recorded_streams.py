"""The cameras' and joints' stamps of a recording, taken by the rules of the live node.

Each message goes through the same buffers as live (FrameBuffer, JointBuffer), in the order of
arrival, so the same messages are rejected. Of images only the stamp is read.
Must not import ROS or torch. Letters: C cameras, D joints, R rows.
"""

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evo1_policy.perception.buffers import FrameBuffer, JointBuffer, Stream
from evo1_policy.perception.messages import (
    MessageError,
    decode_image,
    deserialize,
    head_stamp_ns,
    read_joints,
    stamp_ns,
)
from evo1_policy.robot_config import JOINT_STREAM, CameraConfig, RobotConfig, StateConfig
from evo1_training.recording.bag_reader import Episode
from evo1_training.recording.cdr import JOINT_STATE
from evo1_training.recording.episode import STATE, EpisodeError
from evo1_training.recording.mcap_records import RawMessage, Wanted

_MS = 1_000_000
_ROWS_OPEN = 4096  # joint rows that are kept as they are, before older ones are packed
_NO_IMAGE = np.empty((0, 0, 3), np.uint8)

Times = npt.NDArray[np.int64]


@dataclass(kw_only=True)
class Rejections:
    """Counts of messages by topic, with the first problem of each."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, topic: str, problem: str) -> None:
        """Count a message that cannot be used; `problem` is for people."""
        self.counts[topic] = self.counts.get(topic, 0) + 1
        self.problems.setdefault(topic, problem)

    def lines(self) -> tuple[str, ...]:
        """One line a topic."""
        return tuple(
            f"{topic}: {count} message{'s' if count > 1 else ''} rejected, as live: "
            f"{self.problems[topic].removeprefix(f'{topic}: ')}"
            for topic, count in self.counts.items()
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedStreams:
    """What a recording has to offer for alignment.

    Attributes:
        frame_stamps: C arrays, increasing [ns].
        frame_arrivals: C arrays, when those frames were received [ns].
        joint_stamps: (R,) increasing [ns].
        joint_rows: (R, D) float64 [rad], NaN where no message of that stamp carried a joint.
        offsets_ms: median of arrival minus stamp, by camera, and of the joint states.
        rejections: messages that the live node would have rejected, too.
    """

    frame_stamps: tuple[Times, ...]
    frame_arrivals: tuple[Times, ...]
    joint_stamps: Times
    joint_rows: npt.NDArray[np.float64]
    offsets_ms: dict[str, float]
    rejections: Rejections


def read_streams(episode: Episode, *, decode: bool = False) -> RecordedStreams:
    """Read the stamps of every camera frame, and all joint positions.

    Args:
        episode: the recording.
        decode: decode every image, too, and reject those that cannot be; costs as much as
            converting, and is needed only where a frame turned out to be corrupt.

    Raises:
        EpisodeError: a stream is missing or has another type, its clock was set back, or the bag
            is damaged.
    """
    robot = episode.robot
    rejections = Rejections()
    cameras = {
        camera_topic(episode, camera): _Camera(camera, rejections, decode=decode)
        for camera in robot.cameras
    }
    state = episode.topic(STATE)
    if state is None:
        raise EpisodeError(f"{episode.folder}: no topic was recorded for '{robot.state.topic}'")
    joints = _Joints(robot, state.name, rejections)
    wanted = Wanted(
        topics=frozenset([*cameras, state.name]),
        head_only=frozenset() if decode else frozenset(cameras),
    )
    try:
        for message in episode.read(wanted):
            (cameras.get(message.topic) or joints).add(message)
        for camera in cameras.values():
            camera.check_any()
        joints.check_any()
    except _StreamError as error:
        raise EpisodeError(f"{episode.bag}: {error}") from error
    stamps, rows = joints.finish()
    return RecordedStreams(
        frame_stamps=tuple(np.array(camera.stamps, np.int64) for camera in cameras.values()),
        frame_arrivals=tuple(np.array(camera.arrivals, np.int64) for camera in cameras.values()),
        joint_stamps=stamps,
        joint_rows=rows,
        offsets_ms={
            **{camera.name: _median_ms(camera.offsets) for camera in cameras.values()},
            JOINT_STREAM: _median_ms(joints.offsets),
        },
        rejections=rejections,
    )


def camera_topic(episode: Episode, camera: CameraConfig) -> str:
    """Return the resolved topic of a camera.

    Raises:
        EpisodeError: it was not recorded.
    """
    topic = episode.topic(f"camera:{camera.name}")
    if topic is None:
        raise EpisodeError(
            f"{episode.folder}: camera '{camera.name}' ({camera.topic}) was not recorded"
        )
    return topic.name


class _StreamError(ValueError):
    """A stream that cannot be used; the text names the topic."""


class _Camera:
    """One camera's frames."""

    def __init__(self, camera: CameraConfig, rejections: Rejections, *, decode: bool) -> None:
        self.stamps = array("q")
        self.arrivals = array("q")
        self.offsets = array("q")  # arrival minus stamp
        self.name = camera.name
        self._camera = camera
        self._topic = camera.topic
        self._rejections = rejections
        self._decode = decode
        self._buffer: FrameBuffer | None = None

    def add(self, message: RawMessage) -> None:
        _check_type(message, self._camera.type)
        self._topic = message.topic
        if self._buffer is None:
            stream = Stream(self._camera.name, message.topic, 0, self._camera.stamp, live=False)
            self._buffer = FrameBuffer(stream)
        stream = self._buffer.stream
        rejected = stream.rejected
        try:
            stamp = self._stamp(message)
        except MessageError as error:
            stream.reject(str(error))
        else:
            self._buffer.add(_NO_IMAGE, stamp_ns=stamp, received_ns=message.log_ns)
        if stream.rejected > rejected:
            self._rejections.add(message.topic, stream.problem)
            return
        stamp = self._buffer.stamps[-1]
        if self.stamps and stamp < self.stamps[-1]:
            raise _StreamError(_set_back(message.topic, self.stamps[-1] - stamp))
        self.stamps.append(stamp)
        self.arrivals.append(message.log_ns)
        self.offsets.append(message.log_ns - stamp)

    def check_any(self) -> None:
        if not self.stamps:
            raise _StreamError(_none_usable(self._topic, self._rejections))

    def _stamp(self, message: RawMessage) -> int:
        if not self._decode:
            return time_ns(message, self._camera)
        image = deserialize(message.data, message.type, topic=message.topic)
        decode_image(image, topic=message.topic)
        return stamp_ns(image.header.stamp)


class _Joints:
    """All joint positions, merged by the live node's buffer and kept beyond its span."""

    def __init__(self, robot: RobotConfig, topic: str, rejections: Rejections) -> None:
        stream = Stream(
            JOINT_STREAM, topic, round(robot.state.max_age_ms * _MS), robot.state.stamp, live=False
        )
        self._names = robot.joint_names
        self._topic = topic
        self._rejections = rejections
        self._buffer = JointBuffer(stream, robot.joint_names)
        self._open: dict[int, npt.NDArray[np.float64]] = {}
        self._packed: list[tuple[Times, npt.NDArray[np.float64]]] = []
        self._newest_ns = 0
        self.offsets = array("q")

    def add(self, message: RawMessage) -> None:
        _check_type(message, JOINT_STATE)
        buffer, stream = self._buffer, self._buffer.stream
        rejected, received = stream.rejected, stream.received
        try:
            names, positions, stamp = read_joints(
                deserialize(message.data, JOINT_STATE, topic=self._topic),
                topic=self._topic,
                joints=self._names,
            )
        except MessageError as error:
            stream.reject(str(error))
        else:
            buffer.add(names, positions, stamp_ns=stamp, received_ns=message.log_ns)
        if stream.rejected > rejected:
            self._rejections.add(self._topic, stream.problem)
            return
        if stream.received == received:
            return  # carries none of this robot's joints
        if buffer.stamps[-1] < self._newest_ns:
            raise _StreamError(_set_back(self._topic, self._newest_ns - buffer.stamps[-1]))
        self._newest_ns = buffer.stamps[-1]
        stamp = stream.time_of(stamp, message.log_ns)
        self.offsets.append(message.log_ns - stamp)
        row = bisect_left(buffer.stamps, stamp)
        if row < len(buffer.stamps) and buffer.stamps[row] == stamp:
            self._open[stamp] = buffer.rows[row]  # the buffer fills in what comes later
        if len(self._open) > 2 * _ROWS_OPEN:
            self._pack(buffer.stamps[0])

    def check_any(self) -> None:
        if not self._open and not self._packed:
            raise _StreamError(_none_usable(self._topic, self._rejections))

    def finish(self) -> tuple[Times, npt.NDArray[np.float64]]:
        """Return the stamps (R,) and rows (R, D)."""
        self._pack(self._newest_ns + 1)
        return (
            np.concatenate([stamps for stamps, _ in self._packed]),
            np.concatenate([rows for _, rows in self._packed]),
        )

    def _pack(self, before_ns: int) -> None:
        """Put rows that no message changes any more into arrays."""
        done = sorted(stamp for stamp in self._open if stamp < before_ns)
        if done:
            rows = np.stack([self._open.pop(stamp) for stamp in done])
            self._packed.append((np.array(done, np.int64), rows))


def time_ns(message: RawMessage, source: CameraConfig | StateConfig) -> int:
    """The time that a message is taken to be of, without reading more than its first bytes [ns].

    Args:
        message: as recorded.
        source: what the robot file says of its stream.

    Raises:
        MessageError: it is too short.
    """
    if source.stamp == "arrival":
        return message.log_ns
    return head_stamp_ns(message.data, topic=message.topic)


def type_problem(message: RawMessage, expected: str) -> str:
    """Why a message is not of the type that the robot file names; empty where it is."""
    if message.type == expected:
        return ""
    return (
        f"{message.topic} carries {message.type}; expected {expected} by the robot file: "
        "correct its type or topic, and record again"
    )


def _check_type(message: RawMessage, expected: str) -> None:
    problem = type_problem(message, expected)
    if problem:
        raise _StreamError(problem)


def _median_ms(offsets: "array[int]") -> float:
    return round(float(np.median(np.array(offsets, np.int64))) / _MS, 3)


def _set_back(topic: str, back_ns: int) -> str:
    return (
        f"{topic}: the clock of its stamps was set back by {back_ns / 1e9:.1f} s during the take; "
        "times before and after cannot be compared: synchronise the clocks and record again"
    )


def _none_usable(topic: str, rejections: Rejections) -> str:
    problem = rejections.problems.get(topic, "")
    if problem:
        return f"no message on {topic} can be used: {problem}"
    return f"no message on {topic} was recorded; was its driver running?"
