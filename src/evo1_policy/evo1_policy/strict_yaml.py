"""Read YAML and JSON strictly: every key must be known, every value of the kind asked for.

Errors name the source and the dotted path of the key. Must not import ROS or torch.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evo1_policy.command_line import did_you_mean, printable
from evo1_policy.untrusted import UntrustedError, parse_yaml

# What rcl accepts as a relative or absolute topic name without substitutions.
_TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


class StrictYamlError(UntrustedError):
    """A text that cannot be used; the message names the source and the dotted key."""


class Section:
    """A mapping that remembers its dotted path and which keys were asked for.

    Read each key with the method of its kind, then call finish(), which refuses the others.
    """

    def __init__(self, data: object, *, path: str, source: str) -> None:
        self.path = path
        self.source = source
        if not isinstance(data, Mapping):
            raise self.error("", f"expected a mapping, got {_kind(data)}")
        self._data: Mapping[Any, Any] = data
        self._known: set[str] = set()

    def error(self, key: str, problem: str) -> StrictYamlError:
        """Make the error for a key of this section; an empty key means the section itself."""
        dotted = self._join(key) or "top level"
        return StrictYamlError(f"{self.source}: {dotted}: {problem}")

    def has(self, key: str) -> bool:
        """Whether an optional key is there."""
        self._known.add(key)
        return key in self._data

    def get(self, key: str, expected: str) -> Any:
        """Any value of a required key; `expected` says in the error what belongs there."""
        if not self.has(key):
            near = difflib.get_close_matches(key, [str(found) for found in self._data], n=1)
            hint = f" (there is '{near[0]}')" if near else ""
            raise self.error(key, f"missing{hint}; expected {expected}")
        return self._data[key]

    def text(self, key: str) -> str:
        """A non-empty text."""
        value = self.get(key, "a non-empty text")
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"expected a non-empty text, got {_kind(value)}")
        return value

    def topic(self, key: str) -> str:
        """A ROS topic name."""
        value = self.text(key)
        if not _TOPIC.fullmatch(value):
            raise self.error(
                key, f"expected a topic name such as camera/image_raw, got {_kind(value)}"
            )
        return value

    def choice(self, key: str, choices: Sequence[str], default: str = "") -> str:
        """One of the given texts; `default` where one is given and the key is missing."""
        if default and not self.has(key):
            return default
        value = self.text(key)
        if value not in choices:
            raise self.error(key, f"expected one of {', '.join(choices)}, got '{value}'")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false; `default` where one is given and the key is missing."""
        if default is not None and not self.has(key):
            return default
        value = self.get(key, "true or false")
        if not isinstance(value, bool):
            raise self.error(key, f"expected true or false, got {value!r}")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        return self._number(key, self.get(key, "a number"))

    def positive(self, key: str, default: float = 0.0) -> float:
        """A finite number above 0; `default` where one is given and the key is missing."""
        if default and not self.has(key):
            return default
        value = self.number(key)
        if value <= 0:
            raise self.error(key, f"expected a number above 0, got {value}")
        return value

    def interval(self, key: str) -> tuple[float, float]:
        """Two finite numbers, the first below the second."""
        value = self.get(key, "[lower, upper]")
        if not isinstance(value, list) or len(value) != 2:
            raise self.error(key, f"expected [lower, upper], got {_kind(value)}")
        lower, upper = (self._number(f"{key}[{i}]", item) for i, item in enumerate(value))
        if lower >= upper:
            raise self.error(
                key, f"lower limit {lower} is not below upper limit {upper}; swap them?"
            )
        return lower, upper

    def names(self, key: str) -> tuple[str, ...]:
        """A non-empty list of texts."""
        value = self.get(key, "a list of names")
        if not isinstance(value, list) or not value:
            raise self.error(key, f"expected a non-empty list of names, got {_kind(value)}")
        for i, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                raise self.error(f"{key}[{i}]", f"expected a non-empty text, got {_kind(item)}")
        return tuple(value)

    def section(self, key: str) -> "Section":
        """A mapping."""
        return Section(self.get(key, "a mapping"), path=self._join(key), source=self.source)

    def sections(self, key: str) -> "list[Section]":
        """A non-empty list of mappings."""
        value = self.get(key, "a list of mappings")
        if not isinstance(value, list) or not value:
            raise self.error(key, f"expected a non-empty list, got {_kind(value)}")
        return [
            Section(item, path=f"{self._join(key)}[{i}]", source=self.source)
            for i, item in enumerate(value)
        ]

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        unknown = sorted(str(key) for key in self._data if key not in self._known)
        if unknown:
            hint = did_you_mean(unknown[0], self._known)
            known = ", ".join(sorted(self._known))
            raise self.error(unknown[0], f"unknown key{hint}; known here: {known}")

    def _number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"expected a number, got {_kind(value)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.error(key, f"expected a finite number, got {number}")
        return number

    def _join(self, key: str) -> str:
        return ".".join(part for part in (self.path, key) if part)


def read_section(text: str, *, source: str) -> Section:
    """Parse YAML text whose top level is a mapping.

    Raises:
        UntrustedError: see untrusted.parse_yaml, or no mapping.
    """
    return Section(parse_yaml(text, source=source), path="", source=source)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {printable(repr(value), 80)}"
