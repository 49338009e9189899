"""LeRobot's calibration of an SO-100 or SO-101: from servo ticks and LeRobot's units to radians.

Must not import ROS. Ticks exist only in this folder and in evo1_bringup's drivers.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.joint_units import JointUnits
from evo1_policy.robot_joints import JointConfig
from evo1_policy.untrusted import UntrustedError, read_json
from evo1_sim.servo_bus.sts3215 import MAX_ID, TICKS_PER_TURN

RAD_PER_TICK = 2 * math.pi / TICKS_PER_TURN

NARROWEST = 0.75  # of a joint's range in the robot file; a calibration that has less has missed it
WIDEST_RAD = 1.0  # more than the robot file's range, no stop is so far beyond it

MAX_HOMING_OFFSET = 2047
_MOST_BYTES = 1 << 20
# The joint's name here -> (its name in LeRobot's file, middle of its mechanical range [rad]).
# LeRobot counts from the middle of the calibrated range; so do the SO-101's joints, but for its
# gripper. The SO-100's have another zero.
_JOINTS = {
    "shoulder_pan_joint": ("shoulder_pan", 0.0),
    "shoulder_lift_joint": ("shoulder_lift", 0.0),
    "elbow_flex_joint": ("elbow_flex", -0.0025),
    "wrist_flex_joint": ("wrist_flex", -1.65),
    "wrist_roll_joint": ("wrist_roll", 1.5),
    "gripper_joint": ("gripper", 0.9),
    **{
        name: (name, 0.0)
        for name in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
    },
    "gripper": ("gripper", 0.7854),
}
FULL_TURN = "wrist_roll"  # turns all around where it has no stops
_AGAIN = "calibrate again (evo1 calibrate)"


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
        mirrored: whether the angle grows as the ticks fall (LeRobot's drive_mode 1).
    """

    joint: str
    servo_id: int
    homing_offset: int
    range_min: int
    range_max: int
    middle_rad: float
    mirrored: bool = False

    @property
    def name(self) -> str:
        """The joint and the id, as people are told."""
        return f"{self.joint} (id {self.servo_id})"

    @property
    def middle_ticks(self) -> float:
        """The middle of the calibrated range [ticks]."""
        return (self.range_min + self.range_max) / 2

    @property
    def rad_per_tick(self) -> float:
        """What a tick is of an angle; negative where it is mirrored [rad]."""
        return -RAD_PER_TICK if self.mirrored else RAD_PER_TICK


