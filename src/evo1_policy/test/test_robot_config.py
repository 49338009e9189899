"""The robot file: every kind of bad input is refused by source and dotted key."""

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.control.limits import Limits
from evo1_policy.robot_config import (
    RobotConfigError,
    differences,
    load_robot,
    parse_robot,
)

TEXT = """
name: two
embodiment: two
rate_hz: 30
joints:
  - {name: elbow, position: [-1.0, 2.0], velocity: 1.5, acceleration: 6.0}
  - {name: finger, position: [0.0, 0.8], velocity: 2, acceleration: 10}
gripper: {joint: finger, open: 0.0, closed: 0.8}
cameras:
  - {name: image_1, topic: env/image_raw, type: sensor_msgs/msg/Image, max_age_ms: 150}
  - {name: image_2, topic: wrist/image/compressed, type: sensor_msgs/msg/CompressedImage,
     max_age_ms: 120}
state: {topic: joint_states, max_age_ms: 100}
command:
  - {topic: arm/joint_trajectory, joints: [elbow]}
  - {topic: hand/joint_trajectory, joints: [finger]}
teleop: {topic: teleop/joint_trajectory}
home: {finger: 0.1, elbow: -0.5}
max_skew_ms: 17
safety: {max_start_error_rad: 0.6, max_tracking_error_rad: 0.35}
"""


def edited(edit: Callable[[dict[str, Any]], object]) -> str:
    data = yaml.safe_load(TEXT)
    edit(data)
    return yaml.safe_dump(data)


def refusal(text: str) -> str:
    with pytest.raises(RobotConfigError) as caught:
        parse_robot(text, source="two.yaml")
    return str(caught.value)


def test_good_file_gives_every_fact_in_joint_order() -> None:
    robot = parse_robot(TEXT)
    assert robot.joint_names == ("elbow", "finger")
    assert robot.width == 2
    assert robot.step_ns == 33_333_333
    assert robot.home == (-0.5, 0.1)
    np.testing.assert_array_equal(robot.position_min, [-1.0, 0.0])
    np.testing.assert_array_equal(robot.position_max, [2.0, 0.8])
    np.testing.assert_array_equal(robot.velocity_max, [1.5, 2.0])
    np.testing.assert_array_equal(robot.acceleration_max, [6.0, 10.0])
    assert robot.gripper is not None
    assert (robot.gripper.joint, robot.gripper.open, robot.gripper.closed) == ("finger", 0.0, 0.8)
    assert [camera.name for camera in robot.cameras] == ["image_1", "image_2"]
    assert robot.cameras[1].type == "sensor_msgs/msg/CompressedImage"
    assert [command.joints for command in robot.command] == [("elbow",), ("finger",)]
    assert robot.teleop_topic == "teleop/joint_trajectory"
    assert robot.text == TEXT


@pytest.mark.parametrize("name", ["xarm6", "so100"])
def test_shipped_robot_file_loads(robots_dir: Path, name: str) -> None:
    robot = load_robot(robots_dir / f"{name}.yaml")
    assert robot.name == name
    assert robot.rate_hz == 30
    assert [camera.name for camera in robot.cameras] == ["image_1", "image_2"]


def test_gripper_may_be_left_out() -> None:
    assert parse_robot(edited(lambda data: data.pop("gripper"))).gripper is None


def test_two_grippers_stand_in_a_list(robots_dir: Path) -> None:
    robot = load_robot(robots_dir / "xarm6_bimanual.yaml")
    expected = ["left_drive_joint", "right_drive_joint"]
    assert [gripper.joint for gripper in robot.grippers] == expected
    assert robot.gripper is None
    assert robot.width == 14
    limits = Limits.of(robot)
    others = [name for name, arm in zip(robot.joint_names, limits.is_arm, strict=True) if not arm]
    assert others == expected


def test_a_grippers_effort_needs_one_gripper_with_an_output_of_its_own(robots_dir: Path) -> None:
    said = parse_robot(edited(lambda data: data["gripper"].update(effort=20)))
    assert said.gripper is not None
    assert said.gripper.effort == 20.0
    assert parse_robot(TEXT).grippers[0].effort is None

    def together(data: dict[str, Any]) -> None:
        data["gripper"]["effort"] = 20
        data["command"] = [{**data["command"][0], "joints": ["elbow", "finger"]}]

    assert "gripper.effort: no output of `command` drives finger alone" in refusal(
        edited(together)
    )
    data = yaml.safe_load((robots_dir / "xarm6_bimanual.yaml").read_text())
    data["grippers"][1]["effort"] = 20
    assert "grippers[1].effort: there is more than one gripper" in refusal(yaml.safe_dump(data))


def test_gripper_and_grippers_together_are_refused() -> None:
    text = edited(lambda data: data.update(grippers=[data["gripper"]]))
    assert "grippers: there is 'gripper' already" in refusal(text)


