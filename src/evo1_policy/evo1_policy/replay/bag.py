"""A recorded bag, opened for replay: its messages, the robot file it carries, what is where.

Reads what this workspace's recorder writes and what `ros2 bag record` does (MCAP or SQLite). Must
not import ROS or torch.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from evo1_policy.robot_config import RobotConfig
from evo1_policy.untrusted import parse_json, refuse_lfs_pointer

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

FACTS_TOPIC = "/evo1/episode"  # the recorder's, std_msgs/String with JSON
CHUNK_TYPE = "evo1_msgs/msg/ActionChunk"
JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"
_METADATA = "metadata.yaml"
_STORAGES = (".mcap", ".db3", ".zstd")


class ReplayError(ValueError):
    """A bag that cannot be replayed; names it, what was expected and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BagMessage:
    """One message as it was received.

    Attributes:
        topic: resolved name.
        type: such as 'sensor_msgs/msg/Image'.
        log_ns: when it was received, the recorder's clock [ns].
        data: CDR.
    """

    topic: str
    type: str
    log_ns: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class EpisodeNotes:
    """What our recorder notes in a bag.

    Attributes:
        robot_text: the robot file as read.
        topics: role such as 'state' or 'camera:image_1' -> resolved topic.
    """

    robot_text: str
    topics: Mapping[str, str]


class Bag:
    """An open bag; use it in a `with` statement.

    Args:
        path: folder with metadata.yaml, or an .mcap or .db3 file.

    Raises:
        ReplayError: it is no bag, or was cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader: AnyReader | None = None

    def __enter__(self) -> "Bag":
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore

        if not self.path.exists():
            raise ReplayError(f"{self.path}: no such file or folder; give a recorded bag")
        if self.path.is_dir() and not (self.path / _METADATA).is_file():
            raise ReplayError(self._without_metadata())
        for file in self.path.glob("*") if self.path.is_dir() else (self.path,):
            if file.suffix in _STORAGES or file.name == _METADATA:
                refuse_lfs_pointer(file)  # a pipe too: it would be waited for
        try:
            reader = AnyReader([self.path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            reader.open()
        except (AnyReaderError, OSError) as error:
            raise ReplayError(
                f"{self.path}: cannot be opened: {error}; a bag that was cut off is mended by "
                "'evo1 recover' or 'ros2 bag reindex'"
            ) from error
        self._reader = reader
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def topics(self) -> dict[str, str]:
        """Resolved topic -> its type, of every topic with a message."""
        return {
            connection.topic: connection.msgtype
            for connection in self._open.connections
            if connection.msgcount
        }

    @property
    def start_ns(self) -> int:
        """When its first message was received [ns]."""
        return int(self._open.start_time)

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Give the messages of some topics in the order of arrival.

        Raises:
            ReplayError: the bag is damaged.
        """
        from rosbags.highlevel import AnyReaderError
        from rosbags.rosbag2 import ReaderError

        wanted = [one for one in self._open.connections if one.topic in topics]
        if not wanted:
            return
        try:
            for connection, log_ns, data in self._open.messages(wanted):
                yield BagMessage(
                    topic=connection.topic, type=connection.msgtype, log_ns=log_ns, data=data
                )
        except (AnyReaderError, ReaderError, OSError) as error:
            raise ReplayError(f"{self.path}: damaged: {error}") from error

    def deserialize(self, message: BagMessage) -> Any:
        """Read a message by the definition that stands in the bag.

        Raises:
            ReplayError: the bytes are no such message.
        """
        try:
            return self._open.deserialize(message.data, message.type)
        except Exception as error:  # whatever the parser stumbles over
            raise ReplayError(
                f"{self.path}: a message on {message.topic} is no {message.type}: {error!r}"
            ) from error

    def notes(self) -> EpisodeNotes | None:
        """What our recorder noted; None in a bag of another.

        Raises:
            ReplayError: the note cannot be read.
        """
        for message in self.messages([FACTS_TOPIC]):
            try:
                facts = parse_json(
                    self.deserialize(message).data, source=f"{self.path}: {FACTS_TOPIC}"
                )["facts"]
                topics = {one["role"]: one["name"] for one in facts["topics"]}
                return EpisodeNotes(robot_text=facts["robot_text"], topics=topics)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ReplayError(
                    f"{self.path}: {FACTS_TOPIC} does not tell what was recorded: {error!r}; "
                    "give --robot"
                ) from error
        return None

    @property
    def _open(self) -> "AnyReader":
        if self._reader is None:
            raise ReplayError(f"{self.path}: the bag is not open")
        return self._reader

    def _without_metadata(self) -> str:
        if next(self.path.glob("*.mcap"), None) or next(self.path.glob("*.db3"), None):
            return (
                f"{self.path}: no {_METADATA}: the recording was cut off; mend it with "
                f"'evo1 recover {self.path}' or 'ros2 bag reindex'"
            )
        inside = sorted(path.parent.name for path in self.path.glob(f"*/{_METADATA}"))
        if inside:
            return f"{self.path}: holds {len(inside)} bags; give one, such as {inside[-1]}"
        return f"{self.path}: no bag: {_METADATA} is missing; give the folder of a rosbag2 bag"


