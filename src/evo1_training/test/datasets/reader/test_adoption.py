"""A dataset of somebody else, read as a robot's by the file beside it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from foreign_dataset import ALOHA, EPISODES, IMAGES, KINDS, LENGTH, SO100, SO101, Foreign, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_dataset import SmallDataset, edit_info
from small_dataset import vectors as vectors_of
from small_dataset import write as write_small

from evo1_policy.joint_units import JointUnits
from evo1_policy.robot_config import load_robot
from evo1_training.datasets.checker.checking import check_dataset
from evo1_training.datasets.reader import (
    DatasetError,
    dataset_spec,
    open_folder,
    read_dataset_groups,
)
from evo1_training.datasets.reader.adoption import adoption_of, adoption_path
from evo1_training.datasets.reader.proposal import Wanted, propose
from evo1_training.datasets.reader.suites import Suite
from evo1_training.viewing.in_dataset import view_dataset

# name: range_min, range_max of the servos, and the middle of the joint in radians.
ARM = {
    "shoulder_pan": (746, 3477, 0.0),
    "shoulder_lift": (822, 3211, 0.0),
    "elbow_flex": (901, 3110, -0.0025),
    "wrist_flex": (849, 3216, -1.65),
    "wrist_roll": (135, 3984, 1.5),
    "gripper": (1975, 3565, 0.9),
}
PERCENT = Foreign(scale=45.0, middle=(0.0, 0.0, 0.0, 0.0, 0.0, 50.0))
CAMERAS = {"image_1": "front", "image_2": "top"}


@pytest.fixture
def calibration(tmp_path):
    """LeRobot's file of that arm."""
    file = tmp_path / "arm.json"
    servos = {
        name: {"id": i, "drive_mode": 0, "homing_offset": 0, "range_min": low, "range_max": high}
        for i, (name, (low, high, _)) in enumerate(ARM.items(), 1)
    }
    file.write_text(json.dumps(servos))
    return file


@pytest.fixture
def so100(robots_dir, installed_robots):
    """The robot file that ships, as evo1_bringup installs it."""
    return load_robot(robots_dir / "so100.yaml")


def adopt(root, robot, **wanted):
    adoption = propose(open_folder(root), robot, robot.name, Wanted(**wanted))
    adoption.source.write_text(adoption.to_yaml())
    return adoption


def radians(percent):
    """(N, 6) in -100..100 and 0..100 -> rad, by the range of each servo of 4096 ticks a turn."""
    columns = []
    for value, (name, (low, high, middle)) in zip(percent.T, ARM.items(), strict=True):
        share = value / 100 - 0.5 if name == "gripper" else value / 200
        columns.append(middle + share * (high - low) * 2 * math.pi / 4096)
    return np.stack(columns, axis=1)


def turned(root):
    """Turn a dataset into one that we might have written: radians, our names of joints."""
    info = json.loads((root / "meta/info.json").read_text())
    for key in ("observation.state", "action"):
        info["features"][key]["names"] = SO100
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        for key in ("observation.state", "action"):
            values = np.array(table.column(key).to_pylist(), np.float64)
            place = table.column_names.index(key)
            column = vectors_of(radians(values).astype(np.float32))
            table = table.set_column(place, key, column)
        pq.write_table(table, path)
    return root


def test_samples_are_those_of_the_same_dataset_written_in_radians(
    tmp_path, so100, calibration, open_samples
):
    root = write(tmp_path / "theirs", PERCENT)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    adopt(root, so100, units={"": "range_m100_100"}, calibration=calibration, cameras=CAMERAS)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before

    ours = turned(write(tmp_path / "ours", PERCENT))
    view_map = {slot: f"observation.images.{name}" for slot, name in CAMERAS.items()}
    wanted = open_samples(ours, robot=so100, spec={"view_map": view_map}, image_size=16)
    spec = dataset_spec(root)
    found = open_samples(root, robot=so100, spec=vars(spec), image_size=16)
    assert len(found) == len(wanted) == EPISODES * LENGTH
    for number in range(0, len(found), 7):
        for part in ("state", "actions", "action_mask", "images", "milestones"):
            np.testing.assert_array_equal(
                getattr(found[number], part), getattr(wanted[number], part), part
            )


