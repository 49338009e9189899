"""What comes from outside, read with bounds: size, depth, kind of file, what may be printed.

Every JSON, YAML and XML file that a user was given by somebody passes here; an error is a
ValueError that names the file. Must not import ROS or torch.
"""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

MOST_JSON_BYTES = 64 << 20
MOST_YAML_BYTES = 256 << 10  # PyYAML takes seconds for each megabyte
MOST_NODES = 100_000  # of a YAML document, each alias counted as what it stands for
MOST_PIXELS = 7680 * 4320  # of a compressed picture: 100 MB once it is decoded
MOST_LEVELS = 64  # of lists and mappings in each other
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LFS_POINTER_BYTES = 1024
# What PyYAML's constructors raise for scalars of a wrong form, besides its own errors.
_CONSTRUCTOR_ERRORS = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError)


class UntrustedError(ValueError):
    """A file or text that is not read; the message names it."""


def refuse_lfs_pointer(path: Path | str) -> None:
    """Say so where a path is not the data file that it should be, before a library opens it.

    Raises:
        UntrustedError: it is the small text that Git leaves in place of a large file, or a pipe or
            a device, which would be waited for.
        OSError: it cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UntrustedError(f"{path}: it is no regular file")
    if path.is_file() and path.stat().st_size <= _LFS_POINTER_BYTES:
        _check_pointer(path, path.read_bytes())


def read_text(path: Path | str, *, what: str, max_bytes: int) -> str:
    """A text file of a bounded size.

    Args:
        path: of a regular file; a pipe or a device is refused, not waited for.
        what: it is, for error messages: 'robot file'.
        max_bytes: more are refused without reading them.

    Raises:
        UntrustedError: missing, no file, too large, no UTF-8, or a Git LFS pointer.
    """
    path = Path(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UntrustedError(f"{path}: cannot read the {what}: it is no regular file")
        if found.st_size > max_bytes:
            raise UntrustedError(
                f"{path}: the {what} has {found.st_size:,} bytes; at most {max_bytes:,} are read"
            )
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UntrustedError(f"{path}: cannot read the {what}: {error.strerror}") from error
    if len(data) > max_bytes:  # /proc and files that grow tell no size
        raise UntrustedError(f"{path}: the {what} has more than {max_bytes:,} bytes")
    _check_pointer(path, data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UntrustedError(f"{path}: the {what} is not UTF-8 text: {error}") from error


def read_json(path: Path | str, *, what: str, max_bytes: int = MOST_JSON_BYTES) -> Any:
    """The value in a JSON file.

    Args:
        path: see read_text.
        what: it is, for error messages.
        max_bytes: see read_text.

    Raises:
        UntrustedError: see read_text; no JSON, or nested deeper than MOST_LEVELS.
    """
    return parse_json(read_text(path, what=what, max_bytes=max_bytes), source=str(path))


def parse_json(text: str, *, source: str) -> Any:
    """The value in a JSON text; `source` stands in error messages.

    Raises:
        UntrustedError: no JSON, or nested deeper than MOST_LEVELS.
    """
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise UntrustedError(f"{source}: not valid JSON: {error}") from error
    except RecursionError as error:
        raise UntrustedError(f"{source}: not usable JSON: nested too deeply") from error
    if text.count("[") + text.count("{") > MOST_LEVELS and _deeper(value):
        raise UntrustedError(f"{source}: not usable JSON: nested deeper than {MOST_LEVELS} levels")
    return value


def parse_xml(text: str, *, source: str) -> ElementTree.Element:
    """The outermost element of an XML text; `source` stands in error messages.

    Raises:
        UntrustedError: no XML, or one that could make more of itself than it has.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UntrustedError(
            f"{source}: has a document type or declares entities, which nobody expands here"
        )
    try:
        return ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, RecursionError, ValueError) as error:
        raise UntrustedError(f"{source}: no XML: {error}") from error


def parse_yaml(text: str, *, source: str) -> Any:
    """The value in a YAML text of plain data; `source` stands in error messages.

    Aliases may be used, but not to write a bomb: what they stand for is counted.

    Raises:
        UntrustedError: no valid YAML, a key that stands twice, too long, too deep, or too many
            nodes.
    """
    if len(text) > MOST_YAML_BYTES:
        raise UntrustedError(
            f"{source}: has {len(text):,} characters; at most {MOST_YAML_BYTES:,} of YAML are read"
        )
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        count = _nodes(node, {})
        if count > MOST_NODES:
            raise UntrustedError(
                f"{source}: not usable YAML: its aliases stand for {count:,} values; "
                f"at most {MOST_NODES:,} are read"
            )
        return loader.construct_document(node)
    except (yaml.YAMLError, *_CONSTRUCTOR_ERRORS) as error:
        if isinstance(error, UntrustedError):
            raise
        raise UntrustedError(f"{source}: not valid YAML: {error}") from error


def _check_pointer(path: Path, data: bytes) -> None:
    if len(data) <= _LFS_POINTER_BYTES and data.startswith(_LFS_POINTER):
        size = re.search(rb"^size (\d{1,20})$", data, re.MULTILINE)
        bytes_there = f" of {int(size[1]):,} bytes" if size else ""
        raise UntrustedError(
            f"{path}: a Git LFS pointer to a file{bytes_there}, not the file: run git lfs pull "
            "in its repository, or download it again"
        )


def _deeper(value: object) -> bool:
    """Whether lists and mappings lie deeper than MOST_LEVELS in each other."""
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS):
        inner: list[Any] = []
        for item in level:
            parts = item.values() if isinstance(item, Mapping) else item
            inner.extend(part for part in parts if isinstance(part, Mapping | list))
        if not inner:
            return False
        level = inner
    return True


def _nodes(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node stands for; each node is looked at once."""
    if node in known:
        if known[node] == 0:
            raise yaml.YAMLError("an alias stands for what it is in")
        return known[node]
    known[node] = 0
    count = 1
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            for part in item if isinstance(item, tuple) else (item,):
                count += _nodes(part, known)
    known[node] = count
    return count


class _Loader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; with limits that is dangerous."""

    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._level += 1
        if self._level > MOST_LEVELS:
            raise yaml.YAMLError(f"nested deeper than {MOST_LEVELS} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key.value}' stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)
