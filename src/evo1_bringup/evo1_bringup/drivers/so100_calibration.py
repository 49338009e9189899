"""LeRobot's calibration of an SO-100, and the way from servo ticks to radians and back.

Must not import ROS. Ticks exist only in this folder.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_bringup.drivers.sts3215 import MAX_ID, TICKS_PER_TURN

RAD_PER_TICK = 2 * math.pi / TICKS_PER_TURN

# The joint's name here -> (its name in LeRobot's file, middle of its mechanical range [rad]).
# LeRobot counts from the middle of the calibrated range, the joint axes from another zero.
MAX_HOMING_OFFSET = 2047
_JOINTS = {
    "shoulder_pan_joint": ("shoulder_pan", 0.0),
    "shoulder_lift_joint": ("shoulder_lift", 0.0),
    "elbow_flex_joint": ("elbow_flex", -0.0025),
    "wrist_flex_joint": ("wrist_flex", -1.65),
    "wrist_roll_joint": ("wrist_roll", 1.5),
    "gripper_joint": ("gripper", 0.9),
}


class CalibrationError(ValueError):
    """A calibration file that cannot be used; the message names the file and the joint."""


@dataclass(frozen=True, kw_only=True)
class ServoCalibration:
    """One servo.

    Attributes:
        joint: its name in the robot file.
        servo_id: on the bus.
        homing_offset: what the servo takes from its encoder's count [ticks].
        range_min: lower end of the calibrated range [ticks].
        range_max: upper end [ticks].
        middle_rad: joint angle in the middle of the range [rad].
    """

    joint: str
    servo_id: int
    homing_offset: int
    range_min: int
    range_max: int
    middle_rad: float

    @property
    def name(self) -> str:
        """The joint and the id, as people are told."""
        return f"{self.joint} (id {self.servo_id})"

    @property
    def middle_ticks(self) -> float:
        """The middle of the calibrated range [ticks]."""
        return (self.range_min + self.range_max) / 2


def load_calibration(path: Path | str, joints: Sequence[str]) -> tuple[ServoCalibration, ...]:
    """Read the JSON file that LeRobot's calibration wrote.

    Args:
        path: the file.
        joints: the robot file's joints; the result is in this order.

    Raises:
        CalibrationError: unreadable, a joint missing, or a value that makes no sense.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"{path}: cannot read the calibration: {error.strerror}") from error
    except ValueError as error:
        raise CalibrationError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise CalibrationError(f"{path}: expected one entry for each joint")
    servos = tuple(_servo(path, data, joint) for joint in joints)
    _check_distinct(path, servos)
    return servos


def save_calibration(path: Path | str, servos: Sequence[ServoCalibration]) -> None:
    """Write the file that LeRobot and load_calibration read.

    Raises:
        OSError: it cannot be written.
    """
    data = {
        lerobot_name(servo.joint): {
            "id": servo.servo_id,
            "drive_mode": 0,
            "homing_offset": servo.homing_offset,
            "range_min": servo.range_min,
            "range_max": servo.range_max,
        }
        for servo in sorted(servos, key=lambda servo: servo.servo_id)
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(data, indent=4) + "\n", encoding="utf-8")


def lerobot_name(joint: str) -> str:
    """LeRobot's name of a joint.

    Raises:
        CalibrationError: the SO-100 has no such joint.
    """
    return _facts(joint)[0]


def middle_rad(joint: str) -> float:
    """The joint's angle in the middle of its mechanical range [rad].

    Raises:
        CalibrationError: the SO-100 has no such joint.
    """
    return _facts(joint)[1]


def to_radians(
    ticks: npt.ArrayLike, servos: Sequence[ServoCalibration]
) -> npt.NDArray[np.float64]:
    """Positions (D,) [ticks] to joint angles (D,) [rad]."""
    middle_ticks = np.array([servo.middle_ticks for servo in servos])
    middle_rad = np.array([servo.middle_rad for servo in servos])
    offsets = np.asarray(ticks, dtype=np.float64) - middle_ticks
    return np.asarray(offsets * RAD_PER_TICK + middle_rad, dtype=np.float64)


def to_ticks(
    positions: npt.ArrayLike, servos: Sequence[ServoCalibration]
) -> npt.NDArray[np.int64]:
    """Joint angles (D,) [rad] to positions (D,) [ticks], inside the calibrated ranges."""
    middle_ticks = np.array([servo.middle_ticks for servo in servos])
    middle_rad = np.array([servo.middle_rad for servo in servos])
    ticks = (np.asarray(positions, dtype=np.float64) - middle_rad) / RAD_PER_TICK + middle_ticks
    lower = [servo.range_min for servo in servos]
    upper = [servo.range_max for servo in servos]
    return np.asarray(np.clip(np.rint(ticks), lower, upper), dtype=np.int64)


def _facts(joint: str) -> tuple[str, float]:
    if joint not in _JOINTS:
        raise CalibrationError(f"'{joint}' is no joint of an SO-100; known: {', '.join(_JOINTS)}")
    return _JOINTS[joint]


def _servo(path: Path | str, data: dict[str, Any], joint: str) -> ServoCalibration:
    name, middle = _facts(joint)
    if not isinstance(data.get(name), dict):
        raise CalibrationError(f"{path}: {name}: missing; calibrate the arm again")
    keys = ("id", "drive_mode", "homing_offset", "range_min", "range_max")
    for key in keys:
        if not isinstance(data[name].get(key), int):
            raise CalibrationError(f"{path}: {name}.{key}: expected an integer")
    servo_id, drive_mode, offset, lower, upper = (int(data[name][key]) for key in keys)
    if not 0 <= servo_id <= MAX_ID:
        raise CalibrationError(f"{path}: {name}.id: expected 0 to {MAX_ID}, got {servo_id}")
    if drive_mode != 0:
        raise CalibrationError(f"{path}: {name}.drive_mode: expected 0, got {drive_mode}")
    if abs(offset) > MAX_HOMING_OFFSET:
        raise CalibrationError(
            f"{path}: {name}.homing_offset: expected at most {MAX_HOMING_OFFSET} either way, "
            f"got {offset}"
        )
    if not 0 <= lower < upper < TICKS_PER_TURN:
        raise CalibrationError(
            f"{path}: {name}: range_min {lower} and range_max {upper} are no range within "
            f"0 to {TICKS_PER_TURN - 1}"
        )
    return ServoCalibration(
        joint=joint,
        servo_id=servo_id,
        homing_offset=offset,
        range_min=lower,
        range_max=upper,
        middle_rad=middle,
    )


def _check_distinct(path: Path | str, servos: Sequence[ServoCalibration]) -> None:
    first: dict[int, str] = {}
    for servo in servos:
        if servo.servo_id in first:
            raise CalibrationError(
                f"{path}: {first[servo.servo_id]} and {servo.joint} both have id "
                f"{servo.servo_id}; every servo needs an id of its own"
            )
        first[servo.servo_id] = servo.joint
