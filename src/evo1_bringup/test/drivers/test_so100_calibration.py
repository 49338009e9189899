"""LeRobot's calibration, ticks and radians."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_bringup.drivers.so100_calibration import (
    CalibrationError,
    ServoCalibration,
    load_calibration,
    save_calibration,
    to_radians,
    to_ticks,
)

JOINTS = ("gripper_joint", "shoulder_pan_joint")
PAN = ServoCalibration(
    joint="shoulder_pan_joint",
    servo_id=1,
    homing_offset=12,
    range_min=1000,
    range_max=3096,
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
    path = file({"shoulder_pan": entry(1, 1000, 3096), "gripper": entry(6, 2000, 3400)})
    assert load_calibration(path, JOINTS) == (GRIPPER, PAN)


@pytest.mark.parametrize(
    ("gripper", "problem"),
    [
        (None, "gripper: missing; calibrate"),
        ({"id": 6}, r"gripper\.drive_mode: expected an integer"),
        (entry(6, 3000, 2000), "range_min 3000 and range_max 2000 are no range"),
        (entry(6, 0, 5000), "range_max 5000 are no range within 0 to 4095"),
        (entry(6, 0, 100, drive_mode=1), r"gripper\.drive_mode: expected 0, got 1"),
        (entry(6, 0, 100, homing_offset=2048), r"gripper\.homing_offset: expected at most 2047"),
        (entry(1, 0, 100), "gripper_joint and shoulder_pan_joint both have id 1"),
    ],
)
def test_bad_entry_is_named_with_its_file(file, gripper, problem):
    path = file({"shoulder_pan": entry(1, 1000, 3096), "gripper": gripper})
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
    np.testing.assert_array_equal(to_ticks([9.0, -9.0], [PAN, GRIPPER]), [3096, 2000])


@given(st.integers(2000, 3096))
def test_ticks_survive_the_way_there_and_back(ticks):
    servos = [PAN, GRIPPER]
    np.testing.assert_array_equal(
        to_ticks(to_radians([ticks, ticks], servos), servos), [ticks] * 2
    )
