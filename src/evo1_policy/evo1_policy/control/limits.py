"""What the arm may do, as arrays for the planners and the safety check. No ROS, no torch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig

LARGEST_RAD = 1e4  # no joint turns so far: what is larger was never an angle


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one robot. Arrays are (D,) in the robot file's joint order.

    Attributes:
        joint_names: D names.
        position_min: [rad].
        position_max: [rad].
        velocity_max: [rad/s].
        acceleration_max: [rad/s^2].
        is_arm: (D,) bool, False for the gripper: it presses on objects, so its distance from
            the measured position says nothing, and it never slows the arm down.
        max_start_error_rad: largest start distance of a chunk or trajectory from the arm.
        step_ns: grid step of trajectories, half the step of a chunk [ns].
    """

    joint_names: tuple[str, ...]
    position_min: npt.NDArray[np.float64]
    position_max: npt.NDArray[np.float64]
    velocity_max: npt.NDArray[np.float64]
    acceleration_max: npt.NDArray[np.float64]
    is_arm: npt.NDArray[np.bool_]
    max_start_error_rad: float
    step_ns: int

    @classmethod
    def of(cls, robot: RobotConfig) -> "Limits":
        """The limits that stand in a robot file."""
        grippers = {gripper.joint for gripper in robot.grippers}
        return cls(
            joint_names=robot.joint_names,
            position_min=robot.position_min,
            position_max=robot.position_max,
            velocity_max=robot.velocity_max,
            acceleration_max=robot.acceleration_max,
            is_arm=np.array([name not in grippers for name in robot.joint_names]),
            max_start_error_rad=robot.safety.max_start_error_rad,
            step_ns=robot.step_ns // 2,
        )

    @property
    def width(self) -> int:
        """D, the number of joints."""
        return len(self.joint_names)

    @property
    def step_s(self) -> float:
        """Grid step [s]."""
        return self.step_ns / 1e9

    def clip(self, positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Positions (..., D) [rad], those beyond a limit put at the limit."""
        return np.minimum(np.maximum(positions, self.position_min), self.position_max)

    def furthest(
        self, here: npt.NDArray[np.float64], there: npt.NDArray[np.float64]
    ) -> tuple[float, int]:
        """Largest distance over the arm's joints (not the gripper) [rad], and which joint."""
        distance = np.where(self.is_arm, np.abs(here - there), 0.0)
        joint = int(np.argmax(distance))
        return float(distance[joint]), joint
