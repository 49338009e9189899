"""The observations that recorded chunks were made from, out of the bag's messages.

Messages go through the live node's own decoding and buffers (perception), in the order of arrival;
then the live rule of alignment says what belongs to a chunk's tick. Must not import ROS or torch.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evo1_policy.observation import Missing, Observation
from evo1_policy.perception.frames import DamagedImageError, Frame, decoded
from evo1_policy.perception.messages import (
    MessageError,
    deserialize,
    read_joints,
    stamp_ns,
)
from evo1_policy.perception.streams import Streams
from evo1_policy.replay.bag import BagMessage, BagTopics
from evo1_policy.replay.recorded_chunk import RecordedChunk
from evo1_policy.robot_config import JOINT_STREAM, RobotConfig

# How far all streams, or the first of them, must be beyond a tick before it is looked at: parts
# of a joint state may come late. The buffers hold more than that.
SETTLE_NS = 200_000_000
PATIENCE_NS = 800_000_000


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Why the observation of a chunk cannot be made again."""

    reason: str


class BagStreams:
    """Takes in a bag's messages as the policy node does.

    Args:
        robot: the robot file.
        topics: where its streams are in the bag.
    """

    def __init__(self, robot: RobotConfig, topics: BagTopics) -> None:
        self._robot = robot
        self._topics = topics
        self._streams = Streams(robot)
        self._newest_ns = dict.fromkeys(topics.sensors, 0)
        self._oldest_ns: dict[str, int] = {}

    def add(self, message: BagMessage) -> None:
        """Take in a message of a camera or the joints; one that cannot be used is left out."""
        camera = self._topics.cameras.get(message.topic, JOINT_STREAM)
        try:
            content = deserialize(message.data, message.type, topic=message.topic)
            if camera == JOINT_STREAM:
                names, positions, stamp = read_joints(
                    content, topic=message.topic, joints=self._robot.joint_names
                )
                self._streams.add_joints(
                    names, positions, stamp_ns=stamp, received_ns=message.log_ns
                )
            else:
                stamp = stamp_ns(content.header.stamp)
                frame = Frame(content, topic=message.topic)
                self._streams.add_image(camera, frame, stamp_ns=stamp, received_ns=message.log_ns)
        except MessageError as error:
            self._streams.reject(camera, str(error))
            return
        time_ns = self._streams.time_of(camera, stamp, message.log_ns)
        self._newest_ns[message.topic] = time_ns
        self._oldest_ns.setdefault(message.topic, time_ns)

    def is_settled(self, tick_ns: int) -> bool:
        """Whether what belongs to a tick has come, or will not come any more."""
        newest = self._newest_ns.values()
        return min(newest) >= tick_ns + SETTLE_NS or max(newest) >= tick_ns + PATIENCE_NS

    def observe(self, chunk: RecordedChunk) -> Observation | Unseen:
        """Make the observation of a chunk again, or say why that is not possible."""
        seen = self._streams.at(chunk.stamp_ns, chunk.instruction)
        if isinstance(seen, Missing):
            return Unseen(reason=f"{seen.message}{self._beginning(chunk.stamp_ns)}")
        names = [*(camera.name for camera in self._robot.cameras), JOINT_STREAM]
        recorded = dict(zip(names, chunk.source_stamps_ns, strict=False))
        for camera in self._robot.cameras:
            used = recorded.get(camera.name, seen.source_stamps_ns[camera.name])
            if used != seen.source_stamps_ns[camera.name]:
                return Unseen(
                    reason=f"the frame of '{camera.name}' stamped {used / 1e9:.3f} s that it was "
                    "made from is not in the bag: lost while recording"
                )
        try:
            return decoded(seen)
        except DamagedImageError as damaged:
            self._streams.spoil(damaged)
            return self.observe(chunk)

    def _beginning(self, tick_ns: int) -> str:
        if all(topic in self._oldest_ns for topic in self._topics.sensors):
            first_ns = max(self._oldest_ns.values())
            if tick_ns <= first_ns + SETTLE_NS:
                return "; the recording had only just begun"
        return ""


def observations(
    messages: Iterable[BagMessage],
    chunks: Sequence[RecordedChunk],
    robot: RobotConfig,
    topics: BagTopics,
) -> Iterator[tuple[RecordedChunk, Observation | Unseen]]:
    """Give each chunk with the observation that it was made from, in order.

    Args:
        messages: of the cameras and joints, in the order of arrival.
        chunks: by their stamps.
        robot: the robot file.
        topics: where its streams are in the bag.
    """
    streams, waiting = BagStreams(robot, topics), deque(chunks)
    for message in messages:
        streams.add(message)
        while waiting and streams.is_settled(waiting[0].stamp_ns):
            chunk = waiting.popleft()
            yield chunk, streams.observe(chunk)
        if not waiting:
            return
    for chunk in waiting:
        yield chunk, streams.observe(chunk)
