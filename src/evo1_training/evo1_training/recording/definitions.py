"""The text of message types, as bags carry it, so that any reader can open them.

Must not import ROS or torch; where messages of a package are installed is told by the caller.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from evo1_training.recording.episode import EpisodeError
from evo1_training.recording.mcap_writer import TopicQos, TopicSpec

# Reads the .msg file of a type such as 'evo1_msgs/msg/ActionChunk'; None where there is none.
MessageFile = Callable[[str], str | None]


def definition(type_name: str, message_file: MessageFile | None = None) -> str:
    """Return the full text of a type, those that it contains included.

    Args:
        type_name: such as 'sensor_msgs/msg/Image'.
        message_file: finds types that are not among ROS 2's own.

    Raises:
        EpisodeError: nobody knows the type, or its file cannot be read.
    """
    _learn(type_name, message_file)
    return str(typestore().generate_msgdef(type_name, ros_version=2)[0])


def type_hash(type_name: str) -> str:
    """Return the RIHS01 hash of a type that is known here; '' for others."""
    known = typestore()
    return str(known.hash_rihs01(type_name)) if type_name in known.fielddefs else ""


def topic_spec(name: str, type_name: str, qos: TopicQos | None = None) -> TopicSpec:
    """What a bag says of a topic of a type that is known here.

    Raises:
        EpisodeError: it is not.
    """
    text, told = definition(type_name), type_hash(type_name)
    return TopicSpec(name=name, type=type_name, definition=text, type_hash=told, qos=qos)


def _learn(type_name: str, message_file: MessageFile | None) -> None:
    """Have the typestore know a type and those that it contains."""
    from rosbags.typesys import TypesysError, get_types_from_msg

    if type_name in typestore().fielddefs:
        return
    text = message_file(type_name) if message_file else None
    if text is None:
        raise EpisodeError(
            f"{type_name}: the definition of this message type is not installed here; build and "
            "source its package"
        )
    try:
        found = get_types_from_msg(text, type_name)
    except TypesysError as error:
        raise EpisodeError(f"{type_name}: its definition cannot be read: {error}") from error
    for _, fields in found.values():
        for inner in _named(fields):
            if inner not in found:
                _learn(inner, message_file)
    typestore().register(found)


def _named(part: Any) -> Iterator[str]:
    """The types within the fields of a type, at any depth."""
    if isinstance(part, str):
        if part.count("/") == 2:
            yield part
    elif isinstance(part, (list, tuple)):
        for inner in part:
            yield from _named(inner)


@cache
def typestore() -> Any:
    """ROS 2's own message types, for reading and writing them without ROS."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)
