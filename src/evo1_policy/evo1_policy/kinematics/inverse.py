"""End-effector actions into joint targets, and back: inverse and forward kinematics of the tool.

Training and the policy use the same ToolSpace. Must not import ROS or torch; mink is imported when
something is solved. Letters: H horizon, D joints, W numbers of an action.
"""

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats, ToolError
from evo1_policy.kinematics.end_effector import EndEffector
from evo1_policy.kinematics.model import ArmModel, ModelError, arm_model
from evo1_policy.robot_config import RobotConfig

POSITION_TOLERANCE = 1e-5  # m; where the search for joints ends
ROTATION_TOLERANCE = 1e-4  # rad
ITERATIONS = 20  # for one action; one that follows its predecessor needs two
STEP, STILL = 0.2, 1e-6  # rad an iteration: at most, and where it gets no nearer
# An arm of five joints cannot turn its tool as it likes: then the position counts.
ROTATION_COST = 0.1  # of a radian beside a metre
LARGEST = 1e6  # a larger number of an action is none
DAMPING = 1e-6  # keeps joints still that would have to turn far for little


class Solver:
    """Joint positions that put the tool at a pose, nearest to where the search begins.

    Args:
        arm: whose model; its joint ranges become the limits given.
        lower: (D,) limits [rad].
        upper: (D,) likewise.
    """

    def __init__(self, arm: ArmModel, lower: Floats, upper: Floats) -> None:
        import mink  # imports solvers and scipy: half a second, for few policies

        self._arm, self._lower, self._upper = arm, lower, upper
        known = arm.joints >= 0
        arm.model.jnt_limited[arm.joints[known]] = 1
        arm.model.jnt_range[arm.joints[known]] = np.stack([lower, upper], axis=1)[known]
        self._known, self._places = known, arm.qpos[known]
        self._configuration = mink.Configuration(arm.model)
        self._task = mink.FrameTask(
            arm.tool_name, arm.tool_type, position_cost=1.0, orientation_cost=ROTATION_COST
        )
        self._range = mink.ConfigurationLimit(arm.model, gain=1.0)
        names = [name for name, there in zip(arm.joint_names, known, strict=True) if there]
        self._step = mink.VelocityLimit(arm.model, dict.fromkeys(names, STEP))

    def solve(
        self,
        position: Floats,
        rotation: Floats | None,
        start: Floats,
        *,
        reach: float = np.inf,
        iterations: int = ITERATIONS,
    ) -> Floats:
        """Search from `start`; the result is the nearest to the pose that was found.

        Args:
            position: (3,) of the tool [m].
            rotation: (3, 3) of it; None leaves it free.
            start: (D,) [rad].
            reach: how far each joint may be from `start` [rad].
            iterations: when to give up.

        Returns:
            (D,) [rad], within the limits. Joints that do not move the tool stay as they are.
        """
        import mink

        start = np.clip(start, self._lower, self._upper)
        low = np.maximum(self._lower, start - reach)[self._known]
        high = np.minimum(self._upper, start + reach)[self._known]
        self._range.lower[self._places], self._range.upper[self._places] = low, high
        self._configuration.update(self._arm.qpos_at(start))
        turn = mink.SO3.identity() if rotation is None else mink.SO3.from_matrix(rotation)
        self._task.set_target(mink.SE3.from_rotation_and_translation(turn, position))
        self._task.set_orientation_cost(0.0 if rotation is None else ROTATION_COST)
        for _ in range(iterations):
            error = self._task.compute_error(self._configuration)
            turned = rotation is None or np.linalg.norm(error[3:]) <= ROTATION_TOLERANCE
            if turned and np.linalg.norm(error[:3]) <= POSITION_TOLERANCE:
                break
            speed = mink.solve_ik(
                self._configuration,
                [self._task],
                1.0,
                "daqp",
                damping=DAMPING,
                limits=[self._range, self._step],
            )
            self._configuration.integrate_inplace(speed, 1.0)
            if np.abs(speed).max() <= STILL:  # as near as it gets
                break
        joints = self._arm.positions_of(self._configuration.q, default=start)
        return np.clip(joints, self._lower, self._upper)


