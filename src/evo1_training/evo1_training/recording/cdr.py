"""Messages as bytes (CDR), and the texts of their types as bags carry them, without ROS.

Where messages of a package are installed is told by the caller. Must not import ROS or torch.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.recording.episode import EpisodeError
from evo1_training.recording.mcap_writer import TopicQos, TopicSpec

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINT_STATE = "sensor_msgs/msg/JointState"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
STRING = "std_msgs/msg/String"
NONE = np.empty(0)

Floats = npt.NDArray[np.float64]

# Reads the .msg file of a type such as 'evo1_msgs/msg/ActionChunk'; None where there is none.
MessageFile = Callable[[str], str | None]


def made(kind: str, **content: Any) -> Any:
    """A message of a type such as 'sensor_msgs/msg/Image'; every field must be given."""
    return typestore().types[kind](**content)


def cdr(kind: str, content: Any) -> bytes:
    """A message as bytes."""
    return bytes(typestore().serialize_cdr(content, kind))


def string_cdr(text: str) -> bytes:
    """A std_msgs/String as bytes."""
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def header(stamp_ns: int, frame_id: str = "") -> Any:
    """A std_msgs/Header."""
    return made("std_msgs/msg/Header", stamp=time("Time", stamp_ns), frame_id=frame_id)


def time(kind: str, nanoseconds: int) -> Any:
    """A builtin_interfaces 'Time' or 'Duration'."""
    sec, nanosec = divmod(nanoseconds, 1_000_000_000)
    return made(f"builtin_interfaces/msg/{kind}", sec=sec, nanosec=nanosec)


def joint_state(head: Any, names: Sequence[str], positions: Floats, speeds: Floats) -> bytes:
    """Positions and velocities (D,), or none of these [rad, rad/s], as a JointState."""
    content = {"name": list(names), "position": positions, "velocity": speeds, "effort": NONE}
    return cdr(JOINT_STATE, made(JOINT_STATE, header=head, **content))


def trajectory(
    head: Any, names: Sequence[str], offsets_s: Sequence[float], positions: Floats
) -> bytes:
    """Targets (N, D) [rad] at offsets (N,) from the stamp [s], as a JointTrajectory."""
    empty = {"velocities": NONE, "accelerations": NONE, "effort": NONE}
    points = [
        made(
            f"{TRAJECTORY}Point",
            positions=np.ascontiguousarray(row),
            time_from_start=time("Duration", round(offset * 1e9)),
            **empty,
        )
        for offset, row in zip(offsets_s, positions, strict=True)
    ]
    content = made(TRAJECTORY, header=head, joint_names=list(names), points=points)
    return cdr(TRAJECTORY, content)


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
