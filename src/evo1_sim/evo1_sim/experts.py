"""Scripted experts: from the start state of a task to joint targets at 30 Hz that solve it.

An expert knows where the objects are; a policy has to see that. It chooses its waypoints once, in
the state in which it finds the world, and touches nothing.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evo1_sim.kinematics import InverseKinematicsError, Kinematics
from evo1_sim.tasks.hand_delivery import HandCourse
from evo1_sim.waypoints import Variation, Waypoint, waypoints_of
from evo1_sim.world import World

Vector = npt.NDArray[np.float64]

RATE_HZ = 30.0
STEP_NS = round(1e9 / RATE_HZ)
MAX_JOINT_SPEED = 1.2  # rad/s; a move that needs more is slowed, below every robot file's limit
MAX_JOINT_ACCELERATION = 5.0  # rad/s^2; the same
MAX_SLOWDOWNS = 12
_SPEEDS = {"xarm6": 0.30, "so100": 0.16, "so101": 0.16}  # m/s, mean over a move
TILT_SPEED = 0.9  # rad/s, mean over a move
SEEN_S = np.linspace(0.1, 0.4, 7)  # how long ago a hand was where the arm goes; its mean
MAX_JOINT_STEP = 0.3  # rad between ticks of a raw plan; more is a flip of the arm


class ExpertError(RuntimeError):
    """There is no expert for the task, or the start state is out of its reach."""


class Expert:
    """Solves the world's current task from its current state.

    Args:
        world: just reset; it is only read.
        variation: how it differs from the ideal demonstration; None: not at all.

    Raises:
        ExpertError: there is no expert for the task.
    """

    def __init__(self, world: World, variation: Variation | None = None) -> None:
        self._world = world
        self._variation = variation or Variation()
        if world.arm.name not in _SPEEDS:
            raise ExpertError(f"there is no expert for {world.arm.name}; a person can demonstrate")
        self._kinematics = Kinematics(world.arm)
        self._speed = _SPEEDS[world.arm.name] * self._variation.speed
        waypoints = waypoints_of(world.task, world.cell, self._variation)
        if not waypoints:
            raise ExpertError(f"no expert for task '{world.task.name}'")
        self.waypoints = tuple(self._variation.applied(waypoints))

    def plan(self) -> npt.NDArray[np.float64]:
        """Joint targets (T, D) [rad] at 30 Hz, the first one step after now.

        Raises:
            ExpertError: a waypoint is out of reach.
        """
        return np.concatenate(self.moves())

    def moves(self, first: int = 0) -> list[npt.NDArray[np.float64]]:
        """The plan as one move (T, D) [rad] a waypoint, from where the arm is commanded now.

        Args:
            first: waypoint to begin with; those before it are done already.

        Raises:
            ExpertError: a waypoint is out of reach.
        """
        joints, at_s = self._world.targets, self._world.episode_ns * 1e-9
        moves = []
        for waypoint in self.waypoints[first:]:
            moves.append(self._move(joints, waypoint, at_s))
            joints, at_s = moves[-1][-1], at_s + len(moves[-1]) / RATE_HZ
        return moves

    def displaced(self, offset: npt.ArrayLike, *, floor: float) -> Vector:
        """Joint targets (D,) [rad] beside the commanded ones, the tool turned as it is if it can.

        Args:
            offset: of the tool (3,) [m].
            floor: least height of the tool there [m].

        Raises:
            ExpertError: that place is out of reach.
        """
        joints = self._world.targets
        pose = self._kinematics.forward(joints)
        position = pose.position + np.asarray(offset)
        position[2] = max(position[2], floor)
        for rotation in (pose.rotation, None):  # five joints cannot keep it on every way
            try:
                return self._kinematics.solve(position, start=joints, rotation=rotation)
            except InverseKinematicsError as error:
                problem = error
        raise ExpertError(f"{self._world.task.name}: {problem}")

    def actions(self) -> Iterator[Vector]:
        """The plan, one target (D,) [rad] a tick."""
        yield from self.plan()

    def _move(self, joints: Vector, waypoint: Waypoint, at_s: float) -> npt.NDArray[np.float64]:
        """Targets (T, D) of one minimum-jerk move and the stay after it, from `at_s` on."""
        pose = self._kinematics.forward(joints)
        goal = self._goal(waypoint, at_s)
        seconds = max(float(np.linalg.norm(goal - pose.position)) / self._speed, 0.2)
        if waypoint.straight:
            turn = abs(waypoint.tilt - waypoint.tilt_of(pose.rotation))
            seconds = max(seconds, turn / (TILT_SPEED * self._variation.speed))
        for _ in range(MAX_SLOWDOWNS):
            fractions = _minimum_jerk(round(seconds * RATE_HZ))
            stay = np.ones(round(waypoint.seconds * RATE_HZ))
            if not waypoint.straight:
                there = self._reach(replace(waypoint, position=goal), joints)
                path = joints + np.append(fractions, stay)[:, None] * (there - joints)
            elif waypoint.follows:
                path = self._line(joints, waypoint, np.append(fractions, stay), at_s)
            else:
                path = self._line(joints, waypoint, fractions, at_s)
                path = np.concatenate([path, np.repeat(path[-1:], len(stay), axis=0)])
            excess = _excess(joints, path)
            if excess <= 1:
                return path
            seconds *= 1.03 * excess
        raise ExpertError(f"{self._world.task.name}: a move stays faster than the arm may go")

    def _goal(self, waypoint: Waypoint, at_s: float) -> Vector:
        """Where the tool goes (3,) [m], as somebody sees it who looks at the hand at `at_s`."""
        if not waypoint.follows:
            return waypoint.position
        course = self._world.cell.course
        assert isinstance(course, HandCourse), "only a hand is followed"
        seen = [course.motion.at(max(at_s - lag, 0.0)) for lag in SEEN_S]
        return np.asarray(waypoint.position + np.mean(seen, axis=0))

    def _line(
        self, joints: Vector, waypoint: Waypoint, fractions: Vector, at_s: float
    ) -> npt.NDArray[np.float64]:
        """Targets (T, D) on the straight line to a waypoint, or to where that has gone."""
        pose, gripper = self._kinematics.forward(joints), joints[-1]
        origin, tilt = pose.position, waypoint.tilt_of(pose.rotation)
        path = []
        for tick, s in enumerate(fractions, start=1):
            goal = self._goal(waypoint, at_s + tick / RATE_HZ)
            via = replace(
                waypoint,
                position=origin + s * (goal - origin),
                tilt=tilt + s * (waypoint.tilt - tilt),
                gripper=gripper + s * (waypoint.gripper - gripper),
            )
            before, joints = joints, self._reach(via, joints)
            if np.abs(joints - before).max() > MAX_JOINT_STEP:
                raise ExpertError(f"{self._world.task.name}: the arm would flip over on its way")
            path.append(joints)
        return np.array(path)

    def _reach(self, waypoint: Waypoint, start: Vector) -> Vector:
        """Joint positions (D,) [rad] at a waypoint, near `start`."""
        try:
            joints = self._kinematics.solve(
                waypoint.position, start=start, rotation=waypoint.rotation
            )
        except InverseKinematicsError as error:
            raise ExpertError(f"{self._world.task.name}: {error}") from error
        joints[-1] = waypoint.gripper
        return joints


def _excess(joints: Vector, path: npt.NDArray[np.float64]) -> float:
    """How many times too fast a path (T, D) from rest at `joints` is; 1 or less is allowed."""
    rest = np.concatenate([joints[None], joints[None], path, path[-1:]])
    speed = np.diff(rest, axis=0) * RATE_HZ
    acceleration = np.diff(speed, axis=0) * RATE_HZ
    return max(
        float(np.abs(speed).max()) / MAX_JOINT_SPEED,
        float(np.sqrt(np.abs(acceleration).max() / MAX_JOINT_ACCELERATION)),
    )


def _minimum_jerk(count: int) -> Vector:
    """Fractions of a move (count,), from just after 0 to 1, at rest at both ends."""
    t = np.arange(1, count + 1) / count
    return np.asarray(t**3 * (10 - 15 * t + 6 * t**2))
