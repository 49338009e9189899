"""Words and files that a person gives as the value of an option, read. No ROS, no launch.

Each reader raises OptionError, with the option's name, for a value that cannot be used.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from evo1_policy.node_parameters import POLICY_PARAMETERS
from evo1_policy.node_parameters import ParameterError as OptionError

__all__ = ["OptionError", "read_file", "read_namespace", "read_params_file"]

_NAMESPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def read_file(name: str, text: str) -> str:
    """An existing file or folder as its full path; '' stays ''."""
    if not text:
        return ""
    path = Path(text).expanduser()
    if not path.exists():
        raise OptionError(f"{name}: '{path}' does not exist")
    return str(path.resolve())


def read_namespace(text: str) -> str:
    """A ROS namespace without slashes at its ends; '' is the root."""
    namespace = text.strip("/")
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise OptionError(
            f"namespace: '{text}' is no ROS name; expected letters, digits and underscores, no "
            "digit first, such as left or cell/left"
        )
    return namespace


def read_params_file(text: str, namespace: str) -> dict[str, Any]:
    """The policy node's parameters in a ROS parameter file; '' has none.

    As rclpy does: those of '/**' first, then those of the node by its name.
    """
    path = read_file("params_file", text)
    if not path:
        return {}
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"params_file: {path}: not readable as YAML: {error}") from error
    own = f"/{namespace}/policy" if namespace else "/policy"
    sections = document if isinstance(document, Mapping) else {}
    found = [sections[name] for name in ("/**", own[1:], own) if name in sections]
    if not found or not all(isinstance(section, Mapping) for section in found):
        raise OptionError(
            f"params_file: {path}: expected '/**' or '{own}' and below it ros__parameters"
        )
    values: dict[str, Any] = {}
    for section in found:
        for name, value in (section.get("ros__parameters") or {}).items():
            if name not in POLICY_PARAMETERS:
                raise OptionError(f"params_file: {path}: {name}: no parameter of the policy node")
            row = POLICY_PARAMETERS[name]
            try:
                row.check(value)
            except OptionError as error:
                raise OptionError(f"params_file: {path}: {error}") from error
            values[name] = type(row.default)(value)  # an integer may stand for a number
    return values
