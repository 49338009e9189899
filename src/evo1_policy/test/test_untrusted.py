"""What comes from outside is read with bounds, and said to be what it is."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.command_line import printable
from evo1_policy.robot_config import RobotConfigError, load_robot, parse_robot
from evo1_policy.untrusted import (
    UntrustedError,
    parse_json,
    parse_yaml,
    read_json,
    read_text,
    refuse_lfs_pointer,
)

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:0000000000000000000000000000000000000000000000000000000000000000\n"
    "size 1551234567\n"
)
ROBOT = Path(__file__).parents[2] / "evo1_bringup/robots/so100.yaml"

ROBOT_DATA = json.dumps(parse_yaml(ROBOT.read_text(), source=str(ROBOT)))


def bomb(levels: int) -> str:
    """Aliases of aliases: nine to the power of `levels` texts from a few hundred bytes."""
    lines = ["k0: &k0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for level in range(1, levels):
        inner = ", ".join([f"*k{level - 1}"] * 9)
        lines.append(f"k{level}: &k{level} [{inner}]")
    return "\n".join(lines) + "\n"


def test_yaml_bomb_as_robot_file_ends_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(bomb(9) + ROBOT.read_text())
    begun = time.monotonic()
    with pytest.raises(RobotConfigError, match=r"robot.yaml: .*aliases stand for 4\d\d,\d{3},"):
        load_robot(path)
    assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, *a]", "an alias stands for what it is in"),
        ("[" * 5000, "nested deeper than 64"),
        ("a: 1\n" + " " * 300_000, "at most 262,144"),
        ("a: 2024-99-99", "not valid YAML"),
        ("a: !!timestamp soon", "not valid YAML"),
        ("a: !!bool maybe", "not valid YAML"),
        (f"a: {'9' * 5000}", "not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: 1\na: 2", "key 'a' stands twice"),
        ("a: {b: 1, b: 2}", "key 'b' stands twice"),
        ("? [1]\n: 2", "not valid YAML"),
        ("a: \x07", "not valid YAML"),
    ],
    ids=range(12),
)
def test_yaml_that_cannot_be_used_is_refused_by_its_source(text: str, message: str) -> None:
    with pytest.raises(UntrustedError, match=f"^arm.yaml: .*({message})"):
        parse_yaml(text, source="arm.yaml")


def test_aliases_may_be_used_as_people_use_them() -> None:
    text = "base: &b {velocity: 1, position: [0, 2]}\nother: {<<: *b, velocity: 3}\nsame: *b\n"
    assert parse_yaml(text, source="x") == {
        "base": {"velocity": 1, "position": [0, 2]},
        "other": {"velocity": 3, "position": [0, 2]},
        "same": {"velocity": 1, "position": [0, 2]},
    }
    assert parse_yaml("", source="x") is None


@pytest.mark.fuzz
@given(st.text(alphabet="ab:&*<>-[]{},!'\"\n #0\\.", max_size=60) | st.text(max_size=40))
def test_any_text_is_a_robot_file_or_an_error_of_one_kind(text: str) -> None:
    with pytest.raises(RobotConfigError, match=r"arm\.yaml"):
        parse_robot(text, source="arm.yaml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@pytest.mark.fuzz
@given(number=st.integers(0, 200), value=VALUES)
def test_any_value_of_a_robot_file_may_be_wrong(number: int, value: object) -> None:
    data = json.loads(ROBOT_DATA)
    spots = list(spots_of(data))
    holder, key = spots[number % len(spots)]
    holder[key] = value
    try:
        robot = parse_robot(json.dumps(data), source="arm.yaml")
    except RobotConfigError as error:
        said = str(error)
    else:
        said = f"arm.yaml: {robot.name}"
    assert said.startswith("arm.yaml: ")


def spots_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in plain data, as what holds it and its key."""
    if isinstance(value, dict | list):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from spots_of(item)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 65 + "]" * 65, '{"a":' * 70 + "1" + "}" * 70], ids=range(3)
)
def test_deep_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "info.json"
    path.write_text(text)
    with pytest.raises(UntrustedError, match=r"info.json: not (usable|valid) JSON"):
        read_json(path, what="description")


def test_json_of_many_values_is_read() -> None:
    value = [[{"a": [number]}] for number in range(1000)]
    assert parse_json(json.dumps(value), source="x") == value


def test_large_files_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large.json", tmp_path / "pipe.json"
    with large.open("wb") as file:
        file.truncate(1 << 30)
    os.mkfifo(pipe)
    for path, message in (
        (large, r"large.json: the description has 1,073,741,824 bytes; at most 67,108,864"),
        (pipe, r"pipe.json: cannot read the description: it is no regular file"),
        (tmp_path, "cannot read the description: it is no regular file"),
        (Path("/dev/zero"), "/dev/zero: cannot read the description: it is no regular file"),
        (tmp_path / "none.json", "none.json: cannot read the description: No such file"),
        (tmp_path / ("x" * 300), "cannot read the description: File name too long"),
    ):
        with pytest.raises(UntrustedError, match=message):
            read_json(path, what="description")


def test_files_of_another_encoding_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_bytes("name: Fräser".encode("latin-1"))
    with pytest.raises(UntrustedError, match=r"robot\.yaml: the robot file is not UTF-8"):
        read_text(path, what="robot file", max_bytes=100)


def test_lfs_pointer_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(POINTER)
    message = r"file: a Git LFS pointer to a file of 1,551,234,567 bytes.*run git lfs pull"
    with pytest.raises(UntrustedError, match=message):
        refuse_lfs_pointer(path)
    with pytest.raises(UntrustedError, match=message):
        read_json(path, what="description")
    path.write_bytes(b"x" * 2000)
    refuse_lfs_pointer(path)


@pytest.mark.parametrize("read", [refuse_lfs_pointer, lambda path: read_json(path, what="a")])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UntrustedError, match=r"model\.safetensors: .*no regular file"):
        read(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pick up the can", "pick up the can"),
        ("\u2013 \u7f36\u3000\u00a0\U0001f916", "\u2013 \u7f36\u3000\u00a0\U0001f916"),
        ("a\n[INFO] all is well\r", "a\\n[INFO] all is well\\r"),
        ("\x1b[2J\x9b31m\x00", "\\x1b[2J\\x9b31m\\x00"),
        ("abc\u202edcba\u2066", "abc\\u202edcba\\u2066"),
        ("a\u2028b\ud800", "a\\u2028b\\ud800"),
        ("x" * 11, "xxxxxxx..."),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text, limit=10 if text.startswith("xx") else 300) == shown


@given(st.text(), st.integers(0, 40))
def test_printable_is_one_line_of_the_limit(text: str, limit: int) -> None:
    shown = printable(text, limit=limit)
    assert len(shown) <= max(limit, 3)
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")
