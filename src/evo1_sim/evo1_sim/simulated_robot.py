"""A world whose joints are driven by one trajectory controller for each command output.

Each tick runs as one cycle of ros2_control does: the drives go where they were told in the cycle
before, the encoders are read, the controllers say where to go next. One lock inside; every method
may be called from any thread. Must not import ROS.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import CommandConfig, RobotConfig
from evo1_sim.controller import ControllerSettings, FollowedState, TrajectoryController
from evo1_sim.rendering import CameraRenderer
from evo1_sim.tasks import DISTURBANCES
from evo1_sim.trajectory import TrajectoryPoint
from evo1_sim.world import World

TICK_NS = 10_000_000  # joint states and controllers at 100 Hz


class SimulatedRobotError(ValueError):
    """A robot file or a task that does not fit; the message says what was expected."""


@dataclass(frozen=True, kw_only=True)
class JointReading:
    """What the encoders and the controllers say: (D,) float64 in the robot file's order.

    Attributes:
        stamp_ns: when [ns].
        positions: [rad].
        velocities: [rad/s].
        efforts: [N m].
        followed: what each output's controller follows now, None for one that is inactive.
    """

    stamp_ns: int
    positions: npt.NDArray[np.float64]
    velocities: npt.NDArray[np.float64]
    efforts: npt.NDArray[np.float64]
    followed: tuple[FollowedState | None, ...]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is wrong with the controllers, to see what the policy does about it.

    Attributes:
        inactive: names of controllers that are switched off (see controller_name).
        delay_ms: how long each trajectory is under way [ms].
        skew_ms: how far the controllers' clock is ahead of all others [ms].
        standing_error_rad: how far from its target each joint but the gripper ends [rad].
    """

    inactive: frozenset[str] = frozenset()
    delay_ms: float = 0.0
    skew_ms: float = 0.0
    standing_error_rad: float = 0.0


def controller_name(command: CommandConfig) -> str:
    """Return the name of a command output's controller, by which its topics begin."""
    return command.topic.rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class TaskReading:
    """State of the task at stamp_ns, see evo1_msgs/TaskStatus."""

    stamp_ns: int
    task: str
    seed: int
    success: bool
    detail: str
    elapsed_s: float


