"""An SO-100 of emulated servos, in joint angles: for the bus what an arm's mechanics are.

Must not import ROS.
"""

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.robot_config import RobotConfig
from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.emulated_bus import EmulatedBus
from evo1_sim.servo_bus.emulated_servo import EmulatedServo
from evo1_sim.servo_bus.so100_calibration import (
    RAD_PER_TICK,
    ServoCalibration,
    middle_rad,
    to_radians,
)
from evo1_sim.servo_bus.sts3215 import TICKS_PER_TURN

MARGIN_RAD = 0.06  # of a calibrated range beyond the limits that the robot file keeps


class EmulatedArm:
    """Six servos, calibrated as a file says. Every method may be called from any thread.

    Args:
        servos: the calibration, which the servos hold too.
        start: joint angles (D,) [rad].
    """

    def __init__(self, servos: Sequence[ServoCalibration], *, start: npt.ArrayLike) -> None:
        self.lock = threading.Lock()
        self.calibration = tuple(servos)
        self.servos = [EmulatedServo(servo.servo_id) for servo in servos]
        for servo, calibration in zip(self.servos, servos, strict=True):
            servo.set(sts3215.HOMING_OFFSET, calibration.homing_offset)
            servo.set(sts3215.MIN_POSITION, calibration.range_min)
            servo.set(sts3215.MAX_POSITION, calibration.range_max)
        self.bus = EmulatedBus(self.servos)
        self.place(start)

    def place(self, positions: npt.ArrayLike, velocities: npt.ArrayLike | None = None) -> None:
        """The joints are at positions (D,) [rad], moving at velocities (D,) [rad/s]."""
        angles = np.asarray(positions, dtype=np.float64)
        rates = np.zeros(len(angles)) if velocities is None else np.asarray(velocities)
        with self.lock:
            for servo, known, angle, rate in zip(
                self.servos, self.calibration, angles, rates, strict=True
            ):
                ticks = (angle - known.middle_rad) / known.rad_per_tick + known.middle_ticks
                servo.place(float(ticks), float(rate / known.rad_per_tick))

    def advance(self, duration_s: float) -> None:
        """Let every servo turn towards its goal, where nothing else moves the joints."""
        with self.lock:
            for servo in self.servos:
                servo.advance(duration_s)

    def positions(self) -> Floats:
        """Joint angles (D,) [rad]."""
        with self.lock:
            return to_radians([servo.present for servo in self.servos], self.calibration)

    def goals(self) -> Floats:
        """Where the servos pull the joints (D,) [rad]; where they are, for limp ones."""
        with self.lock:
            return to_radians([servo.goal for servo in self.servos], self.calibration)

    def torques(self) -> list[bool]:
        """Which servos hold."""
        with self.lock:
            return [servo.torque for servo in self.servos]


def emulated_calibration(robot: RobotConfig) -> tuple[ServoCalibration, ...]:
    """A calibration as a careful person would make it, in the robot file's joint order.

    Homing offsets differ from joint to joint, as they do on an arm that was screwed together.
    """
    servos = []
    for index, joint in enumerate(robot.joints):
        middle = middle_rad(joint.name)
        reach = max(joint.position_max - middle, middle - joint.position_min) + MARGIN_RAD
        half = min(round(reach / RAD_PER_TICK), TICKS_PER_TURN // 2 - 1)
        centre = TICKS_PER_TURN // 2 - 1
        servos.append(
            ServoCalibration(
                joint=joint.name,
                servo_id=index + 1,
                homing_offset=(-1) ** index * (37 + 61 * index),
                range_min=centre - half,
                range_max=centre + half,
                middle_rad=middle,
            )
        )
    return tuple(servos)
