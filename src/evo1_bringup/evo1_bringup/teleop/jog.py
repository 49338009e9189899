"""Jogging: from how fast a person wants the arm to go to where its joints shall be.

In joint space each joint has a rate; in Cartesian space the tool moves along and turns about the
axes of the arm's base. Must not import ROS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig

Vector = npt.NDArray[np.float64]

MARGIN_RAD = 1e-3  # kept from position limits
MAX_STEP_RAD = 0.06  # of a joint in a step; more is a flip of the arm near a singular pose


@dataclass(frozen=True, kw_only=True)
class JogSpeeds:
    """How fast full deflection is."""

    linear_m_s: float = 0.12
    angular_rad_s: float = 0.6
    joint_rad_s: float = 0.5
    gripper_rad_s: float = 0.9


@dataclass(frozen=True, kw_only=True)
class JogCommand:
    """What a person asks for right now, as shares of full speed, -1 to 1.

    Attributes:
        linear: of the tool along x, y, z of the base.
        angular: of the tool about x, y, z of the base.
        joints: of each joint by its index; joints left out stand.
        gripper: positive opens.
    """

    linear: tuple[float, float, float] = (0.0, 0.0, 0.0)
    angular: tuple[float, float, float] = (0.0, 0.0, 0.0)
    joints: tuple[float, ...] = ()
    gripper: float = 0.0

    @property
    def still(self) -> bool:
        """Whether nothing is asked for."""
        return not any((*self.linear, *self.angular, *self.joints, self.gripper))


class Pose(Protocol):
    """Where the tool is: position (3,) [m] and rotation (3, 3)."""

    @property
    def position(self) -> Vector:
        """In the base's frame (3,) [m]."""
        ...

    @property
    def rotation(self) -> Vector:
        """Axes as columns (3, 3)."""
        ...


class Solver(Protocol):
    """Kinematics of an arm, such as evo1_sim.kinematics.Kinematics."""

    def forward(self, joints: npt.ArrayLike) -> Pose:
        """Pose of the tool at joint positions (D,) [rad]."""
        ...

    def solve(
        self, position: npt.ArrayLike, *, start: npt.ArrayLike, rotation: npt.ArrayLike | None
    ) -> Vector:
        """Joint positions (D,) [rad] near `start`; ValueError where there are none."""
        ...


class Jogger:
    """Keeps the target of a jogged arm.

    Args:
        robot: joints, limits, gripper.
        solver: for Cartesian jogging; None: joints only.
        speeds: of full deflection.

    Attributes:
        note: why the last step did less than was asked for; empty where it did not.
    """

    def __init__(
        self, robot: RobotConfig, *, solver: Solver | None = None, speeds: JogSpeeds | None = None
    ) -> None:
        self._robot = robot
        self._solver = solver
        self._speeds = speeds or JogSpeeds()
        self._lower = robot.position_min + MARGIN_RAD
        self._upper = robot.position_max - MARGIN_RAD
        self._joints: Vector | None = None
        self._pose: tuple[Vector, Vector] | None = None
        self.note = ""

    @property
    def started(self) -> bool:
        """Whether there is a target."""
        return self._joints is not None

    def start(self, positions: Vector) -> None:
        """Take the arm's present positions (D,) [rad] as the target."""
        self._joints = np.clip(positions, self._lower, self._upper)
        self._pose = None
        self.note = ""

    def stop(self) -> None:
        """Forget the target; the next start takes a new one."""
        self._joints = None

    def step(self, command: JogCommand, duration_s: float) -> Vector:
        """Move the target for `duration_s`; return it (D,) [rad].

        Raises:
            RuntimeError: not started.
        """
        if self._joints is None:
            raise RuntimeError("start the jogger with the arm's present positions first")
        self.note = ""
        joints = self._joints.copy()
        if any((*command.linear, *command.angular)):
            joints = self._step_tool(joints, command, duration_s)
        if any(command.joints):
            count = len(command.joints)
            joints[:count] += np.array(command.joints) * self._speeds.joint_rad_s * duration_s
            self._pose = None
        joints = self._step_gripper(joints, command.gripper * duration_s)
        self._joints = np.clip(joints, self._lower, self._upper)
        if not self.note and (self._joints != joints).any():
            joint = int(np.argmax(np.abs(self._joints - joints)))
            self.note = f"{self._robot.joint_names[joint]} is at its limit"
            self._pose = None
        return self._joints.copy()

    def _step_tool(self, joints: Vector, command: JogCommand, duration_s: float) -> Vector:
        if self._solver is None:
            self.note = "this arm is jogged joint by joint"
            return joints
        if self._pose is None:
            pose = self._solver.forward(joints)
            self._pose = np.array(pose.position), np.array(pose.rotation)
        position, rotation = self._pose
        position = position + np.array(command.linear) * self._speeds.linear_m_s * duration_s
        turn = np.array(command.angular) * self._speeds.angular_rad_s * duration_s
        rotation = rotation_matrix(turn) @ rotation
        try:
            wanted = self._solver.solve(position, start=joints, rotation=rotation)
        except ValueError:
            self.note = "out of reach that way"
            return joints
        if np.abs(wanted - joints).max() > MAX_STEP_RAD:
            self.note = "too near to where the arm would flip over; go another way"
            return joints
        self._pose = position, rotation
        return wanted

    def _step_gripper(self, joints: Vector, share_s: float) -> Vector:
        gripper = self._robot.gripper
        if gripper is not None and share_s:
            column = self._robot.joint_names.index(gripper.joint)
            opening = 1.0 if gripper.open > gripper.closed else -1.0
            low, high = sorted((gripper.open, gripper.closed))
            moved = joints[column] + opening * self._speeds.gripper_rad_s * share_s
            joints[column] = np.clip(moved, min(low, joints[column]), max(high, joints[column]))
        return joints


def rotation_matrix(vector: Sequence[float] | Vector) -> Vector:
    """The rotation (3, 3) about a vector (3,) by its length [rad]."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(
        np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross,
        dtype=np.float64,
    )
