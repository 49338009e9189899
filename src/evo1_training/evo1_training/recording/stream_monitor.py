"""How all recorded topics do together, and whether a take may begin.

Looks at no more of an image than the stamp in its first bytes, but for one decoded frame of each
camera while a take waits to begin. Times are the node's clock [ns]. Not safe for threads. Must not
import ROS or torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evo1_policy.perception.messages import MessageError, decode_image, deserialize, read_joints
from evo1_policy.robot_config import JOINT_STREAM, CameraConfig, RobotConfig
from evo1_training.recording.cdr import JOINT_STATE, TRAJECTORY
from evo1_training.recording.episode import (
    EXTRA,
    GAP_STEPS,
    STATE,
    TELEOP,
    EpisodeError,
    RecordedTopic,
)
from evo1_training.recording.stream_watch import StreamCondition, StreamFigures, StreamWatch

MAX_UNUSABLE = 0.01  # of a topic's messages in a take that does not fail; the node's parameter
_MS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class JointRange:
    """How far one joint moved, and how far it was asked to move [rad]; negative: not told."""

    name: str
    moved: float
    asked: float


@dataclass(frozen=True, kw_only=True)
class WatchedTake:
    """What came in over a take, and all that its grade is given for.

    Attributes:
        started_ns: the node's clock [ns].
        ended_ns: likewise [ns].
        streams: one a topic.
        joints: how far they moved.
        fault: what ended the take before its time.
        recovered: whether it was cut off and made readable afterwards.
        max_unusable: a larger share of a topic's messages that cannot be used fails the take.
        notes: what else somebody should look at.
    """

    started_ns: int
    ended_ns: int
    streams: tuple[StreamFigures, ...]
    joints: tuple[JointRange, ...]
    fault: str = ""
    recovered: bool = False
    max_unusable: float = MAX_UNUSABLE
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Its length [s]."""
        return max(0, self.ended_ns - self.started_ns) / 1e9


class StreamMonitor:
    """All topics of a take.

    Args:
        robot: the robot file.
        topics: what is recorded, with roles.

    Raises:
        EpisodeError: a topic is recorded as a camera that the robot file has not.
    """

    def __init__(self, robot: RobotConfig, topics: Sequence[RecordedTopic]) -> None:
        self._joints = _JointWatch(robot)
        self._started_ns = 0
        self._robot = robot
        self._watches: dict[str, StreamWatch] = {}
        self.set_topics(topics)

    @property
    def topics(self) -> tuple[RecordedTopic, ...]:
        """What is watched."""
        return tuple(watch.topic for watch in self._watches.values())

    def set_topics(self, topics: Sequence[RecordedTopic]) -> None:
        """Watch these; those that were watched before go on."""
        self._watches = {
            topic.name: self._watches.get(topic.name) or self._watch(topic) for topic in topics
        }

    def add(self, topic: str, data: bytes, received_ns: int) -> None:
        """Look at a message; of an image the first 100 bytes are enough."""
        watch = self._watches[topic]
        watch.add(data, received_ns)
        try:
            if watch.topic.role == STATE:
                self._joints.add_state(data, topic)
                watch.accept()
            elif watch.topic.role == TELEOP:
                self._joints.add_target(data, topic)
                watch.accept()
        except MessageError as error:
            watch.reject(str(error))

    def set_notices(self, notices: Mapping[str, str]) -> None:
        """Say why nothing can come on some topics, by resolved name."""
        for name, watch in self._watches.items():
            watch.notice = notices.get(name, "")

    def newest(self, topic: str) -> bytes:
        """The last message of a camera or of the joint states; b'' where there is none."""
        return self._watches[topic].newest

    def reject(self, topic: str, problem: str) -> None:
        """Count the last message of a topic as one that cannot be used."""
        self._watches[topic].reject(problem)

    def lose(self, topic: str, count: int = 1) -> None:
        """Count messages of a topic that are known to be lost."""
        if topic in self._watches:
            self._watches[topic].lose(count)

    def begin(self, now_ns: int) -> None:
        """A take begins."""
        self._started_ns = now_ns
        self._joints.begin()
        for watch in self._watches.values():
            watch.begin(now_ns)

    def missing(self, now_ns: int) -> str:
        """Say what a take must wait for; '' where every required stream is alive and usable."""
        for watch in self._watches.values():
            if not watch.required:
                continue
            problem = watch.condition(now_ns, recording=False).problem or self._unusable(watch)
            if problem:
                return f"{watch.name}: {problem}"
        return ""

    def conditions(self, now_ns: int, *, recording: bool) -> list[StreamCondition]:
        """Tell how each topic does now."""
        return [watch.condition(now_ns, recording=recording) for watch in self._watches.values()]

    def skew_ms(self) -> float:
        """Largest stamp difference of the cameras' newest frames that belong together."""
        cameras = [watch.recent for watch in self._cameras()]
        if len(cameras) < 2 or not all(cameras):
            return 0.0
        newest_ns = min(stamps[-1] for stamps in cameras)
        nearest = [min(stamps, key=lambda s: abs(s - newest_ns)) for stamps in cameras]
        return (max(nearest) - min(nearest)) / _MS

    def end(self, now_ns: int) -> WatchedTake:
        """The take ends; what comes in later does not count."""
        watched = WatchedTake(
            started_ns=self._started_ns,
            ended_ns=now_ns,
            streams=tuple(watch.figures(now_ns) for watch in self._watches.values()),
            joints=tuple(self._joints.ranges()),
        )
        self.begin(now_ns)
        return watched

    def _cameras(self) -> list[StreamWatch]:
        return [
            watch for watch in self._watches.values() if watch.topic.role.startswith("camera:")
        ]

    def _unusable(self, watch: StreamWatch) -> str:
        """Decode a camera's newest frame, which is done only while a take waits to begin."""
        if not watch.topic.role.startswith("camera:"):
            return ""
        try:
            name = watch.topic.name
            decode_image(deserialize(watch.newest, watch.topic.type, topic=name), topic=name)
        except MessageError as error:
            return str(error)
        return ""

    def _watch(self, topic: RecordedTopic) -> StreamWatch:
        kind, _, name = topic.role.partition(":")
        if kind == "camera":
            camera = self._camera(name, topic)
            return StreamWatch(
                topic,
                name=name,
                max_age_ms=camera.max_age_ms,
                gap_ns=round(self._robot.step_ns * GAP_STEPS),
                required=True,
                stamp=camera.stamp,
            )
        if topic.role == STATE:
            max_age_ms = self._robot.state.max_age_ms
            return StreamWatch(
                topic,
                name=JOINT_STREAM,
                max_age_ms=max_age_ms,
                gap_ns=round(max_age_ms * _MS),
                required=True,
                stamp=self._robot.state.stamp,
            )
        return StreamWatch(topic, name=topic.name, max_age_ms=0.0, gap_ns=0, required=False)

    def _camera(self, name: str, topic: RecordedTopic) -> CameraConfig:
        for camera in self._robot.cameras:
            if camera.name == name:
                return camera
        raise EpisodeError(f"{topic.name}: recorded as camera '{name}', which no robot file names")


