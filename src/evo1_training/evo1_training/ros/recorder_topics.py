"""Which topics are recorded, of what type and with what quality of service, by the graph."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from evo1_policy.robot_config import RobotConfig
from evo1_training.recording.cdr import STRING, definition, type_hash
from evo1_training.recording.episode import (
    INSTRUCTION,
    OWN_TOPICS,
    EpisodeError,
    RecordedTopic,
)
from evo1_training.recording.mcap_writer import TopicQos, TopicSpec
from evo1_training.recording.session import SessionInput
from evo1_training.recording.stream_monitor import extra_topic, robot_topics

# beside the robot file's topics; with the policy's, a take can be replayed
ALWAYS = (
    "/tf_static",
    "robot_description",
    "policy/intervention",
    "policy/action_chunk",
    "policy/status",
)
INSTRUCTION_TOPIC = "instruction"  # what is said there during a take becomes its label
CAMERA_DEPTH = 30  # frames that may wait while the reading thread is busy
DEPTH = 500


@dataclass(frozen=True, kw_only=True)
class GraphTopic(SessionInput):
    """A topic that is recorded, as the graph shows it now.

    Attributes:
        written: name for subscribing; the node's remappings apply to it.
        qos: with which to subscribe.
        publishers: their identifiers.
    """

    written: str
    qos: QoSProfile
    publishers: frozenset[bytes]


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """Everything to record, and why some of it cannot come, by resolved name."""

    topics: tuple[GraphTopic, ...]
    notices: dict[str, str]
    warnings: tuple[str, ...]


def view_graph(node: Node, robot: RobotConfig, patterns: Sequence[str]) -> GraphView:
    """Look at the graph: the robot file's topics, latched ones and those of the patterns."""
    known = dict(node.get_topic_names_and_types())
    as_written = [topic.name for topic in robot_topics(robot, {})]
    written = {node.resolve_topic_name(name): name for name in as_written}
    names = {name: resolved for resolved, name in written.items()}
    wanted = robot_topics(robot, names)
    taken = {topic.name for topic in wanted}
    warnings, notices, found = [], {}, []
    for name in _matching(node, known, patterns):
        if name in taken:
            continue
        if len(known[name]) != 1:
            warnings.append(f"{name}: published as {', '.join(known[name])}; it is not recorded")
        else:
            offer = _offer(node.get_publishers_info_by_topic(name))
            topic = extra_topic(name, known[name][0], latched=offer.latched)
            if topic.type == STRING and name == node.resolve_topic_name(INSTRUCTION_TOPIC):
                topic = replace(topic, role=INSTRUCTION)
            wanted.append(topic)
    for topic in wanted:
        problem = _unusable(topic)
        if problem:
            warnings.append(f"{topic.name}: {problem}; it is not recorded")
            continue
        publishers = node.get_publishers_info_by_topic(topic.name)
        other = {info.topic_type for info in publishers} - {topic.type}
        if other:
            notices[topic.name] = (
                f"{topic.name} is published as {', '.join(sorted(other))}, the robot file says "
                f"{topic.type}; correct one of them"
            )
        found.append(_graph_topic(topic, written.get(topic.name, topic.name), publishers))
    return GraphView(topics=tuple(found), notices=notices, warnings=tuple(warnings))


def message_class(type_name: str) -> type | None:
    """Import a message class; None where its package is not installed."""
    package, _, name = type_name.split("/")
    try:
        found: type = getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None
    return found


def _matching(node: Node, known: dict[str, list[str]], patterns: Sequence[str]) -> list[str]:
    namespace = node.get_namespace().rstrip("/")
    wanted = (*ALWAYS, INSTRUCTION_TOPIC, *patterns)
    full = [p if p.startswith("/") else f"{namespace}/{p}" for p in wanted]
    return [
        name
        for name in sorted(known)
        if name not in OWN_TOPICS
        and not any(part.startswith("_") for part in name.split("/"))
        and any(fnmatchcase(name, pattern) for pattern in full)
        and node.count_publishers(name)
    ]


def _offer(publishers: Sequence[TopicEndpointInfo]) -> TopicQos:
    """What all publishers of a topic offer together."""
    profiles = [info.qos_profile for info in publishers]
    latched = bool(profiles) and all(
        p.durability is QoSDurabilityPolicy.TRANSIENT_LOCAL for p in profiles
    )
    return TopicQos(
        reliable=all(p.reliability is not QoSReliabilityPolicy.BEST_EFFORT for p in profiles),
        latched=latched,
        depth=1 if latched else 10,
    )


def _graph_topic(
    topic: RecordedTopic, written: str, publishers: Sequence[TopicEndpointInfo]
) -> GraphTopic:
    offer = _offer(publishers)
    camera = topic.role.startswith("camera:")
    reliable = offer.reliable and (bool(publishers) or not camera)
    return GraphTopic(
        topic=topic,
        spec=TopicSpec(
            name=topic.name,
            type=topic.type,
            definition=_definition(topic.type),
            type_hash=_hash(topic.type, publishers),
            qos=offer if publishers else None,
        ),
        written=written,
        qos=QoSProfile(
            depth=CAMERA_DEPTH if camera else DEPTH,
            reliability=QoSReliabilityPolicy.RELIABLE
            if reliable
            else QoSReliabilityPolicy.BEST_EFFORT,
            durability=QoSDurabilityPolicy.TRANSIENT_LOCAL
            if offer.latched
            else QoSDurabilityPolicy.VOLATILE,
        ),
        publishers=frozenset(bytes(info.endpoint_gid) for info in publishers),
    )


def _hash(type_name: str, publishers: Sequence[TopicEndpointInfo]) -> str:
    told = {str(info.topic_type_hash) for info in publishers if info.topic_type == type_name}
    return told.pop() if len(told) == 1 else type_hash(type_name)


def _unusable(topic: RecordedTopic) -> str:
    if message_class(topic.type) is None:
        return f"the message type {topic.type} is not installed here"
    try:
        _definition(topic.type)
    except EpisodeError as error:
        return str(error)
    return ""


@cache
def _definition(type_name: str) -> str:
    return definition(type_name, _message_file)


def _message_file(type_name: str) -> str | None:
    package, _, name = type_name.split("/")
    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
        return path.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError):
        return None
