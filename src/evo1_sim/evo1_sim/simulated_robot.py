"""A world whose joints follow the trajectories of the robot file's command outputs.

One lock inside; every method may be called from any thread. Must not import ROS.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig
from evo1_sim.rendering import CameraRenderer
from evo1_sim.tasks import DISTURBANCES
from evo1_sim.trajectory import TrajectoryFollower, TrajectoryPoint
from evo1_sim.world import World


class SimulatedRobotError(ValueError):
    """A robot file or a task that does not fit; the message says what was expected."""


@dataclass(frozen=True, kw_only=True)
class JointReading:
    """What the encoders say at stamp_ns: (D,) float64 in the robot file's order.

    Attributes:
        stamp_ns: when [ns].
        positions: [rad].
        velocities: [rad/s].
        efforts: [N m].
    """

    stamp_ns: int
    positions: npt.NDArray[np.float64]
    velocities: npt.NDArray[np.float64]
    efforts: npt.NDArray[np.float64]


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
        start = world.joint_positions()
        self._followers = [
            TrajectoryFollower(command.joints, start=start[columns])
            for command, columns in zip(robot.command, self._columns, strict=True)
        ]
        self._stamp_ns = start_ns

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
        """Let a command output follow a trajectory from the last tick on.

        Returns:
            Which limit of the arm it exceeds, for people; empty where none.

        Raises:
            TrajectoryError: it cannot be followed; the output goes on as before.
        """
        with self._lock:
            self._followers[output].accept(
                points, joint_names, stamp_ns=stamp_ns, now_ns=self._stamp_ns
            )
        return _exceeded(points, joint_names, self._robot)

    def tick(self, stamp_ns: int, duration_ns: int) -> JointReading:
        """Advance the physics to stamp_ns, by duration_ns; return what the encoders say then."""
        with self._lock:
            if stamp_ns < self._stamp_ns:  # the clock jumped back: trajectories lost their times
                self._hold(self._commanded(self._stamp_ns))
            self._stamp_ns = stamp_ns
            self._world.set_targets(self._commanded(stamp_ns))
            self._world.step(duration_ns)
            return JointReading(
                stamp_ns=stamp_ns,
                positions=self._world.joint_positions(),
                velocities=self._world.joint_velocities(),
                efforts=self._world.joint_efforts(),
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
            self._hold(self._world.joint_positions())
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

    def _commanded(self, stamp_ns: int) -> npt.NDArray[np.float64]:
        targets = np.empty(self._robot.width)
        for follower, columns in zip(self._followers, self._columns, strict=True):
            targets[columns] = follower.sample(stamp_ns)
        return targets

    def _hold(self, targets: npt.NDArray[np.float64]) -> None:
        for follower, columns in zip(self._followers, self._columns, strict=True):
            follower.hold(targets[columns])


def _exceeded(points: Sequence[TrajectoryPoint], names: Sequence[str], robot: RobotConfig) -> str:
    """Say which limit the points exceed first; empty where none."""
    joints = [robot.joints[robot.joint_names.index(name)] for name in names]
    for column, joint in enumerate(joints):
        low = min((point.positions[column] for point in points), default=joint.position_min)
        high = max((point.positions[column] for point in points), default=joint.position_max)
        if low < joint.position_min or high > joint.position_max:
            worst = low if low < joint.position_min else high
            return (
                f"joint '{joint.name}' is asked to {worst:.4f} rad, its limits are "
                f"[{joint.position_min:g}, {joint.position_max:g}] rad; it stops there"
            )
        fastest = max((abs(p.velocities[column]) for p in points if len(p.velocities)), default=0)
        if fastest > joint.velocity_max:
            return (
                f"joint '{joint.name}' is asked for {fastest:.3f} rad/s, its limit is "
                f"{joint.velocity_max:g} rad/s; it falls behind"
            )
    return ""