class _JointWatch:
    """Smallest and largest position of each joint, measured and asked for."""

    def __init__(self, robot: RobotConfig) -> None:
        self._names = robot.joint_names
        self.begin()

    def begin(self) -> None:
        """A take begins."""
        self._measured: dict[str, tuple[float, float]] = {}
        self._asked: dict[str, tuple[float, float]] = {}

    def add_state(self, data: bytes, topic: str) -> None:
        """Look at a serialised sensor_msgs/JointState.

        Raises:
            MessageError: it cannot be used: another type, NaN, a repeated name.
        """
        message = deserialize(data, JOINT_STATE, topic=topic)
        names, positions, _ = read_joints(message, topic=topic, joints=self._names)
        _widen(self._measured, names, positions.tolist())

    def add_target(self, data: bytes, topic: str) -> None:
        """Look at a serialised trajectory_msgs/JointTrajectory.

        Raises:
            MessageError: it cannot be used: another type, a wrong number of positions, NaN.
        """
        message = deserialize(data, TRAJECTORY, topic=topic)
        names = list(message.joint_names)
        for point in (message.points[0], message.points[-1]) if len(message.points) else ():
            positions = [float(position) for position in point.positions]
            if len(positions) != len(names):
                raise MessageError(
                    f"{topic}: a point has {len(positions)} positions for {len(names)} joints"
                )
            if not np.isfinite(positions).all():
                raise MessageError(f"{topic}: a position is not a finite number")
            _widen(self._asked, names, positions)

    def ranges(self) -> list[JointRange]:
        """Tell how far each joint moved."""
        untold = (0.0, -1.0)
        spans = [
            (name, self._measured.get(name, untold), self._asked.get(name, untold))
            for name in self._names
        ]
        return [
            JointRange(name=name, moved=moved[1] - moved[0], asked=asked[1] - asked[0])
            for name, moved, asked in spans
        ]


def _widen(
    ranges: dict[str, tuple[float, float]], names: Sequence[str], positions: Sequence[float]
) -> None:
    for name, position in zip(names, positions, strict=True):
        low, high = ranges.get(name, (position, position))
        ranges[name] = (min(low, position), max(high, position))


def robot_topics(robot: RobotConfig, names: Mapping[str, str]) -> list[RecordedTopic]:
    """List the topics of a robot file with their roles.

    Args:
        robot: the robot file.
        names: resolved name of each topic as written.
    """
    roles = [
        *((camera.topic, camera.type, f"camera:{camera.name}") for camera in robot.cameras),
        (robot.state.topic, JOINT_STATE, STATE),
        (robot.teleop_topic, TRAJECTORY, TELEOP),
        *(
            (command.topic, TRAJECTORY, f"command:{index}")
            for index, command in enumerate(robot.command)
        ),
    ]
    return [
        RecordedTopic(name=names.get(topic, topic), type=type_name, role=role)
        for topic, type_name, role in roles
    ]


def extra_topic(name: str, type_name: str, *, latched: bool) -> RecordedTopic:
    """Describe a topic that is recorded beside those of the robot file."""
    return RecordedTopic(name=name, type=type_name, role=EXTRA, latched=latched)
