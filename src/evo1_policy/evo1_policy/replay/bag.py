"""A recorded bag, opened for replay: its messages, the robot file it carries, what is where.

Reads what this workspace's recorder writes and what `ros2 bag record` does (MCAP or SQLite). Must
not import ROS or torch.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evo1_policy.robot_config import JOINT_STREAM, RobotConfig
from evo1_policy.untrusted import (
    MOST_YAML_BYTES,
    parse_json,
    parse_yaml,
    read_text,
    refuse_lfs_pointer,
)

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

FACTS_TOPIC = "/evo1/episode"  # the recorder's, std_msgs/String with JSON
CHUNK_TYPE = "evo1_msgs/msg/ActionChunk"
JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"
_METADATA = "metadata.yaml"
_STORAGES = (".mcap", ".db3", ".zstd")


class ReplayError(ValueError):
    """A bag that cannot be replayed; names it, what was expected and what to do."""


class BagMessage(NamedTuple):
    """One message as it was received: resolved topic, type, when by the recorder's clock, CDR."""

    topic: str
    type: str
    log_ns: int
    data: bytes


@contextmanager
def open_bag(path: Path) -> Iterator["Bag"]:
    """Open a bag.

    Args:
        path: folder with metadata.yaml, or an .mcap or .db3 file.

    Raises:
        ReplayError: it is no bag, or was cut off.
    """
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.typesys import Stores, get_typestore

    if not path.exists():
        raise ReplayError(f"{path}: no such file or folder; give a recorded bag")
    if path.is_dir() and not (path / _METADATA).is_file():
        raise ReplayError(_without_metadata(path))
    for file in path.glob("*") if path.is_dir() else (path,):
        if file.suffix in _STORAGES or file.name == _METADATA:
            refuse_lfs_pointer(file)  # a pipe too: it would be waited for
    if path.is_dir():  # the library below reads it again, without bounds
        text = read_text(path / _METADATA, what="bag's metadata", max_bytes=MOST_YAML_BYTES)
        parse_yaml(text, source=str(path / _METADATA))
    try:
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except (AnyReaderError, OSError) as error:
        raise ReplayError(
            f"{path}: cannot be opened: {error}; a bag that was cut off is mended by "
            "'evo1 recover' or 'ros2 bag reindex'"
        ) from error
    try:
        yield Bag(path, reader)
    finally:
        reader.close()


class Bag:
    """An open bag.

    Attributes:
        path: of it.
        topics: resolved topic -> its type, of every topic with a message.
        start_ns: when its first message was received [ns].
    """

    def __init__(self, path: Path, reader: "AnyReader") -> None:
        self.path = path
        self.topics = {one.topic: one.msgtype for one in reader.connections if one.msgcount}
        self.start_ns = int(reader.start_time)
        self._reader = reader

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Give the messages of some topics in the order of arrival.

        Raises:
            ReplayError: the bag is damaged.
        """
        from rosbags.highlevel import AnyReaderError
        from rosbags.rosbag2 import ReaderError

        wanted = [one for one in self._reader.connections if one.topic in topics]
        if not wanted:
            return
        try:
            for one, log_ns, data in self._reader.messages(wanted):
                yield BagMessage(one.topic, one.msgtype, log_ns, data)
        except (AnyReaderError, ReaderError, OSError) as error:
            raise ReplayError(f"{self.path}: damaged: {error}") from error

    def contents(self, topic: str) -> Iterator[Any]:
        """Read the messages of a topic by the definition that stands in the bag.

        Raises:
            ReplayError: the bag is damaged, or bytes are no such message.
        """
        for message in self.messages([topic]):
            try:
                content = self._reader.deserialize(message.data, message.type)
            except Exception as error:  # whatever the parser stumbles over
                raise ReplayError(
                    f"{self.path}: a message on {topic} is no {message.type}: {error!r}"
                ) from error
            yield content

    def notes(self) -> tuple[str, Mapping[str, str]]:
        """The robot file and the topic of each role ('state', 'camera:image_1') as noted here.

        Both empty in a bag of another recorder.

        Raises:
            ReplayError: the note cannot be read.
        """
        for content in self.contents(FACTS_TOPIC):
            try:
                facts = parse_json(content.data, source=f"{self.path}: {FACTS_TOPIC}")["facts"]
                return facts["robot_text"], {one["role"]: one["name"] for one in facts["topics"]}
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ReplayError(
                    f"{self.path}: {FACTS_TOPIC} does not tell what was recorded: {error!r}; "
                    "give --robot"
                ) from error
        return "", {}


def _without_metadata(path: Path) -> str:
    if next(path.glob("*.mcap"), None) or next(path.glob("*.db3"), None):
        return (
            f"{path}: no {_METADATA}: the recording was cut off; mend it with "
            f"'evo1 recover {path}' or 'ros2 bag reindex'"
        )
    inside = sorted(found.parent.name for found in path.glob(f"*/{_METADATA}"))
    if inside:
        return f"{path}: holds {len(inside)} bags; give one, such as {inside[-1]}"
    return f"{path}: no bag: {_METADATA} is missing; give the folder of a rosbag2 bag"


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


def find_sensors(
    bag: Bag, robot: RobotConfig, chunks: str, roles: Mapping[str, str]
) -> dict[str, str]:
    """Find cameras and joint states of the policy that wrote the chunks.

    Where our recorder noted what each topic is for, that holds; else the robot file's names in
    the namespace of the policy node.

    Args:
        bag: open.
        robot: the robot file.
        chunks: topic of the policy's chunks.
        roles: see Bag.notes.

    Returns:
        Resolved topic -> its stream: the cameras by name, in the robot file's order, then the
        joint states.

    Raises:
        ReplayError: one is missing or has another type.
    """
    namespace = chunks.rsplit("/", 2)[0]
    found = {}
    for stream, role, written, kind, what in (
        *(
            (each.name, f"camera:{each.name}", each.topic, each.type, f"camera '{each.name}'")
            for each in robot.cameras
        ),
        (JOINT_STREAM, "state", robot.state.topic, JOINT_STATE_TYPE, "the joint states"),
    ):
        topic = roles.get(role, written if written[0] == "/" else f"{namespace}/{written}")
        _check(bag, topic, kind, what)
        found[topic] = stream
    return found


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
