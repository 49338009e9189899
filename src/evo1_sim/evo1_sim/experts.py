"""Scripted experts: from the start state of a task to joint targets at 30 Hz that solve it.

An expert knows where the objects are; a policy has to see that. It chooses its waypoints once, in
the state in which it finds the world, and touches nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evo1_sim.kinematics import InverseKinematicsError, Kinematics
from evo1_sim.tasks.can_into_box import CanIntoBox
from evo1_sim.tasks.can_stacking import CanStacking
from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.coloured_can_into_box import ColouredCanIntoBox
from evo1_sim.tasks.cube_into_box import CubeIntoBox
from evo1_sim.tasks.objects import Can
from evo1_sim.world import World

Vector = npt.NDArray[np.float64]

RATE_HZ = 30.0
STEP_NS = round(1e9 / RATE_HZ)
MAX_JOINT_SPEED = 1.2  # rad/s; a move that needs more is slowed, below every robot file's limit
MAX_JOINT_ACCELERATION = 5.0  # rad/s^2; the same
MAX_SLOWDOWNS = 12
MAX_WAYPOINTS = 16  # of one task
_SPEEDS = {"xarm6": 0.30, "so100": 0.16, "so101": 0.16}  # m/s, mean over a move
MAX_JOINT_STEP = 0.3  # rad between ticks of a raw plan; more is a flip of the arm

GRASP_HEIGHT = 0.035  # of the xArm6's tool over the can's foot [m]: pads at its middle
HOLD_CAN = 0.55  # rad; contact is at 0.36, the rest is grip
RELEASE_CAN = 0.14  # rad; wide enough to let go, narrow enough for the box
OPEN_JAW = 0.65  # rad
HOLD_CUBE = -0.1  # rad; contact is at 0.13
HALF_CUBE = CubeIntoBox.cube.side / 2
FINGER_GAP = 0.017  # m to a face of the cube; to a corner that points at the finger, 12 mm


class ExpertError(RuntimeError):
    """There is no expert for the task, or the start state is out of its reach."""


@dataclass(frozen=True, kw_only=True)
class Waypoint:
    """Where the tool goes next.

    Attributes:
        position: of the tool (3,) [m].
        yaw: angle of its x axis from the world's, the tool pointing down [rad].
        gripper: position of the gripper's joint on arrival [rad].
        seconds: how long to stay after arrival.
        straight: whether the tool moves on a straight line; otherwise each joint goes its own way,
            which an arm with five joints can always do.
    """

    position: Vector
    yaw: float
    gripper: float
    seconds: float = 0.0
    straight: bool = True

    def over(self, height: float) -> "Waypoint":
        """The same, straight above or below at `height` [m], without a stay."""
        return replace(self, position=_at(self.position, height), seconds=0.0)

    def freely(self) -> "Waypoint":
        """The same, reached on the joints' own way."""
        return replace(self, straight=False)

    def with_gripper(self, gripper: float, seconds: float) -> "Waypoint":
        """The same place with another gripper position [rad], and a stay there."""
        return replace(self, gripper=gripper, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How one demonstration differs from the ideal one, as a person's do.

    Attributes:
        speed: factor on the speed of every move.
        pick_m: offset of the grasp on the table (2,) [m].
        place_m: offset of the place (2,) [m].
        via_m: offset of each waypoint in the air, by its index (K, 3) [m].
        pauses_s: longer stay at each waypoint with a stay, by its index (K,) [s].
    """

    speed: float = 1.0
    pick_m: tuple[float, float] = (0.0, 0.0)
    place_m: tuple[float, float] = (0.0, 0.0)
    via_m: tuple[tuple[float, float, float], ...] = ()
    pauses_s: tuple[float, ...] = ()

    @classmethod
    def draw(cls, seed: int) -> "Variation":
        """The variation of a seed, always the same."""
        rng = np.random.default_rng([seed, 0x5EED])  # apart from the scene's own draws
        via = rng.uniform((-0.012, -0.012, 0.0), (0.012, 0.012, 0.02), (MAX_WAYPOINTS, 3))
        hesitates = rng.random(MAX_WAYPOINTS) < 0.1
        return cls(
            speed=float(rng.uniform(0.75, 1.15)),
            pick_m=_pair(rng.uniform(-0.002, 0.002, 2)),
            place_m=_pair(rng.uniform(-0.002, 0.002, 2)),
            via_m=tuple((float(x), float(y), float(z)) for x, y, z in via),
            pauses_s=tuple((hesitates * rng.uniform(0.1, 0.5, MAX_WAYPOINTS)).tolist()),
        )

    def applied(self, waypoints: list[Waypoint]) -> list[Waypoint]:
        """Waypoints with what varies in the air and in time."""
        varied = list(waypoints)
        for k, (offset, pause) in enumerate(
            zip(self.via_m, self.pauses_s, strict=True)  # both are as long
        ):
            if k >= len(varied):
                break
            place = varied[k]
            if place.seconds > 0.0:
                varied[k] = replace(place, seconds=place.seconds + pause)
            else:
                varied[k] = replace(place, position=place.position + np.array(offset))
        return varied


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
        self.waypoints = tuple(self._variation.applied(self._waypoints()))

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
        joints = self._world.targets
        moves = []
        for waypoint in self.waypoints[first:]:
            moves.append(self._move(joints, waypoint))
            joints = moves[-1][-1]
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

    def _waypoints(self) -> list[Waypoint]:
        task, cell = self._world.task, self._world.cell
        pick, place = (
            _on_table(offset) for offset in (self._variation.pick_m, self._variation.place_m)
        )
        if isinstance(task, CanIntoBox | ColouredCanIntoBox):
            box = _at(cell.position(task.box.name), 0.065)
            return _can_waypoints(_foot(task.can, cell) + pick, box + place, 0.24)
        if isinstance(task, CanStacking):
            top = task.base.height + GRASP_HEIGHT + 0.002
            base = _at(cell.position(task.base.name), top)
            return _can_waypoints(_foot(task.can, cell) + pick, base + place, 0.27)
        if isinstance(task, CubeIntoBox):
            cube, box = cell.position(task.cube.name), cell.position(task.box.name)
            return _cube_waypoints(cube + pick, box + place)
        raise ExpertError(f"no expert for task '{task.name}'")

    def _move(self, joints: Vector, waypoint: Waypoint) -> npt.NDArray[np.float64]:
        """Targets (T, D) of one minimum-jerk move and the stay after it."""
        distance = waypoint.position - self._kinematics.forward(joints).position
        seconds = max(float(np.linalg.norm(distance)) / self._speed, 0.2)
        for _ in range(MAX_SLOWDOWNS):
            fractions = _minimum_jerk(round(seconds * RATE_HZ))
            if waypoint.straight:
                path = self._line(joints, waypoint, fractions)
            else:
                path = joints + fractions[:, None] * (self._reach(waypoint, joints) - joints)
            excess = _excess(joints, path)
            if excess <= 1:
                stay = np.repeat(path[-1:], round(waypoint.seconds * RATE_HZ), axis=0)
                return np.concatenate([path, stay])
            seconds *= 1.03 * excess
        raise ExpertError(f"{self._world.task.name}: a move stays faster than the arm may go")

    def _line(
        self, joints: Vector, waypoint: Waypoint, fractions: Vector
    ) -> npt.NDArray[np.float64]:
        """Targets (T, D) on the straight line to a waypoint."""
        origin, gripper = self._kinematics.forward(joints).position, joints[-1]
        path = []
        for s in fractions:
            via = replace(
                waypoint,
                position=origin + s * (waypoint.position - origin),
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
                waypoint.position, start=start, rotation=_down(waypoint.yaw)
            )
        except InverseKinematicsError as error:
            raise ExpertError(f"{self._world.task.name}: {error}") from error
        joints[-1] = waypoint.gripper
        return joints


def _can_waypoints(can: Vector, goal: Vector, height: float) -> list[Waypoint]:
    """Pick a can with its foot at `can`, carry it at tool height `height` [m] to `goal`."""
    pick = Waypoint(position=_at(can, can[2] + GRASP_HEIGHT), yaw=0.0, gripper=0.0)
    place = Waypoint(position=goal, yaw=0.0, gripper=HOLD_CAN)
    return [
        pick.over(0.21).freely(),
        replace(pick, seconds=0.1),
        pick.with_gripper(HOLD_CAN, 0.25),
        pick.over(height).with_gripper(HOLD_CAN, 0.0),
        place.over(height).freely(),
        replace(place, seconds=0.2),
        place.with_gripper(RELEASE_CAN, 0.3),
        place.over(height + 0.02).with_gripper(RELEASE_CAN, 0.0),
        place.over(height + 0.04).with_gripper(0.0, 0.5),
    ]


def _cube_waypoints(cube: Vector, box: Vector) -> list[Waypoint]:
    """Pick a cube with the fixed finger beside it, carry it into the box.

    The jaw stays in the arm's own plane: closing, it turns the cube or takes it by two edges. To
    turn to the nearest face would leave two equal choices at 45 degrees, whose mean is none.
    """
    # The tool is the fixed finger's face; what it holds lies towards the jaw, outwards.
    yaw, outward = _arm_plane(cube)
    pick = Waypoint(
        position=_at(cube, cube[2] - HALF_CUBE + 0.004) - (HALF_CUBE + FINGER_GAP) * outward,
        yaw=yaw,
        gripper=OPEN_JAW,
    )
    yaw, outward = _arm_plane(box)
    place = Waypoint(position=_at(box, 0.05) - HALF_CUBE * outward, yaw=yaw, gripper=HOLD_CUBE)
    return [
        pick.over(0.06).freely(),
        replace(pick, seconds=0.1),
        pick.with_gripper(HOLD_CUBE, 0.3),
        pick.over(0.075).with_gripper(HOLD_CUBE, 0.0),
        place.over(0.075).freely(),
        replace(place, seconds=0.1),
        place.with_gripper(0.5, 0.3),
        place.over(0.08).with_gripper(0.5, 0.5),
    ]


def _arm_plane(point: Vector) -> tuple[float, Vector]:
    """Yaw [rad] of a jaw over a point in the plane of arm and point, and the way outwards (3,)."""
    yaw = float(np.arctan2(point[1], point[0])) + np.pi
    return yaw, -np.array([np.cos(yaw), np.sin(yaw), 0.0])


def _excess(joints: Vector, path: npt.NDArray[np.float64]) -> float:
    """How many times too fast a path (T, D) from rest at `joints` is; 1 or less is allowed."""
    rest = np.concatenate([joints[None], joints[None], path, path[-1:]])
    speed = np.diff(rest, axis=0) * RATE_HZ
    acceleration = np.diff(speed, axis=0) * RATE_HZ
    return max(
        float(np.abs(speed).max()) / MAX_JOINT_SPEED,
        float(np.sqrt(np.abs(acceleration).max() / MAX_JOINT_ACCELERATION)),
    )


def _down(yaw: float) -> npt.NDArray[np.float64]:
    """Axes of a tool that points down (3, 3)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])


def _minimum_jerk(count: int) -> Vector:
    """Fractions of a move (count,), from just after 0 to 1, at rest at both ends."""
    t = np.arange(1, count + 1) / count
    return np.asarray(t**3 * (10 - 15 * t + 6 * t**2))


def _foot(can: Can, cell: Cell) -> Vector:
    """Where a standing can's foot is (3,) [m]."""
    x, y, z = cell.position(can.name)
    return np.array([x, y, z - can.height / 2])


def _on_table(offset: tuple[float, float]) -> Vector:
    return np.array([*offset, 0.0])


def _pair(values: Vector) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _at(position: Vector, height: float) -> Vector:
    return np.array([position[0], position[1], height])
