"""Dataclasses from plain data, strictly: every key known, every value of its kind.

Must not import ROS or torch.
"""

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from evo1_policy.command_line import did_you_mean
from evo1_policy.untrusted import UntrustedError, parse_yaml

Data = dict[str, Any]
T = TypeVar("T")


class TrainConfigError(ValueError):
    """A choice that cannot be used; the message names the source and the dotted key."""


def choice(
    default: T,
    about: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> T:
    """A field of Choices: its default, what it means, and between what its number must be."""
    found: T = dataclasses.field(
        default=default,
        metadata={"about": about, "low": low, "above": above, "high": high, "below": below},
    )
    return found


class Choices:
    """Base of the sections of a config, whose fields are made by `choice`."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value, within = getattr(self, item.name), item.metadata
            if value is None or "about" not in within:
                continue
            for bound, fits, words in (
                ("low", lambda a, b: a >= b, "{:g} or more"),
                ("above", lambda a, b: a > b, "more than {:g}"),
                ("high", lambda a, b: a <= b, "{:g} at most"),
                ("below", lambda a, b: a < b, "less than {:g}"),
            ):
                limit = within[bound]
                if limit is not None and not fits(value, limit):
                    expected = words.format(limit)
                    raise TrainConfigError(f"{item.name}: expected {expected}, got {value}")


def described(kind: type, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every (dotted key, default, what it means) of a section made by `choice`, and below it."""
    hints = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        if "about" in item.metadata:
            yield f"{path}{item.name}", item.default, item.metadata["about"]
        elif issubclass(hints[item.name], Choices):
            yield from described(hints[item.name], f"{path}{item.name}.")


def weighted(text: str) -> tuple[str, float | None]:
    """Split `NAME:0.3` of a command line; None where no number above 0 follows."""
    name, colon, number = text.rpartition(":")
    try:
        factor = float(number) if colon else math.nan
    except ValueError:
        factor = math.nan
    return (name, factor) if 0 < factor < math.inf else (text, None)


def plain(config: Any) -> Data:
    """A dataclass as plain data for YAML or JSON; tuples become lists."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def build(kind: type[T], data: Mapping[str, Any], *, source: str, path: str = "") -> T:
    """A dataclass of this kind from plain data; keys that are not there keep their defaults.

    Raises:
        TrainConfigError: a key is unknown, or a value is of another kind.
    """
    hints = get_type_hints(kind)
    for key in data:
        if key not in hints:
            raise _unknown(source, f"{path}{key}", key, list(hints))
    values = {
        key: _value(hints[key], value, source, f"{path}{key}") for key, value in data.items()
    }
    try:
        return kind(**values)
    except ValueError as error:  # of the dataclass itself
        raise TrainConfigError(f"{source}: {path}{error}") from error


def overlay(base: Data, changes: Mapping[str, Any], *, source: str, path: str = "") -> Data:
    """The base with some of its values replaced, section by section.

    Raises:
        TrainConfigError: the base has no such key, or a section is replaced by a value.
    """
    result = dict(base)
    for key, value in changes.items():
        dotted = f"{path}{key}"
        if key not in base:
            raise _unknown(source, dotted, str(key), list(base))
        if isinstance(base[key], dict):
            if not isinstance(value, Mapping):
                raise TrainConfigError(f"{source}: {dotted}: expected a section, got {value!r}")
            result[key] = overlay(base[key], value, source=source, path=f"{dotted}.")
        else:
            result[key] = value
    return result


def override(base: Data, text: str, *, section: str) -> Data:
    """The base with one `key=value` of the command line; the value is YAML.

    Args:
        base: plain data.
        text: `data.workers=2`, or `steps=500` for a key of `section`.
        section: where keys without a dot are looked for that the top level does not have.

    Raises:
        TrainConfigError: no `=`, no YAML, or no such key.
    """
    key, equals, value_text = text.partition("=")
    if not equals or not key:
        raise TrainConfigError(f"'{text}': expected key=value, such as data.workers=2")
    if "." not in key and key not in base:
        if key not in base[section]:
            raise _unknown("command line", key, key, [*base, *base[section]])
        key = f"{section}.{key}"
    try:
        change: Any = parse_yaml(value_text, source=key) if value_text else ""
    except UntrustedError as error:
        raise TrainConfigError(f"{error}: {value_text!r}") from error
    for part in reversed(key.split(".")):
        change = {part: change}
    return overlay(base, change, source="command line")


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every (dotted key, our value, their value) in which two plain values differ."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*ours, *theirs]):
            dotted = f"{path}.{key}" if path else str(key)
            yield from differences(ours.get(key), theirs.get(key), dotted)
    elif ours != theirs:
        yield path, ours, theirs


def to_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML, keys in their order."""
    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=99))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _unknown(source: str, dotted: str, key: str, known: list[str]) -> TrainConfigError:
    hint = did_you_mean(key, known) or f"; known here: {', '.join(known)}"
    return TrainConfigError(f"{source}: {dotted}: unknown key{hint}")


def _value(hint: Any, value: Any, source: str, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise TrainConfigError(f"{source}: {path}: expected a section, got {value!r}")
        assert isinstance(hint, type)
        return build(hint, value, source=source, path=f"{path}.")
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        hint = next(item for item in get_args(hint) if item is not type(None))
        return _value(hint, value, source, path)
    if origin is Literal:
        if value not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise TrainConfigError(f"{source}: {path}: expected one of {choices}, got {value!r}")
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(
            _value(get_args(hint)[0], item, source, f"{path}[{number}]")
            for number, item in enumerate(items)
        )
    return _scalar(hint, value, source, path)


def _scalar(hint: type, value: Any, source: str, path: str) -> Any:
    if hint is float and not isinstance(value, bool):
        try:
            number = float(value)  # YAML reads 1e-5 as a text
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise TrainConfigError(f"{source}: {path}: expected {hint.__name__}, got {value!r}")
