"""An SO-100 leader arm, moved by hand, read over its servo bus. Must not import ROS."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.so100_arm import So100Arm
from evo1_bringup.drivers.so100_calibration import (
    ServoCalibration,
    to_radians,
)
from evo1_policy.action_chunk import Floats
from evo1_policy.robot_config import RobotConfig

_READS = 3


class LeaderServos:
    """The servos of a leader arm on their bus, torque off.

    Args:
        bus: of the leader, open.
        servos: its calibration, in the robot file's joint order.

    Raises:
        BusError: a servo is missing, or of another kind, or holds another calibration.
    """

    def __init__(self, bus: FeetechBus, servos: Sequence[ServoCalibration]) -> None:
        self._arm = So100Arm(bus, servos)
        self._arm.identify()
        self._arm.check_calibration()
        self._arm.release()

    def read_positions(self) -> npt.NDArray[np.int64]:
        """Present positions (D,) [ticks].

        Raises:
            BusError: nothing credible was heard of a servo.
        """
        for _ in range(_READS):
            ticks = self._arm.read_ticks(time.monotonic_ns())
            if not isinstance(ticks, list):
                return ticks
        names = ", ".join(servo.name for servo in ticks)
        raise BusError(f"leader arm: nothing credible was heard of {names}; check its cables")


class LeaderArm:
    """Reads where a person holds the leader arm; its torque stays off.

    Args:
        bus: its servos.
        servos: its calibration, in the robot file's joint order.
        robot: the follower's file.
    """

    def __init__(
        self, bus: LeaderServos, servos: Sequence[ServoCalibration], robot: RobotConfig
    ) -> None:
        self._bus = bus
        self._servos = tuple(servos)
        self._robot = robot
        self._gripper = (
            robot.joint_names.index(robot.gripper.joint) if robot.gripper is not None else None
        )

    def read(self) -> Floats:
        """Positions (D,) [rad] for the follower, within its limits.

        The gripper goes by its share of the calibrated range: a leader has a trigger there, with
        another range than the follower's jaw.

        Raises:
            BusError: a servo did not answer.
        """
        ticks = self._bus.read_positions()
        positions = to_radians(ticks, self._servos)
        lower, upper = self._robot.position_min, self._robot.position_max
        if self._gripper is not None:
            servo = self._servos[self._gripper]
            share = (ticks[self._gripper] - servo.range_min) / (servo.range_max - servo.range_min)
            share = 1 - share if servo.mirrored else share
            low, high = lower[self._gripper], upper[self._gripper]
            positions[self._gripper] = low + share * (high - low)
        return np.asarray(np.clip(positions, lower, upper), dtype=np.float64)