class SimulatedRobot:
    """One arm in its scene, driven by trajectories.

    Args:
        world: the scene; its joints must be the robot file's, in the same order.
        robot: the robot file.
        start_ns: present time on the clock of all stamps [ns].

    Raises:
        SimulatedRobotError: the robot file has other joints than the world.
    """

    def __init__(self, world: World, robot: RobotConfig, *, start_ns: int) -> None:
        if tuple(world.joint_names) != robot.joint_names:
            raise SimulatedRobotError(
                f"robot file '{robot.name}' has joints {', '.join(robot.joint_names)}, the "
                f"simulated arm {', '.join(world.joint_names)}; choose the arm's own robot file"
            )
        self._world = world
        self._robot = robot
        self._lock = threading.Lock()
        self._disturbance = world.disturbance.name
        self._columns = [
            [robot.joint_names.index(name) for name in command.joints] for command in robot.command
        ]
        grippers = {gripper.joint for gripper in robot.grippers}
        self._is_arm = np.array([name not in grippers for name in robot.joint_names])
        self._faults = Faults()
        self._start(start_ns)

    def _start(self, stamp_ns: int) -> None:
        """Switch all controllers on, the arm at rest where it is."""
        self._stamp_ns = stamp_ns
        self._targets = self._world.joint_positions()
        self._controllers = [
            TrajectoryController(command.joints, self._settings(columns))
            for command, columns in zip(self._robot.command, self._columns, strict=True)
        ]
        for controller, columns in zip(self._controllers, self._columns, strict=True):
            controller.activate(self._targets[columns])
        self._apply(self._faults)

    @property
    def stamp_ns(self) -> int:
        """The instant of the last tick [ns]."""
        with self._lock:
            return self._stamp_ns

    def accept(
        self,
        output: int,
        points: Sequence[TrajectoryPoint],
        joint_names: Sequence[str],
        *,
        stamp_ns: int,
    ) -> str:
        """Send a command output's controller a trajectory, which the next tick takes.

        Returns:
            Which limit of the arm it exceeds, for people; empty where none.

        Raises:
            TrajectoryError: it cannot be followed; the output goes on as before.
        """
        with self._lock:
            self._controllers[output].receive(
                points, joint_names, stamp_ns=stamp_ns, now_ns=self._controllers_ns()
            )
        return _exceeded(points, joint_names, self._robot)

    def tick(self, stamp_ns: int, duration_ns: int) -> JointReading:
        """Advance the physics to stamp_ns, by duration_ns; return what the encoders say then."""
        with self._lock:
            period_ns = stamp_ns - self._stamp_ns
            if period_ns <= 0:  # the clock jumped back
                period_ns = duration_ns
            self._stamp_ns = stamp_ns
            self._world.set_targets(self._targets + self._is_arm * self._faults.standing_error_rad)
            self._world.step(duration_ns)
            positions, velocities = self._world.joint_positions(), self._world.joint_velocities()
            for controller, columns in zip(self._controllers, self._columns, strict=True):
                self._targets[columns] = controller.update(
                    self._controllers_ns(), period_ns, positions[columns], velocities[columns]
                )
            return JointReading(
                stamp_ns=stamp_ns,
                positions=positions,
                velocities=velocities,
                efforts=self._world.joint_efforts(),
                followed=tuple(controller.state for controller in self._controllers),
            )

    @property
    def faults(self) -> Faults:
        """What is wrong with the controllers now."""
        with self._lock:
            return self._faults

    def suffer(self, faults: Faults) -> None:
        """Let these, and no other faults, be wrong with the controllers from now on.

        Raises:
            SimulatedRobotError: no controller has that name.
        """
        known = [controller_name(command) for command in self._robot.command]
        for name in faults.inactive - set(known):
            raise SimulatedRobotError(f"no controller '{name}'; known: {', '.join(known)}")
        with self._lock:
            self._apply(faults)

    def _apply(self, faults: Faults) -> None:
        self._faults = faults
        positions = self._world.joint_positions()
        for controller, columns, command in zip(
            self._controllers, self._columns, self._robot.command, strict=True
        ):
            controller.delay_ns = round(faults.delay_ms * 1e6)
            wanted = controller_name(command) not in faults.inactive
            if controller.active and not wanted:
                controller.deactivate()
            elif wanted and not controller.active:
                controller.activate(positions[columns])

    def _controllers_ns(self) -> int:
        return self._stamp_ns + round(self._faults.skew_ms * 1e6)

    def _settings(self, columns: list[int]) -> ControllerSettings:
        """Return the arm's, at the rate of the ticks; a gripper may press on things for ever."""
        settings, is_arm = self._world.arm.controller, self._is_arm[columns]
        return replace(
            settings,
            update_rate_hz=1e9 / TICK_NS,
            trajectory_tolerance_rad=tuple(is_arm * settings.trajectory_tolerance_rad),
            goal_tolerance_rad=tuple(is_arm * settings.goal_tolerance_rad),
        )

    def capture(self, renderer: CameraRenderer) -> int:
        """Let the renderer copy the scene; return the instant that all its views show [ns]."""
        with self._lock:
            renderer.capture()
            return self._stamp_ns

    def disturb(self, name: str) -> None:
        """From the next reset on, lay the scene out with a disturbance of tasks.DISTURBANCES.

        Raises:
            SimulatedRobotError: no disturbance has that name.
        """
        if name not in DISTURBANCES:
            known = ", ".join(DISTURBANCES)
            raise SimulatedRobotError(f"unknown disturbance '{name}'; known: {known}")
        with self._lock:
            self._disturbance = name

    def reset(self, task: str, seed: int) -> int:
        """Put the scene into a start state of a task, the arm at rest in its start pose.

        Args:
            task: its name; empty: the same task again.
            seed: which start state; negative: the next one.

        Returns:
            The seed that was used.

        Raises:
            SimulatedRobotError: no task of this arm has that name.
        """
        with self._lock:
            if task and task not in self._world.task_names:
                known = ", ".join(self._world.task_names)
                raise SimulatedRobotError(f"unknown task '{task}'; this arm knows {known}")
            used = seed if seed >= 0 else self._world.seed + 1
            self._world.reset(task or None, used, disturbance=self._disturbance)
            self._start(self._stamp_ns)
            return used

    def task(self) -> TaskReading:
        """Judge the task as the scene stands now."""
        with self._lock:
            result = self._world.task_status()
            return TaskReading(
                stamp_ns=self._stamp_ns,
                task=result.task,
                seed=self._world.seed,
                success=result.success,
                detail=result.detail,
                elapsed_s=self._world.episode_ns * 1e-9,
            )


def _exceeded(points: Sequence[TrajectoryPoint], names: Sequence[str], robot: RobotConfig) -> str:
    """Say which limit the points exceed first; empty where none."""
    joints = [robot.joints[robot.joint_names.index(name)] for name in names]
    for column, joint in enumerate(joints):
        low = min((point.positions[column] for point in points), default=joint.position_min)
        high = max((point.positions[column] for point in points), default=joint.position_max)
        if low < joint.position_min or high > joint.position_max:
            worst = low if low < joint.position_min else high
            return (
                f"joint '{joint.name}' is asked to {worst:.4f} {joint.unit}, its limits are "
                f"[{joint.position_min:g}, {joint.position_max:g}]; it stops there"
            )
        fastest = max((abs(p.velocities[column]) for p in points if len(p.velocities)), default=0)
        if fastest > joint.velocity_max:
            return (
                f"joint '{joint.name}' is asked for {fastest:.3f} {joint.unit}/s, its limit is "
                f"{joint.velocity_max:g}; it falls behind"
            )
    return ""
