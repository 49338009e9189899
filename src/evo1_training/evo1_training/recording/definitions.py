"""The text of message types, as bags carry it, so that any reader can open them.

Must not import ROS or torch; where messages of a package are installed is told by the caller.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from evo1_training.recording.episode import EpisodeError

# Reads the .msg file of a type such as 'evo1_msgs/msg/ActionChunk'; None where there is none.
MessageFile = Callable[[str], str | None]

_RULE = "=" * 80
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:\[[^\]]*\])?\s+[a-z]\w*", re.ASCII)
_PRIMITIVES = {
    *("bool", "byte", "char", "float32", "float64", "string", "wstring"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


def definition(type_name: str, message_file: MessageFile | None = None) -> str:
    """Return the full text of a type, those that it contains included.

    Args:
        type_name: such as 'sensor_msgs/msg/Image'.
        message_file: finds types that are not among ROS 2's own.

    Raises:
        EpisodeError: nobody knows the type.
    """
    known = typestore()
    if type_name in known.types:
        return str(known.generate_msgdef(type_name, ros_version=2)[0])
    parts = [_own_text(type_name, message_file)]
    for inner in _contained(type_name, message_file, {type_name}):
        inner_text = _own_text(inner, message_file)
        package, _, name = inner.split("/")
        parts.append(f"{_RULE}\nMSG: {package}/{name}\n{inner_text}")
    return "".join(parts)


def type_hash(type_name: str) -> str:
    """Return the RIHS01 hash of one of ROS 2's own types; '' for others."""
    known = typestore()
    return str(known.hash_rihs01(type_name)) if type_name in known.types else ""


def _contained(type_name: str, message_file: MessageFile | None, seen: set[str]) -> list[str]:
    package = type_name.split("/")[0]
    found = []
    for line in _own_text(type_name, message_file).splitlines():
        match = _FIELD.match(line.split("#")[0])
        if match is None or match[1] in _PRIMITIVES or "=" in line.split("#")[0]:
            continue
        inner = _full_name(match[1], package)
        if inner not in seen:
            seen.add(inner)
            found += [inner, *_contained(inner, message_file, seen)]
    return found


def _full_name(name: str, package: str) -> str:
    parts = name.split("/")
    if len(parts) == 1:
        return f"{package}/msg/{name}"
    return f"{parts[0]}/msg/{parts[-1]}"


def _own_text(type_name: str, message_file: MessageFile | None) -> str:
    """The text of a type without those that it contains."""
    known = typestore()
    if type_name in known.types:
        return str(known.generate_msgdef(type_name, ros_version=2)[0]).split(_RULE)[0]
    text = message_file(type_name) if message_file else None
    if text is None:
        raise EpisodeError(
            f"{type_name}: the definition of this message type is not installed here; build and "
            "source its package"
        )
    return text.rstrip("\n") + "\n"


@cache
def typestore() -> Any:
    """ROS 2's own message types, for reading and writing them without ROS."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)
