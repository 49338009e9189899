"""Forward and inverse kinematics of a simulated arm. Touches no running simulation."""

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_policy.kinematics.inverse import POSITION_TOLERANCE, ROTATION_TOLERANCE, Solver, apart
from evo1_policy.kinematics.model import ArmModel, Pose
from evo1_sim.arms import Arm
from evo1_sim.scene import scene_xml

Vector = npt.NDArray[np.float64]
ITERATIONS = 200  # to the other end of the table and back


class InverseKinematicsError(ValueError):
    """No joint positions within the limits reach the pose."""


class Kinematics:
    """Kinematics of one arm.

    Joint arrays are (D,) float64 [rad] in the robot file's order; the gripper (the last joint)
    does not move the tool and passes through the solver unchanged.

    Args:
        arm: joints, names and limits.
        site: 'tool' or 'flange'.
    """

    def __init__(self, arm: Arm, site: str = "tool") -> None:
        spec = mujoco.MjSpec.from_string(scene_xml(arm, ""))
        self._model = ArmModel(arm.name, spec, arm.joint_names, tool=site)
        self._solver = Solver(self._model, arm.lower, arm.upper)

    def forward(self, joints: npt.ArrayLike) -> Pose:
        """Pose of the site at joint positions (D,) [rad]."""
        return self._model.forward(np.asarray(joints, np.float64))

    def solve(
        self,
        position: npt.ArrayLike,
        *,
        start: npt.ArrayLike,
        rotation: npt.ArrayLike | None = None,
    ) -> Vector:
        """Find joint positions near `start` and within the limits.

        Args:
            position: where the site shall be (3,) [m].
            start: where to begin (D,) [rad].
            rotation: how it shall be turned (3, 3); None leaves it free. An arm with five joints
                reaches only some rotations, among them every one that points straight down.

        Returns:
            (D,) [rad].

        Raises:
            InverseKinematicsError: not reached.
        """
        goal = np.asarray(position, np.float64)
        turned = None if rotation is None else np.asarray(rotation, np.float64)
        begin = np.asarray(start, np.float64)
        joints = self._solver.solve(goal, turned, begin, iterations=ITERATIONS)
        found = self.forward(joints)
        wanted = found.rotation if turned is None else turned
        error = apart(found.position[None], found.rotation[None], goal[None], wanted[None])
        near = error.position_m <= 2 * POSITION_TOLERANCE
        if near and error.rotation_rad <= 2 * ROTATION_TOLERANCE:
            return joints
        raise InverseKinematicsError(
            f"no joint positions put the tool at {np.round(goal, 3).tolist()} m: at best it is "
            f"{1e3 * error.position_m:.1f} mm and {error.rotation_rad:.3f} rad off; is the pose "
            "within reach?"
        )
