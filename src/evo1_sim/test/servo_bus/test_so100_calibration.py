"""LeRobot's calibration, ticks and radians."""

import json
import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.robot_config import load_robot
from evo1_policy.robot_joints import JointConfig
from evo1_sim.servo_bus.so100_calibration import (
    CalibrationError,
    ServoCalibration,
    load_calibration,
    save_calibration,
    to_radians,
    to_ticks,
)

CASES = int(os.environ.get("EVO1_FUZZ", "20000")) // 200
ROBOT = load_robot(Path(__file__).parents[3] / "evo1_bringup" / "robots" / "so100.yaml")
SO100 = ROBOT.joints


@pytest.fixture
def so100():
    """The SO-100's robot file."""
    return ROBOT


def joint(name: str, lower: float, upper: float) -> JointConfig:
    return JointConfig(
        name=name, position_min=lower, position_max=upper, velocity_max=2, acceleration_max=8
    )


JOINTS = (joint("gripper_joint", -0.2, 2.0), joint("shoulder_pan_joint", -1.95, 1.95))
PAN = ServoCalibration(
    joint="shoulder_pan_joint",
    servo_id=1,
    homing_offset=12,
    range_min=748,
    range_max=3348,
    middle_rad=0.0,
)
GRIPPER = ServoCalibration(
    joint="gripper_joint",
    servo_id=6,
    homing_offset=12,
    range_min=2000,
    range_max=3400,
    middle_rad=0.9,
)


def entry(servo_id: int, lower: int, upper: int, **more: object) -> dict[str, object]:
    made = {"id": servo_id, "drive_mode": 0, "homing_offset": 12}
    return {**made, "range_min": lower, "range_max": upper, **more}


@pytest.fixture
def file(tmp_path):
    def write(data: object):
        path = tmp_path / "arm.json"
        path.write_text(json.dumps(data))
        return path

    return write


def test_servos_come_in_the_order_of_the_robot_file(file):
    path = file({"shoulder_pan": entry(1, 748, 3348), "gripper": entry(6, 2000, 3400)})
    assert load_calibration(path, JOINTS) == (GRIPPER, PAN)


@pytest.mark.parametrize(
    ("gripper", "problem"),
    [
        (None, "gripper: missing; calibrate"),
        ({"id": 6}, r"gripper\.drive_mode: expected an integer"),
        (entry(6, 3000, 2000), "range_min 3000 and range_max 2000 are no range"),
        (entry(6, 0, 5000), "range_max 5000 are no range within 0 to 4095"),
        (entry(6, 0, 1400, drive_mode=2), r"gripper\.drive_mode: expected 0, got 2"),
        (entry(6, 6, 4063), "gripper_joint: a range of 6 to 4063 ticks is 6.22 rad.*jumped"),
        (entry(6, 0, 100, homing_offset=2048), r"gripper\.homing_offset: expected at most 2047"),
        (entry(1, 0, 100), "gripper_joint and shoulder_pan_joint both have id 1"),
    ],
)
def test_bad_entry_is_named_with_its_file(file, gripper, problem):
    path = file({"shoulder_pan": entry(1, 748, 3348), "gripper": gripper})
    with pytest.raises(CalibrationError, match=rf"arm\.json: .*{problem}"):
        load_calibration(path, JOINTS)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = tmp_path / "new" / "arm.json"
    save_calibration(path, [GRIPPER, PAN])
    assert load_calibration(path, JOINTS) == (GRIPPER, PAN)
    assert list(json.loads(path.read_text())) == ["shoulder_pan", "gripper"]


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"none\.json: cannot read"):
        load_calibration(tmp_path / "none.json", JOINTS)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CalibrationError, match=r"bad\.json: not valid JSON"):
        load_calibration(tmp_path / "bad.json", JOINTS)


def test_middle_of_the_range_is_the_middle_angle():
    np.testing.assert_allclose(to_radians([2048, 2700], [PAN, GRIPPER]), [0.0, 0.9])


def test_quarter_turn_is_1024_ticks():
    np.testing.assert_allclose(to_radians([3072], [PAN]), [math.pi / 2])
    np.testing.assert_array_equal(to_ticks([-math.pi / 4], [PAN]), [1536])


def test_goals_stay_inside_the_calibrated_range():
    np.testing.assert_array_equal(to_ticks([9.0, -9.0], [PAN, GRIPPER]), [3348, 2000])


@given(st.integers(2000, 3096))
def test_ticks_survive_the_way_there_and_back(ticks):
    servos = [PAN, GRIPPER]
    np.testing.assert_array_equal(
        to_ticks(to_radians([ticks, ticks], servos), servos), [ticks] * 2
    )


# An arm's calibration as LeRobot writes it; each test below changes one joint of it.
GOOD = {
    "shoulder_pan": (-412, 745, 3310),
    "shoulder_lift": (988, 812, 3204),
    "elbow_flex": (-1033, 871, 3078),
    "wrist_flex": (655, 908, 3231),
    "wrist_roll": (120, 0, 4095),
    "gripper": (-436, 2030, 3475),
}


def whole(**changes: tuple[int, int, int]) -> dict[str, dict[str, int]]:
    return {
        name: {
            "id": index + 1,
            "drive_mode": 0,
            "homing_offset": offset,
            "range_min": lower,
            "range_max": upper,
        }
        for index, (name, (offset, lower, upper)) in enumerate((GOOD | changes).items())
    }