def test_every_reader_of_the_folder_sees_the_robot(tmp_path, so100, calibration):
    root = write(tmp_path / "theirs", PERCENT)
    assert "not-radians" in {one.code for one in check_dataset(root, quick=True).findings}
    adopt(root, so100, units={"": "range_m100_100"}, calibration=calibration, cameras=CAMERAS)

    report = check_dataset(root, quick=True)
    assert "not-radians" not in {one.code for one in report.findings}
    assert report.joints.names == so100.joint_names
    assert np.abs([report.joints.low, report.joints.high]).max() < 4

    view = view_dataset(root, 1, columns=2)
    assert view.joints == so100.joint_names
    assert np.abs(view.action.values).max() < 4
    assert view.cameras == ("image_1: front", "image_2: top")

    groups = tmp_path / "groups.yaml"
    groups.write_text("data_groups: {so100: {cubes: {path: theirs}}}\n")
    spec = read_dataset_groups(groups).specs[0]
    assert spec.joints == so100.joint_names
    assert spec.suite.units is not None


@pytest.mark.parametrize(
    ("names", "in_order"),
    [
        ([f"main_{name.removesuffix('.pos')}" for name in SO101], False),
        ([SO101], False),
        ({"motors": SO100}, False),
        (None, True),
        (["state"], True),
    ],
    ids=["main_", "nested", "ours", "none", "one-name"],
)
def test_names_are_found_as_people_write_them(tmp_path, so100, names, in_order):
    vectors = {"observation.state": (names, 6), "action": (names, 6)}
    root = write(tmp_path / "d", replace(KINDS["radians"], vectors=vectors))
    if in_order:
        with pytest.raises(DatasetError, match=r"in this order\? \(yes, no\); .* --in-order"):
            adopt(root, so100)
    adoption = adopt(root, so100, in_order=in_order)
    assert [joint.action for joint in adoption.numbers] == [("action", j) for j in range(6)]
    assert {joint.unit for joint in adoption.numbers} == {"rad"}
    assert adoption.cameras == dict(zip(("image_1", "image_2"), IMAGES, strict=True))
    assert adoption_of(root) == adoption


def test_joints_in_another_order_among_others_are_picked_by_name(tmp_path, so100, open_samples):
    names = ["extra", *reversed(SO101)]
    middle = (9.0, *reversed(KINDS["radians"].middle))
    vectors = {"observation.state": (names, 7), "action": (names, 7)}
    kind = replace(KINDS["radians"], vectors=vectors, middle=middle)
    root = write(tmp_path / "d", kind)
    adoption = adopt(root, so100)
    assert [joint.state[1] for joint in adoption.numbers] == [6, 5, 4, 3, 2, 1]
    state = open_samples(root, robot=so100, spec=vars(dataset_spec(root)), image_size=16)[0].state
    swing = np.sin(np.arange(6, 0, -1))
    assert state == pytest.approx(np.array(KINDS["radians"].middle) + swing, abs=1e-6)


def test_names_that_count_from_0_are_not_taken_for_those_that_count_from_1(tmp_path, robots_dir):
    names = [*(f"joint_{j}.pos" for j in range(6)), "gripper.pos"]
    vectors = {"observation.state": (names, 7), "action": (names, 7)}
    middle = (0.0, 0.0, -1.5, 0.0, 0.0, 0.0, 0.4)
    kind = Foreign(vectors=vectors, cameras=IMAGES, scale=0.3, middle=middle)
    robot = load_robot(robots_dir / "xarm6.yaml")
    root = write(tmp_path / "d", kind)
    with pytest.raises(DatasetError, match="in which unit is drive_joint"):  # a share, or radians?
        adopt(root, robot)
    adoption = adopt(root, robot, units={"": "rad"})
    assert [joint.state[1] for joint in adoption.numbers] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (PERCENT, r"in which unit .* \(deg, range_m100_100\); say it with --units UNIT"),
        (replace(KINDS["radians"], scale=0.01), r"in which unit .* \(rad, deg, range_m100_100\)"),
        (
            replace(KINDS["radians"], scale=0.5, middle=(*KINDS["radians"].middle[:5], 0.5)),
            r"in which unit is gripper_joint, .* --units gripper_joint=UNIT",
        ),
        (
            replace(KINDS["radians"], cameras=PERCENT.cameras),
            r"which camera is image slot image_1\? \(front, top\); .* --camera image_1=NAME",
        ),
        (
            replace(KINDS["radians"], cameras={"observation.images.front": 3}),
            "no camera for image slot image_2",
        ),
        (
            replace(
                KINDS["radians"],
                vectors=dict.fromkeys(("observation.state", "action"), ([*SO101[:5], "thumb"], 6)),
            ),
            r"which number is gripper_joint\? \(thumb\); say it with --joint gripper_joint=NAME",
        ),
        (KINDS["libero"], r"features\.state: 8 numbers, but the robot file has 6 joints"),
    ],
)
def test_what_nobody_knows_is_refused_with_the_option_that_says_it(tmp_path, so100, kind, message):
    root = write(tmp_path / "d", kind)
    wanted = {"in_order": True} if kind is KINDS["libero"] else {}
    with pytest.raises(DatasetError, match=message):
        adopt(root, so100, **wanted)
    assert adoption_of(root) is None


