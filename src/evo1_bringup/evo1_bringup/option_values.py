"""Words that a person types as the value of an option, read. Must not import ROS or launch.

Each reader raises OptionError, with the option's name, for a value that cannot be used.
"""

import re
from pathlib import Path

_NAMESPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class OptionError(ValueError):
    """An option that is unknown or has a value that cannot be used; the message names it."""


def read_file(name: str, text: str) -> str:
    """An existing file or folder as its full path; '' stays ''."""
    if not text:
        return ""
    path = Path(text).expanduser()
    if not path.exists():
        raise OptionError(f"{name}: '{path}' does not exist")
    return str(path.resolve())


def read_folder(text: str) -> str:
    """The episodes' folder, which the recorder may make."""
    return str(Path(text).expanduser().resolve()) if text else ""


def read_boolean(name: str, text: str) -> bool:
    """True or false."""
    value = BOOLEANS.get(text.lower())
    if value is None:
        raise OptionError(f"{name}: expected true or false, got '{text}'")
    return value


def read_integer(name: str, text: str) -> int:
    """An integer."""
    try:
        return int(text)
    except ValueError as error:
        raise OptionError(f"{name}: expected an integer, got '{text}'") from error


def read_seconds(name: str, text: str) -> float:
    """A time of a minute at most [s]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 60.0:
        raise OptionError(f"{name}: expected 0 to 60 seconds, got '{text}'")
    return value


def read_seed(text: str) -> int:
    """A seed that every program here takes."""
    value = read_integer("seed", text)
    if not 0 <= value < 2**31:
        raise OptionError(f"seed: expected 0 to {2**31 - 1}, got {value}")
    return value


def read_namespace(text: str) -> str:
    """A ROS namespace without slashes at its ends; '' is the root."""
    namespace = text.strip("/")
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise OptionError(
            f"namespace: '{text}' is no ROS name; expected letters, digits and underscores, no "
            "digit first, such as left or cell/left"
        )
    return namespace


def read_size(name: str, text: str) -> int:
    """A side of an image [pixels]."""
    value = read_integer(name, text)
    if not 16 <= value <= 4096:
        raise OptionError(f"{name}: expected 16 to 4096 pixels, got {value}")
    return value