def test_a_usual_calibration_is_taken(file, so100):
    servos = load_calibration(file(whole()), so100.joints)
    assert [servo.range_max for servo in servos] == [3310, 3204, 3078, 3231, 4095, 3475]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"shoulder_lift": (-1147, 6, 4063)},
            r"shoulder_lift_joint: a range of 6 to 4063 .* jumped from 4095 .*calibrate again",
        ),
        (
            {"shoulder_lift": (1490, 2, 4093)},
            r"shoulder_lift_joint: a range of 2 to 4093 .*jump",
        ),
        (
            {"elbow_flex": (-1033, 2000, 2300)},
            r"elbow_flex_joint: a range of 2000 to 2300 ticks is 0\.46 rad, .*3\.15 rad apart: it "
            "was not moved through its whole range; calibrate again .*both stops",
        ),
    ],
)
def test_a_range_that_cannot_be_the_joints_is_refused_by_its_name(file, so100, changes, problem):
    with pytest.raises(CalibrationError, match=rf"arm\.json: {problem}"):
        load_calibration(file(whole(**changes)), so100.joints)


def test_a_wrist_roll_with_stops_is_centred_between_them(file, so100):
    servos = load_calibration(file(whole(wrist_roll=(120, 113, 3981))), so100.joints)
    angles = to_radians([0, 0, 0, 0, 2047, 0], servos)
    assert angles[4] == pytest.approx(1.5)


def test_a_mirrored_gripper_opens_the_other_way(file, so100):
    data = whole(gripper=(9, 611, 2052))
    data["gripper"]["drive_mode"] = 1
    servos = load_calibration(file(data), so100.joints)
    opened, closed = so100.gripper.open, so100.gripper.closed
    home = list(so100.home)
    assert to_ticks([*home[:5], opened], servos)[5] < to_ticks([*home[:5], closed], servos)[5]
    ticks = to_ticks([*home[:5], opened], servos)
    assert to_radians(ticks, servos)[5] == pytest.approx(opened, abs=2e-3)


def test_a_mirrored_joint_of_the_arm_is_refused_with_what_to_do(file, so100):
    data = whole()
    data["elbow_flex"]["drive_mode"] = 1
    with pytest.raises(CalibrationError, match=r"elbow_flex\.drive_mode: .* calibrate again"):
        load_calibration(file(data), so100.joints)


def test_lerobots_early_arrays_are_named_as_such(file, so100):
    data = {"homing_offset": [0], "drive_mode": [0], "motor_names": ["shoulder_pan"]}
    with pytest.raises(CalibrationError, match=r"LeRobot's early form .*calibrate again"):
        load_calibration(file(data), so100.joints)


def test_a_mirrored_gripper_survives_saving(tmp_path):
    path, mirrored = tmp_path / "arm.json", replace(GRIPPER, mirrored=True)
    save_calibration(path, [mirrored, PAN])
    assert load_calibration(path, JOINTS) == (mirrored, PAN)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@pytest.mark.fuzz
@settings(max_examples=CASES)
@given(
    name=st.sampled_from(["shoulder_pan", "elbow_flex", "gripper"]),
    key=st.sampled_from(["id", "drive_mode", "homing_offset", "range_min", "range_max"]),
    value=values | st.sampled_from([10**400, -1, 4095, 4096, True, 1e400]),
)
def test_whatever_stands_for_a_number_is_a_calibration_or_refused_by_file(name, key, value):
    data = whole()
    data[name][key] = value
    refused_or_within(json.dumps(data).encode())


@pytest.mark.fuzz
@settings(max_examples=CASES)
@given(
    hits=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=4),
    kept=st.floats(0.0, 1.0),
    cut=st.booleans(),
)
def test_a_damaged_file_is_a_calibration_or_refused_by_its_name(hits, kept, cut):
    raw = bytearray(json.dumps(whole()).encode())
    for place, value in hits:
        raw[place % len(raw)] = value
    refused_or_within(bytes(raw[: int(kept * len(raw))] if cut else raw))


def refused_or_within(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arm.json"
        path.write_bytes(raw)
        try:
            servos = load_calibration(path, SO100)
        except CalibrationError as error:
            servos, refusal = (), str(error)
        else:
            refusal = ""
        assert servos or str(path) in refusal
    for servo in servos:
        assert 0 <= servo.range_min < servo.range_max < 4096
        assert abs(servo.homing_offset) <= 2047


SO101 = load_robot(Path(__file__).parents[3] / "evo1_bringup" / "robots" / "so101.yaml").joints


def test_an_so101_in_its_own_ranges_turns_its_elbow_to_both_ends(file):
    ranges = {
        "shoulder_pan": (1, 746, 3477),
        "shoulder_lift": (2, 822, 3211),
        "elbow_flex": (3, 901, 3110),
        "wrist_flex": (4, 849, 3216),
        "wrist_roll": (5, 135, 3984),
        "gripper": (6, 1975, 3565),
    }
    servos = load_calibration(file({name: entry(*row) for name, row in ranges.items()}), SO101)
    middles = to_radians([servo.middle_ticks for servo in servos], servos)
    assert middles == pytest.approx(
        [0, 0, 0, 0, 0, 0.7854]
    )  # LeRobot's zeros, but for the gripper
    pose = np.array([0.0, 0.0, 1.69, 0.0, 0.0, 1.7])
    for elbow in (1.69, -1.69):
        pose[2] = elbow
        assert to_radians(to_ticks(pose, servos), servos) == pytest.approx(pose, abs=2e-3)
