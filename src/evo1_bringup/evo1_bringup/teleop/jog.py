"""Jogging: from how fast a person wants the arm to go to where its joints shall be.

In joint space each joint has a rate; in Cartesian space the tool moves along and turns about the
axes of the arm's base. Must not import ROS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.robot_config import RobotConfig

if TYPE_CHECKING:
    from evo1_sim.kinematics import Kinematics  # MuJoCo may be missing

# How fast full deflection is.
LINEAR_M_S, ANGULAR_RAD_S = 0.12, 0.6
JOINT_RAD_S, GRIPPER_RAD_S = 0.5, 0.9

MARGIN_RAD = 1e-3  # kept from position limits
MAX_STEP_RAD = 0.06  # of a joint in a step; more is a flip of the arm near a singular pose


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


class Jogger:
    """Keeps the target of a jogged arm.

    Args:
        robot: joints, limits, gripper.
        solver: for Cartesian jogging; None: joints only.

    Attributes:
        note: why the last step did less than was asked for; empty where it did not.
    """

    def __init__(self, robot: RobotConfig, *, solver: "Kinematics | None" = None) -> None:
        self._robot = robot
        self._solver = solver
        self._lower = robot.position_min + MARGIN_RAD
        self._upper = robot.position_max - MARGIN_RAD
        self._joints: Floats | None = None
        self._pose: tuple[Floats, Floats] | None = None
        self.note = ""

    @property
    def started(self) -> bool:
        """Whether there is a target."""
        return self._joints is not None

    def start(self, positions: Floats) -> None:
        """Take the arm's present positions (D,) [rad] as the target."""
        self._joints = np.clip(positions, self._lower, self._upper)
        self._pose = None
        self.note = ""

    def stop(self) -> None:
        """Forget the target; the next start takes a new one."""
        self._joints = None

    def step(self, command: JogCommand, duration_s: float) -> Floats:
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
            joints[:count] += np.array(command.joints) * JOINT_RAD_S * duration_s
            self._pose = None
        joints = self._step_gripper(joints, command.gripper * duration_s)
        self._joints = np.clip(joints, self._lower, self._upper)
        if not self.note and (self._joints != joints).any():
            joint = int(np.argmax(np.abs(self._joints - joints)))
            self.note = f"{self._robot.joint_names[joint]} is at its limit"
            self._pose = None
        return self._joints.copy()

    def _step_tool(self, joints: Floats, command: JogCommand, duration_s: float) -> Floats:
        if self._solver is None:
            self.note = "this arm is jogged joint by joint"
            return joints
        if self._pose is None:
            pose = self._solver.forward(joints)
            self._pose = np.array(pose.position), np.array(pose.rotation)
        position, rotation = self._pose
        position = position + np.array(command.linear) * LINEAR_M_S * duration_s
        turn = np.array(command.angular) * ANGULAR_RAD_S * duration_s
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

    def _step_gripper(self, joints: Floats, share_s: float) -> Floats:
        gripper = self._robot.gripper
        if gripper is not None and share_s:
            column = self._robot.joint_names.index(gripper.joint)
            opening = 1.0 if gripper.open > gripper.closed else -1.0
            low, high = sorted((gripper.open, gripper.closed))
            moved = joints[column] + opening * GRIPPER_RAD_S * share_s
            joints[column] = np.clip(moved, min(low, joints[column]), max(high, joints[column]))
        return joints


def rotation_matrix(vector: Sequence[float] | Floats) -> Floats:
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