def test_percent_without_the_calibration_that_they_are_of_is_refused(tmp_path, so100):
    root = write(tmp_path / "d", PERCENT)
    with pytest.raises(DatasetError, match="give that arm's calibration with --calibration FILE"):
        adopt(root, so100, units={"": "range_m100_100"})


def test_degrees_of_lerobot_count_from_the_middle_of_each_range(tmp_path, so100):
    root = write(tmp_path / "d", replace(PERCENT, scale=110.0, middle=(0, 0, 0, 0, 0, 110.0)))
    with pytest.raises(DatasetError, match=r"in which unit is gripper_joint, .* \.\. 2"):
        adopt(root, so100)
    root = write(tmp_path / "e", PERCENT)
    joints = adopt(root, so100, units={"": "deg"}, cameras=CAMERAS).numbers
    assert [joint.unit for joint in joints] == ["deg"] * 5 + ["range_0_100"]
    assert (joints[3].scale, joints[3].offset) == (0.017449031, -1.65)
    assert (joints[5].scale, joints[5].offset) == (0.022, -0.2)


def test_a_wrist_camera_goes_to_the_slot_of_the_wrist(tmp_path, so100):
    cameras = {"observation.images.hand": 3, "observation.images.laptop": 3}
    adoption = adopt(write(tmp_path / "d", replace(KINDS["radians"], cameras=cameras)), so100)
    assert adoption.cameras == {
        "image_1": "observation.images.laptop",
        "image_2": "observation.images.hand",
    }


def test_changes_of_position_are_not_adopted_as_positions(tmp_path, so100):
    root = write(tmp_path / "d", KINDS["radians"])
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        states = np.array(table.column("observation.state").to_pylist())
        steps = np.diff(states, axis=0, append=states[-1:]).astype(np.float32)
        place = table.column_names.index("action")
        pq.write_table(table.set_column(place, "action", vectors_of(steps)), path)
    with pytest.raises(DatasetError, match="look like changes of position"):
        adopt(root, so100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 50}, r"d\.evo1\.yaml: fps: 30, but now .*info\.json 50; adopt .* again"),
        ("names", r"d\.evo1\.yaml: columns\.action: shoulder_pan_joint, .*, but now .*info\.json"),
        ("camera", r"d\.evo1\.yaml: cameras\.image_1: observation\.images\.image_1, but now"),
        ("file", r"d\.evo1\.yaml: joints\.elbow_flex_joint\.scale: expected a number"),
        ("zero", r"d\.evo1\.yaml: joints: scale: expected as many as offset, none of them 0"),
        ("place", r"d\.evo1\.yaml: joints: action\[77\], but now columns: none of that"),
        ("robot", r"d\.evo1\.yaml: joints: .*, but now the robot file joint1, .*; adopt .* again"),
    ],
)
def test_a_file_that_does_not_fit_any_more_is_refused_by_name(tmp_path, so100, change, message):
    root = write(tmp_path / "d", "radians")
    file = adopt(root, so100).source
    info = json.loads((root / "meta/info.json").read_text())
    data = yaml.safe_load(file.read_text())
    if isinstance(change, dict):
        edit_info(root, **change)
    elif change == "names":
        info["features"]["action"]["names"] = [*SO100[:5], "jaw"]
        edit_info(root, features=info["features"])
    elif change == "camera":
        info["features"]["other"] = info["features"].pop("observation.images.image_1")
        edit_info(root, features=info["features"])
    elif change == "robot":
        data["robot"] = "xarm6"
    else:
        joint = data["joints"]["elbow_flex_joint"]
        key, value = {
            "file": ("scale", "wide"),
            "zero": ("scale", 0),
            "place": ("action", "action[77]"),
        }[change]
        joint[key] = value
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(DatasetError, match=message):
        adoption_of(root).load_robot()
    finding = next(one for one in check_dataset(root, quick=True).findings)
    assert (finding.severity, finding.code) == ("error", "adoption")