class ToolSpace:
    """A robot's joints as end-effector numbers, and back. Not for two threads at once.

    Args:
        meaning: of the numbers.
        robot: whose joints; its file names the model.

    Raises:
        ModelError: the robot file names no model that can be used, or it has several grippers.
    """

    def __init__(self, meaning: EndEffector, robot: RobotConfig) -> None:
        count, most = len(robot.grippers), len(meaning.action.grippers)
        if count > 1 or count < most:
            raise ModelError(
                f"the robot file of '{robot.name}' has {count} grippers, but the actions are of "
                f"one tool with {most}; "
                + (
                    "several arms want a policy of joints"
                    if count
                    else "say which joint closes it"
                )
            )
        self.meaning, self._robot, self._arm = meaning, robot, arm_model(robot)
        self._solver: Solver | None = None
        self._gripper = robot.gripper
        self._place = robot.joint_names.index(robot.gripper.joint) if robot.gripper else -1

    def numbers(self, joints: npt.ArrayLike, state: npt.ArrayLike) -> Floats:
        """Joint targets (H, D) of a chunk [rad] -> its actions (H, W).

        Args:
            joints: where the joints shall be.
            state: (D,) where they were when the chunk's observation was made [rad].
        """
        return self.meaning.numbers(*self.poses(joints), self._pose(state))

    def poses(self, joints: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Where joint positions (N, D) [rad] put the tool, as `EndEffector.numbers` takes it.

        Returns:
            Position (N, 3) [m], rotation (N, 3, 3), and the gripper (N,), 0 open to 1 closed.
        """
        rows = np.asarray(joints, np.float64)
        return *self._poses(rows), self._closed(rows)

    @property
    def idle_joints(self) -> tuple[str, ...]:
        """Joints of the robot file that neither move the tool nor are the gripper."""
        names = self._robot.joint_names
        busy = self._arm.tool_joints | {self._place}
        return tuple(name for k, name in enumerate(names) if k not in busy)

    def joints(self, numbers: npt.ArrayLike, state: npt.ArrayLike) -> tuple[Floats, ToolError]:
        """The inverse: each action is solved from the one before, the first from the state.

        So no action jumps to another branch; none is further from the one before than what the
        robot file's safety.max_start_error_rad allows of a chunk's beginning.

        Returns:
            (H, D) [rad], NaN where the numbers are no pose; and how far the tool stays off.
        """
        here, rows = np.array(state, np.float64), np.asarray(numbers, np.float64)
        joints = np.full((len(rows), len(here)), np.nan)
        nothing = ToolError(position_m=np.inf, rotation_rad=np.inf)
        if not (np.abs(rows) <= LARGEST).all():
            return joints, nothing
        position, rotation, closed = self.meaning.poses(rows, self._pose(here))
        if not np.isfinite(rotation).all():
            return joints, nothing
        reach = self._robot.safety.max_start_error_rad
        if self._solver is None:
            lower, upper = self._robot.position_min, self._robot.position_max
            self._solver = Solver(self._arm, lower, upper)
        for k, pose in enumerate(zip(*self.meaning.to_base(position, rotation), strict=True)):
            here = self._solver.solve(*pose, here, reach=reach)
            joints[k] = here
        error = apart(*self._poses(joints), position, rotation)
        if closed is not None and self._gripper is not None:
            span = self._gripper.closed - self._gripper.open
            joints[:, self._place] = self._gripper.open + span * closed
        return joints, error

    def state(self, joints: npt.ArrayLike) -> Floats:
        """Joint positions (D,) [rad] -> the numbers of the state that the model knows."""
        row = np.array(joints, np.float64)
        if self.meaning.state is None:
            return row
        pose = self._poses(row[None])
        return self.meaning.state.pack(*pose, self._closed(row[None])).ravel()

    def _pose(self, joints: npt.ArrayLike) -> tuple[Floats, Floats]:
        position, rotation = self._poses(np.array(joints, np.float64)[None])
        return position[0], rotation[0]

    def _poses(self, joints: Floats) -> tuple[Floats, Floats]:
        """Of the tool, in the frame that the numbers count from."""
        found = [self._arm.forward(row) for row in joints]
        return self.meaning.from_base(
            np.stack([pose.position for pose in found]),
            np.stack([pose.rotation for pose in found]),
        )

    def _closed(self, joints: Floats) -> Floats:
        """(N,) 0 open to 1 closed; 0 where the robot has no gripper."""
        if self._gripper is None:
            return np.zeros(len(joints))
        span = self._gripper.closed - self._gripper.open
        return np.asarray((joints[:, self._place] - self._gripper.open) / span)


def apart(position: Floats, rotation: Floats, wanted: Floats, turned: Floats) -> ToolError:
    """The largest distance and angle between poses.

    Args:
        position: (N, 3) [m].
        rotation: (N, 3, 3).
        wanted: (N, 3) [m].
        turned: (N, 3, 3).
    """
    turn = np.swapaxes(turned, 1, 2) @ rotation
    # The sine keeps small angles, which the cosine of the trace rounds away.
    sine = np.linalg.norm(turn - np.swapaxes(turn, 1, 2), axis=(1, 2)) / np.sqrt(8.0)
    cosine = (np.trace(turn, axis1=1, axis2=2) - 1.0) / 2.0
    return ToolError(
        position_m=float(np.linalg.norm(position - wanted, axis=1).max()),
        rotation_rad=float(np.arctan2(sine, cosine).max()),
    )
