"""Forward and inverse kinematics of an arm on its MuJoCo model. Touches no running simulation."""

from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_sim.arms import Arm

Vector = npt.NDArray[np.float64]

POSITION_TOLERANCE = 2e-5  # m; coarser would show as jerks between the ticks of a slow line
ROTATION_TOLERANCE = 2e-4  # rad
STEP_LIMIT = 0.2  # rad an iteration
DAMPING = 1e-5


class InverseKinematicsError(ValueError):
    """No joint positions within the limits reach the pose."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a site is: position (3,) [m], and rotation (3, 3) with its axes as columns."""

    position: Vector
    rotation: npt.NDArray[np.float64]


class Kinematics:
    """Kinematics of one arm.

    Joint arrays are (D,) float64 [rad] in the robot file's order; the gripper (the last joint)
    does not move the tool and passes through the solver unchanged.

    Args:
        arm: joints, names and limits.
        model: a scene with this arm in it.
        site: 'tool' or 'flange'.
    """

    def __init__(self, arm: Arm, model: mujoco.MjModel, site: str = "tool") -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._site = model.site(site).id
        joints = [model.joint(name) for name in arm.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])[:-1]
        self._lower, self._upper = arm.lower, arm.upper

    def forward(self, joints: npt.ArrayLike) -> Pose:
        """Pose of the site at joint positions (D,) [rad]."""
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        return Pose(
            position=np.array(self._data.site_xpos[self._site]),
            rotation=np.array(self._data.site_xmat[self._site]).reshape(3, 3),
        )

    def solve(
        self,
        position: npt.ArrayLike,
        *,
        start: npt.ArrayLike,
        rotation: npt.ArrayLike | None = None,
        iterations: int = 200,
    ) -> Vector:
        """Find joint positions by damped least squares, near `start` and within the limits.

        Args:
            position: where the site shall be (3,) [m].
            start: where to begin (D,) [rad].
            rotation: how it shall be turned (3, 3); None leaves it free. An arm with five joints
                reaches only some rotations, among them every one that points straight down.
            iterations: when to give up.

        Returns:
            (D,) [rad].

        Raises:
            InverseKinematicsError: not reached.
        """
        joints = np.array(start, dtype=np.float64)
        goal = np.asarray(position, dtype=np.float64)
        for _ in range(iterations):
            error, jacobian = self._residual(joints, goal, rotation)
            far = np.linalg.norm(error[:3]) > POSITION_TOLERANCE
            if not far and np.linalg.norm(error[3:]) <= ROTATION_TOLERANCE:
                return joints
            joints[:-1] += self._damped_step(error, jacobian, joints[:-1])
        raise InverseKinematicsError(
            f"no joint positions put the tool at {np.round(goal, 3).tolist()} m: after "
            f"{iterations} iterations it is {1e3 * np.linalg.norm(error[:3]):.1f} mm and "
            f"{np.linalg.norm(error[3:]):.3f} rad off; is the pose within reach?"
        )

    def _residual(
        self,
        joints: Vector,
        position: Vector,
        rotation: npt.ArrayLike | None,
    ) -> tuple[Vector, npt.NDArray[np.float64]]:
        """Error (3 or 6,) [m, rad] in the world, and its Jacobian over the arm's joints."""
        pose = self.forward(joints)
        linear = np.zeros((3, self._model.nv))
        angular = np.zeros((3, self._model.nv))
        mujoco.mj_jacSite(self._model, self._data, linear, angular, self._site)
        linear, angular = linear[:, self._dofs], angular[:, self._dofs]
        error = position - pose.position
        if rotation is None:
            return error, linear
        turn = _rotation_vector(np.asarray(rotation) @ pose.rotation.T)
        return np.concatenate([error, turn]), np.vstack([linear, angular])

    def _damped_step(
        self, error: Vector, jacobian: npt.NDArray[np.float64], joints: Vector
    ) -> Vector:
        """One step; joints that would leave their limits are left out of it."""
        free = np.ones(len(joints), dtype=bool)
        lower, upper = self._lower[:-1], self._upper[:-1]
        step = np.zeros(len(joints))
        for _ in range(len(joints)):
            active = jacobian[:, free]
            square = active @ active.T + DAMPING * np.eye(len(error))
            step[:] = 0
            step[free] = active.T @ np.linalg.solve(square, error)
            step *= min(1.0, STEP_LIMIT / max(float(np.abs(step).max()), 1e-12))
            stuck = free & ((joints + step < lower) | (joints + step > upper))
            if not stuck.any() or stuck.sum() == free.sum():
                break
            free &= ~stuck
        return np.asarray(np.clip(joints + step, lower, upper) - joints)


def _rotation_vector(rotation: npt.NDArray[np.float64]) -> Vector:
    """Axis times angle of a rotation matrix (3,) [rad]."""
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).reshape(9))
    vector = np.zeros(3)
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