def test_one_gripper_twice_is_refused() -> None:
    text = edited(lambda data: data.update(grippers=[data.pop("gripper")] * 2))
    assert "grippers[1].joint: 'finger' is grippers[0].joint already" in refusal(text)


LEVELS: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = [
    ("", lambda data: data),
    ("joints[1].", lambda data: data["joints"][1]),
    ("gripper.", lambda data: data["gripper"]),
    ("cameras[1].", lambda data: data["cameras"][1]),
    ("state.", lambda data: data["state"]),
    ("command[0].", lambda data: data["command"][0]),
    ("teleop.", lambda data: data["teleop"]),
    ("home.", lambda data: data["home"]),
    ("safety.", lambda data: data["safety"]),
]


@pytest.mark.parametrize(("prefix", "level"), LEVELS, ids=[level[0] or "top" for level in LEVELS])
def test_unknown_key_is_refused_at_each_level(
    prefix: str, level: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    text = edited(lambda data: level(data).update(colour="red"))
    assert refusal(text).startswith(f"two.yaml: {prefix}colour: unknown key; known here: ")


def required_keys() -> list[tuple[int, str]]:
    data = yaml.safe_load(TEXT)
    keys = [(i, key) for i, (_, level) in enumerate(LEVELS) for key in level(data)]
    return [(i, key) for i, key in keys if (LEVELS[i][0], key) != ("", "gripper")]


@pytest.mark.parametrize(("level", "key"), required_keys())
def test_missing_key_is_named_with_what_belongs_there(level: int, key: str) -> None:
    prefix, find = LEVELS[level]
    message = refusal(edited(lambda data: find(data).pop(key)))
    assert message.startswith(f"two.yaml: {prefix}{key}: missing")
    assert "; expected " in message


def test_misspelt_key_is_pointed_out() -> None:
    def rename(data: dict[str, Any]) -> None:
        data["joints"][0]["velocty"] = data["joints"][0].pop("velocity")

    assert refusal(edited(rename)) == (
        "two.yaml: joints[0].velocity: missing (there is 'velocty'); expected a number"
    )


BAD_VALUES: list[tuple[str, Any, str]] = [
    ("name", "", "name: expected a non-empty text"),
    ("name", 7, "name: expected a non-empty text, got int 7"),
    ("rate_hz", 0, "rate_hz: expected a number above 0, got 0.0"),
    ("rate_hz", 1e6, "rate_hz: expected at most 1000 Hz, got 1e+06"),
    ("rate_hz", "fast", "rate_hz: expected a number, got str 'fast'"),
    ("rate_hz", True, "rate_hz: expected a number, got bool True"),
    ("rate_hz", math.nan, "rate_hz: expected a finite number, got nan"),
    ("rate_hz", 10**400, "rate_hz: expected a finite number, got inf"),
    ("joints", [], "joints: expected a non-empty list, got list []"),
    ("joints", {"a": 1}, "joints: expected a non-empty list, got dict {'a': 1}"),
    ("joints.0", "elbow", "joints[0]: expected a mapping, got str 'elbow'"),
    ("joints.0.position", [2, -1], "joints[0].position: lower limit 2.0 is not below upper"),
    ("joints.0.position", [1], "joints[0].position: expected [lower, upper], got list [1]"),
    ("joints.0.position", 1, "joints[0].position: expected [lower, upper], got int 1"),
    ("joints.0.position", [0, "x"], "joints[0].position[1]: expected a number, got str 'x'"),
    ("joints.0.position", [math.nan, 1], "joints[0].position[0]: expected a finite number"),
    ("joints.0.velocity", None, "joints[0].velocity: expected a number, got nothing"),
    ("joints.0.velocity", -1, "joints[0].velocity: expected a number above 0, got -1.0"),
    ("joints.0.acceleration", math.inf, "joints[0].acceleration: expected a finite number"),
    ("joints.1.name", "elbow", "gripper.joint: 'finger' is no joint of this file; known: elbow"),
    ("gripper", None, "gripper: expected a mapping, got nothing"),
    ("gripper.closed", 0.9, "gripper.closed: 0.9 rad is outside the position limits of finger"),
    ("gripper.closed", 0.0, "gripper.closed: is the same as open, 0.0 rad"),
    ("gripper.effort", 0, "gripper.effort: expected a number above 0, got 0.0"),
    ("gripper.effort", math.inf, "gripper.effort: expected a finite number, got inf"),
    ("gripper.effort", "soft", "gripper.effort: expected a number, got str 'soft'"),
    ("cameras.0.type", "Image", "cameras[0].type: expected one of sensor_msgs/msg/Image, sens"),
    ("cameras.0.topic", "my camera", "cameras[0].topic: expected a topic name"),
    ("cameras.0.topic", "wrist/image/compressed", "cameras[1].topic: 'wrist/image/compressed' is"),
    ("cameras.1.name", "image_1", "cameras[1].name: 'image_1' is cameras[0].name already"),
    ("cameras.1.name", "joint_states", "cameras[1].name: 'joint_states' is the name of the"),
    ("cameras.1.max_age_ms", 0, "cameras[1].max_age_ms: expected a number above 0"),
    ("state.topic", "/joint/", "state.topic: expected a topic name"),
    ("command.0.joints", [], "command[0].joints: expected a non-empty list of names"),
    ("command.0.joints", [1], "command[0].joints[0]: expected a non-empty text, got int 1"),
    ("command.0.joints", ["knee"], "command[0].joints[0]: 'knee' is no joint of this file"),
    ("command.0.joints", ["elbow", "elbow"], "command[0].joints[1]: 'elbow' is driven by comma"),
    ("command.1.joints", ["elbow"], "command[1].joints[0]: 'elbow' is driven by command[0].join"),
    ("command.1.topic", "arm/joint_trajectory", "command[1].topic: 'arm/joint_trajectory' is"),
    (
        "home.elbow",
        2.5,
        "home.elbow: 2.5 rad is outside the position limits of elbow, [-1.0, 2.0]",
    ),
    ("home.elbow", "up", "home.elbow: expected a number, got str 'up'"),
    ("home.knee", 0.0, "home.knee: unknown key"),
    ("max_skew_ms", -1, "max_skew_ms: expected a number above 0"),
    ("safety.max_tracking_error_rad", 0, "safety.max_tracking_error_rad: expected a number above"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_VALUES)
def test_bad_value_is_refused_by_its_dotted_key(path: str, value: Any, message: str) -> None:
    def put(data: Any) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            data = data[part]
        data[last] = value

    assert refusal(edited(put)).startswith(f"two.yaml: {message}")


def test_joint_named_twice_is_refused() -> None:
    def copy_elbow(data: dict[str, Any]) -> None:
        data["joints"].append(dict(data["joints"][0]))

    assert refusal(edited(copy_elbow)) == (
        "two.yaml: joints[2].name: 'elbow' is joints[0].name already"
    )


def test_joint_without_output_is_named() -> None:
    message = refusal(edited(lambda data: data["command"].pop(1)))
    assert message.startswith("two.yaml: command: no output drives finger; ")


def test_limit_that_stands_twice_is_refused_with_its_line() -> None:
    text = TEXT.replace("velocity: 1.5,", "velocity: 1.5, velocity: 15,")
    message = refusal(text)
    assert "two.yaml: not valid YAML" in message
    assert "key 'velocity' stands twice" in message
    assert "line 6" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joints: [", "not valid YAML"),
        ("a: !!python/object:os.system x", "not valid YAML"),
        ("", "top level: expected a mapping, got nothing"),
        ("- 1", "top level: expected a mapping, got list [1]"),
        ("[" * 5000, "not valid YAML: nested deeper than 64 levels"),
    ],
    ids=range(5),
)
def test_text_that_is_no_mapping_is_refused(text: str, message: str) -> None:
    assert refusal(text).startswith(f"two.yaml: {message}")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RobotConfigError, match=r"nowhere\.yaml: cannot read the robot file"):
        load_robot(tmp_path / "nowhere.yaml")


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RobotConfigError, match=r"robot\.yaml: the robot file is not UTF-8 text"):
        load_robot(path)


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    if isinstance(value, list):
        return [shuffled(item, draw) for item in value]
    return value