def test_fourteen_joints_of_two_arms_are_found_in_their_own_columns(tmp_path, robots_dir):
    robot = load_robot(robots_dir / "xarm6_bimanual.yaml")
    arms = [f"{side}.j{j}" for side in ("left", "right") for j in (*range(1, 7), "gripper")]
    assert len(arms) == len(ALOHA)
    vectors = dict.fromkeys(("observation.qpos", "observation.effort", "action"), (arms, 14))
    middle = (0.0, 0.0, -1.5, 0.0, 0.0, 0.0, 0.4) * 2
    cameras = {f"observation.images.{camera.name}": 3 for camera in robot.cameras}
    kind = Foreign(
        vectors=vectors, cameras=cameras, scale=0.35, middle=middle, fps=int(robot.rate_hz)
    )
    adoption = adopt(write(tmp_path / "d", kind), robot, units={"": "rad"})
    assert {joint.state[0] for joint in adoption.numbers} == {"observation.qpos"}
    assert [joint.action[1] for joint in adoption.numbers] == list(range(14))


@pytest.mark.parametrize("layout", ["v2.1", "v3.0"])
def test_both_layouts_are_adopted(tmp_path, so100, layout):
    what = SmallDataset(
        layout=layout, dtype="image", joints=tuple(SO101), scale=0.1, lengths=(5, 7, 4)
    )
    root = write_small(tmp_path / layout, what)
    units = {"": "rad"}
    assert adopt(root, so100, units=units).joint_names == so100.joint_names
    assert adoption_of(Path(f"{root}/.")) == adoption_of(root)


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.floats(0, 1),
    cut=st.integers(0, 40),
    text=st.text(max_size=20)
    | st.sampled_from(["[", "{", "&a [*a]", ": ", "1e999", "-", "action[9999999]", "\x00"]),
)
def test_whatever_is_in_the_file_it_is_read_or_refused(adopted, place, cut, text):
    root, good = adopted
    at = int(place * len(good))
    file = adoption_path(root)
    file.write_text(good[:at] + text + good[at + cut :], encoding="utf-8", errors="replace")
    try:
        units = adoption_of(root).suite.units
    except DatasetError as error:
        said = str(error)
    else:
        said = file.name
        assert np.isfinite(units.to_rad(np.ones(len(units.scale)))).all()
    assert file.name in said


@pytest.fixture
def adopted(tmp_path, so100):
    root = write(tmp_path / "d", "radians")
    return root, adopt(root, so100).to_yaml()


NUMBERS = st.floats(-1000, 1000, allow_nan=False)


@given(
    st.lists(
        st.tuples(st.floats(1e-3, 10) | st.floats(-10, -1e-3), st.floats(-4, 4), NUMBERS),
        min_size=1,
        max_size=8,
    )
)
def test_the_map_inverts(rows):
    scale, offset, values = map(np.array, zip(*rows, strict=True))
    units = JointUnits(scale=scale, offset=offset)
    picks = tuple(("x", j) for j in reversed(range(len(rows))))
    suite = Suite(state=("x",), state_picks=picks, units=units)
    angles = suite.states({"x": values[np.newaxis, ::-1]})
    assert angles.dtype == np.float32
    wanted = offset + scale * values
    assert angles[0] == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert units.from_rad(units.to_rad(values)) == pytest.approx(values, rel=1e-9, abs=1e-6)