@dataclass(frozen=True, kw_only=True)
class BagTopics:
    """Resolved topics of one policy and its robot.

    Attributes:
        chunks: where the policy told of its chunks.
        cameras: resolved topic -> camera's name, in the robot file's order.
        joints: joint states.
    """

    chunks: str
    cameras: Mapping[str, str]
    joints: str

    @property
    def sensors(self) -> tuple[str, ...]:
        """Cameras and joints."""
        return (*self.cameras, self.joints)


def find_chunk_topic(bag: Bag, wanted: str = "") -> str:
    """Find the topic of the chunks.

    Args:
        bag: open.
        wanted: resolved name, where there are several; '' for the only one.

    Raises:
        ReplayError: there is none, or several, or the wanted one is not there.
    """
    found = sorted(topic for topic, kind in bag.topics.items() if kind == CHUNK_TYPE)
    if not found:
        raise ReplayError(
            f"{bag.path}: no message of type {CHUNK_TYPE}, so there is nothing to compare with; "
            "record while the policy runs (record:=true keeps policy/action_chunk by itself, "
            "ros2 bag record needs the topic)"
        )
    if wanted and wanted not in found:
        raise ReplayError(
            f"{bag.path}: no chunks on {wanted}; there are some on {', '.join(found)}"
        )
    if not wanted and len(found) > 1:
        raise ReplayError(
            f"{bag.path}: chunks of several policies: {', '.join(found)}; choose with --chunks"
        )
    return wanted or found[0]


def find_topics(
    bag: Bag, robot: RobotConfig, chunks: str, notes: EpisodeNotes | None
) -> BagTopics:
    """Find cameras and joint states of the policy that wrote the chunks.

    Where our recorder noted what each topic is for, that holds; else the robot file's names in
    the namespace of the policy node.

    Raises:
        ReplayError: one is missing or has another type.
    """
    roles = notes.topics if notes is not None else {}
    namespace = chunks.rsplit("/", 2)[0]

    def resolved(role: str, written: str) -> str:
        name = written if written.startswith("/") else f"{namespace}/{written}"
        return roles.get(role, name)

    cameras = {
        resolved(f"camera:{camera.name}", camera.topic): camera.name for camera in robot.cameras
    }
    for (topic, name), camera in zip(cameras.items(), robot.cameras, strict=True):
        _check(bag, topic, camera.type, f"camera '{name}'")
    joints = resolved("state", robot.state.topic)
    _check(bag, joints, JOINT_STATE_TYPE, "the joint states")
    return BagTopics(chunks=chunks, cameras=cameras, joints=joints)


def _check(bag: Bag, topic: str, kind: str, what: str) -> None:
    present = bag.topics.get(topic)
    if present is None:
        same = sorted(name for name, other in bag.topics.items() if other == kind)
        raise ReplayError(
            f"{bag.path}: {what}: no message on {topic} in the bag; of type {kind} it has "
            f"{', '.join(same) or 'none'}; give the robot file whose topics those are (--robot), "
            "or record this topic too"
        )
    if present != kind:
        raise ReplayError(
            f"{bag.path}: {what}: {topic} carries {present}, the robot file says {kind}; "
            "give the robot file of the recording (--robot)"
        )
