"""Recorded chunks as the policy node told of them, and the observations that they were made from.

Messages go through the live node's own decoding and buffers (perception), in the order of arrival;
then the live rule of alignment says what belongs to a chunk's tick. Must not import ROS or torch.
Letters: H horizon, D joints, K guided actions.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from evo1_policy.action_chunk import Floats, Guidance
from evo1_policy.observation import Missing, Observation
from evo1_policy.perception.frames import DamagedImageError, Frame, decoded
from evo1_policy.perception.messages import MessageError, deserialize, read_joints, stamp_ns
from evo1_policy.perception.streams import Streams
from evo1_policy.replay.bag import Bag, BagMessage, ReplayError
from evo1_policy.robot_config import JOINT_STREAM, RobotConfig

_GUIDED_MODE = "rtc"


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedChunk:
    """One evo1_msgs/ActionChunk.

    Attributes:
        chunk_id: the node's number of it.
        stamp_ns: capture time of the observation [ns].
        instruction: what it was made for.
        mode: how it was executed.
        embodiment: of the robot file.
        model_hash: of the checkpoint's weights.
        joint_names: D of them.
        actions: (H, D) [rad], before any check.
        seed: of the policy's noise; None where the message does not tell.
        denoising_steps: 0: as many as the checkpoint says.
        device: where the model ran; '' where the message does not tell.
        source_stamps_ns: of the frames used, then of the newest joint sample [ns]; () where the
            message does not tell.
        state: (D,) [rad]; None where the message does not tell.
        guidance: what it was made to begin with; None: nothing.
        unknown: why it cannot be made again whatever the bag holds; '' where it can.
    """

    chunk_id: int
    stamp_ns: int
    instruction: str
    mode: str
    embodiment: str
    model_hash: str
    joint_names: tuple[str, ...]
    actions: Floats
    seed: int | None
    denoising_steps: int
    device: str
    source_stamps_ns: tuple[int, ...]
    state: Floats | None
    guidance: Guidance | None
    unknown: str = ""


def read_chunks(bag: Bag, topic: str) -> list[RecordedChunk]:
    """Read every chunk of a topic, in the order of arrival.

    Raises:
        ReplayError: a message is damaged, or the clock was set back between two chunks.
    """
    chunks = [read_chunk(message) for message in bag.contents(topic)]
    for before, after in pairwise(chunks):
        if after.stamp_ns < before.stamp_ns:
            raise ReplayError(
                f"{bag.path}: the clock was set back by "
                f"{(before.stamp_ns - after.stamp_ns) / 1e9:.1f} s between chunk "
                f"{before.chunk_id} and chunk {after.chunk_id}; only a bag on one clock can be "
                "replayed: cut it there (ros2 bag convert)"
            )
    return chunks


def read_chunk(message: Any) -> RecordedChunk:
    """Read an ActionChunk of any version, of rosbags or rclpy.

    Raises:
        ReplayError: its points differ in width.
    """
    names = tuple(message.proposed.joint_names)
    rows = [np.asarray(point.positions, np.float64) for point in message.proposed.points]
    if not rows or any(row.shape != (len(names),) for row in rows):
        raise ReplayError(
            f"chunk {message.chunk_id}: {len(rows)} proposed points for {len(names)} joints that "
            "do not all have one position each; the bag is damaged"
        )
    told = hasattr(message, "seed")
    state = np.array(message.state if told else (), np.float64)
    unknown = ""
    if message.mode == _GUIDED_MODE and not told:
        unknown = "mode rtc, and the message does not tell what the chunk had to begin with"
    return RecordedChunk(
        chunk_id=int(message.chunk_id),
        stamp_ns=stamp_ns(message.header.stamp),
        instruction=message.instruction,
        mode=message.mode,
        embodiment=getattr(message, "embodiment", "") or message.header.frame_id,  # older bags
        model_hash=message.model_hash,
        joint_names=names,
        actions=np.stack(rows),
        seed=int(message.seed) if told else None,
        denoising_steps=int(message.denoising_steps) if told else 0,
        device=message.device if told else "",
        source_stamps_ns=tuple(map(stamp_ns, message.source_stamps)) if told else (),
        state=state if state.shape == (len(names),) else None,
        guidance=_guidance(message, len(names)) if told else None,
        unknown=unknown,
    )


def _guidance(message: Any, width: int) -> Guidance | None:
    weights = np.array(message.guidance_weights, np.float64)
    if not weights.size:
        return None
    actions = np.array(message.guidance, np.float64)
    if actions.size != weights.size * width:
        raise ReplayError(
            f"chunk {message.chunk_id}: guidance has {actions.size} values; expected "
            f"{weights.size} points of {width} joints: the bag is damaged"
        )
    return Guidance(actions=actions.reshape(-1, width), weights=weights)


# How far all streams, or the first of them, must be beyond a tick before it is looked at: parts
# of a joint state may come late. The buffers hold more than that.
SETTLE_NS = 200_000_000
PATIENCE_NS = 800_000_000


class BagStreams:
    """Takes in a bag's messages as the policy node does.

    Args:
        robot: the robot file.
        sensors: resolved topic -> stream, from find_sensors.
    """

    def __init__(self, robot: RobotConfig, sensors: Mapping[str, str]) -> None:
        self._joints = robot.joint_names
        self._sensors = sensors
        self._streams = Streams(robot)
        self._newest_ns = dict.fromkeys(sensors, 0)
        self._oldest_ns: dict[str, int] = {}

    def add(self, message: BagMessage) -> None:
        """Take in a message of a camera or the joints; one that cannot be used is left out."""
        topic, received_ns = message.topic, message.log_ns
        stream = self._sensors[topic]
        try:
            content = deserialize(message.data, message.type, topic=topic)
            if stream == JOINT_STREAM:
                names, positions, stamp = read_joints(content, topic=topic, joints=self._joints)
                self._streams.add_joints(names, positions, stamp_ns=stamp, received_ns=received_ns)
            else:
                stamp = stamp_ns(content.header.stamp)
                frame = Frame(content, topic=topic)
                self._streams.add_image(stream, frame, stamp_ns=stamp, received_ns=received_ns)
        except MessageError as error:
            self._streams.reject(stream, str(error))
            return
        time_ns = self._streams.time_of(stream, stamp, received_ns)
        self._newest_ns[topic] = time_ns
        self._oldest_ns.setdefault(topic, time_ns)

    def is_settled(self, tick_ns: int) -> bool:
        """Whether what belongs to a tick has come, or will not come any more."""
        newest = self._newest_ns.values()
        return min(newest) >= tick_ns + SETTLE_NS or max(newest) >= tick_ns + PATIENCE_NS

    def observe(self, chunk: RecordedChunk) -> Observation | str:
        """Make the observation of a chunk again, or say why that is not possible."""
        seen = self._streams.at(chunk.stamp_ns, chunk.instruction)
        if isinstance(seen, Missing):
            return f"{seen.message}{self._beginning(chunk.stamp_ns)}"
        for stream, used in zip(self._sensors.values(), chunk.source_stamps_ns, strict=False):
            if stream != JOINT_STREAM and used != seen.source_stamps_ns[stream]:
                return (
                    f"the frame of '{stream}' stamped {used / 1e9:.3f} s that it was made from is "
                    "not in the bag: lost while recording"
                )
        try:
            return decoded(seen)
        except DamagedImageError as damaged:
            self._streams.spoil(damaged)
            return self.observe(chunk)

    def _beginning(self, tick_ns: int) -> str:
        everything_came = len(self._oldest_ns) == len(self._sensors)
        if everything_came and tick_ns <= max(self._oldest_ns.values()) + SETTLE_NS:
            return "; the recording had only just begun"
        return ""


def observations(
    messages: Iterable[BagMessage],
    chunks: Sequence[RecordedChunk],
    robot: RobotConfig,
    sensors: Mapping[str, str],
) -> Iterator[tuple[RecordedChunk, Observation | str]]:
    """Give each chunk with the observation that it was made from, or why there is none, in order.

    Args:
        messages: of the cameras and joints, in the order of arrival.
        chunks: by their stamps.
        robot: the robot file.
        sensors: where its streams are in the bag.
    """
    streams, waiting = BagStreams(robot, sensors), deque(chunks)
    for message in messages:
        streams.add(message)
        while waiting and streams.is_settled(waiting[0].stamp_ns):
            chunk = waiting.popleft()
            yield chunk, streams.observe(chunk)
        if not waiting:
            return
    for chunk in waiting:
        yield chunk, streams.observe(chunk)