@st.composite
def shuffled_files(draw: st.DrawFn) -> str:
    return yaml.safe_dump(shuffled(yaml.safe_load(TEXT), draw), sort_keys=False)


@given(shuffled_files())
def test_order_of_keys_changes_nothing(text: str) -> None:
    assert dataclasses.replace(parse_robot(text), text=TEXT) == parse_robot(TEXT)


@given(st.data())
def test_no_damaged_value_gets_through_without_an_error_that_names_the_file(
    data: st.DataObject,
) -> None:
    original = yaml.safe_load(TEXT)
    damaged = copy.deepcopy(original)
    node: Any = damaged
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(st.sampled_from([None, math.nan, True, [[]], {}, {"x": {}}]))
    assert refusal(yaml.safe_dump(damaged)).startswith("two.yaml: ")


def test_same_robot_has_no_differences() -> None:
    assert differences(parse_robot(TEXT), parse_robot(TEXT)) == []


def test_differences_name_key_and_both_values() -> None:
    ours = parse_robot(TEXT)
    theirs = dataclasses.replace(
        ours,
        embodiment="other",
        rate_hz=15.0,
        joints=ours.joints[::-1],
        cameras=ours.cameras[:1],
    )
    assert differences(ours, theirs) == [
        ("embodiment", "two", "other"),
        ("cameras", "image_1, image_2", "image_1"),
        ("rate_hz", "30", "15"),
        ("joints", "elbow, finger", "finger, elbow"),
    ]