def load_calibration(
    path: Path | str, joints: Sequence[JointConfig]
) -> tuple[ServoCalibration, ...]:
    """Read the JSON file that LeRobot's calibration wrote.

    Args:
        path: the file.
        joints: the robot file's joints; the result is in this order.

    Raises:
        CalibrationError: unreadable, a joint missing, a value that makes no sense, or a range
            that cannot be this joint's.
    """
    try:
        data = read_json(path, what="calibration", max_bytes=_MOST_BYTES)
    except UntrustedError as error:
        raise CalibrationError(str(error)) from error
    if not isinstance(data, dict):
        raise CalibrationError(f"{path}: expected one entry for each joint")
    if isinstance(data.get("motor_names"), list):
        raise CalibrationError(
            f"{path}: LeRobot's early form of a calibration (of 2024, one array for all joints), "
            f"which does not say where a joint's range ends; {_AGAIN}"
        )
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
            "drive_mode": int(servo.mirrored),
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
        CalibrationError: neither arm has such a joint.
    """
    return _facts(joint)[0]


def middle_rad(joint: str) -> float:
    """The joint's angle in the middle of its mechanical range [rad].

    Raises:
        CalibrationError: neither arm has such a joint.
    """
    return _facts(joint)[1]


def to_radians(ticks: npt.ArrayLike, servos: Sequence[ServoCalibration]) -> Floats:
    """Positions (D,) [ticks] to joint angles (D,) [rad]."""
    middle_ticks, middle_rad, rad_per_tick = _scales(servos)
    offsets = np.asarray(ticks, dtype=np.float64) - middle_ticks
    return np.asarray(offsets * rad_per_tick + middle_rad, dtype=np.float64)


def to_ticks(
    positions: npt.ArrayLike, servos: Sequence[ServoCalibration]
) -> npt.NDArray[np.int64]:
    """Joint angles (D,) [rad] to positions (D,) [ticks], inside the calibrated ranges."""
    middle_ticks, middle_rad, rad_per_tick = _scales(servos)
    ticks = (np.asarray(positions, dtype=np.float64) - middle_rad) / rad_per_tick + middle_ticks
    lower = [servo.range_min for servo in servos]
    upper = [servo.range_max for servo in servos]
    return np.asarray(np.clip(np.rint(ticks), lower, upper), dtype=np.int64)


def units_of(servo: ServoCalibration) -> dict[str, JointUnits]:
    """How LeRobot counts this servo, by its own words (MotorNormMode): one joint each.

    The two ranges grow with the angle: LeRobot turns them round where drive_mode mirrors.
    """
    span = (servo.range_max - servo.range_min) * RAD_PER_TICK
    scales = {
        "deg": (servo.rad_per_tick * (TICKS_PER_TURN - 1) / 360, servo.middle_rad),
        "range_m100_100": (span / 200, servo.middle_rad),
        "range_0_100": (span / 100, servo.middle_rad - span / 2),
    }
    return {
        unit: JointUnits(scale=np.array([scale]), offset=np.array([offset]))
        for unit, (scale, offset) in scales.items()
    }


def check_range(joint: JointConfig, lower: int, upper: int) -> None:
    """Hold a calibrated range [ticks] against the joint's range in the robot file.

    A leader's gripper has a trigger in its place, so a gripper may have less.

    Raises:
        CalibrationError: the joint's name, what the range may come from, and what to do.
    """
    has, needs = (upper - lower) * RAD_PER_TICK, joint.position_max - joint.position_min
    what = f"{joint.name}: a range of {lower} to {upper} ticks is {has:.2f} rad, and the robot "
    what += f"file's limits are {needs:.2f} rad apart"
    if has > needs + WIDEST_RAD and lerobot_name(joint.name) != FULL_TURN:
        raise CalibrationError(
            f"{what}: its encoder jumped from 4095 to 0 on the way, so that its middle is not "
            f"where it seems; {_AGAIN}, with the joint in its middle when you are asked for it"
        )
    if has < needs * NARROWEST and lerobot_name(joint.name) != "gripper":
        raise CalibrationError(
            f"{what}: it was not moved through its whole range; {_AGAIN} and move it to both stops"
        )


def _scales(
    servos: Sequence[ServoCalibration],
) -> tuple[Floats, Floats, Floats]:
    rows = [(servo.middle_ticks, servo.middle_rad, servo.rad_per_tick) for servo in servos]
    middle_ticks, middle_rad, rad_per_tick = np.array(rows).T
    return middle_ticks, middle_rad, rad_per_tick


def _facts(joint: str) -> tuple[str, float]:
    if joint not in _JOINTS:
        known = ", ".join(_JOINTS)
        raise CalibrationError(f"'{joint}' is no joint of an SO-100 or SO-101; known: {known}")
    return _JOINTS[joint]


def _servo(path: Path | str, data: dict[str, Any], config: JointConfig) -> ServoCalibration:
    joint = config.name
    name, middle = _facts(joint)
    if not isinstance(data.get(name), dict):
        raise CalibrationError(f"{path}: {name}: missing; calibrate the arm again")
    keys = ("id", "drive_mode", "homing_offset", "range_min", "range_max")
    for key in keys:
        if type(data[name].get(key)) is not int:  # true is no number
            raise CalibrationError(f"{path}: {name}.{key}: expected an integer")
    servo_id, drive_mode, offset, lower, upper = (int(data[name][key]) for key in keys)
    if not 0 <= servo_id <= MAX_ID:
        raise CalibrationError(f"{path}: {name}.id: expected 0 to {MAX_ID}, got {servo_id}")
    if drive_mode != 0 and not (drive_mode == 1 and name == "gripper"):
        raise CalibrationError(
            f"{path}: {name}.drive_mode: expected 0, got {drive_mode}: LeRobot mirrors by it in "
            f"some units and not in others, so which way the joint turns is not known; {_AGAIN}"
        )
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
    try:
        check_range(config, lower, upper)
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from None
    return ServoCalibration(
        joint=joint,
        servo_id=servo_id,
        homing_offset=offset,
        range_min=lower,
        range_max=upper,
        middle_rad=middle,
        mirrored=drive_mode == 1,
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
