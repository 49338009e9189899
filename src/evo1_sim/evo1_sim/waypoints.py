"""Where the tool goes in each task, and how one demonstration differs from the next."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.hand_delivery import HandDelivery
from evo1_sim.tasks.objects import Can
from evo1_sim.tasks.pick_and_place import CanIntoBox, CanStacking, ColouredCanIntoBox, CubeIntoBox
from evo1_sim.tasks.pour import Pour
from evo1_sim.tasks.task import Task

Vector = npt.NDArray[np.float64]

MAX_WAYPOINTS = 16  # of one task

GRASP_HEIGHT = 0.035  # of the xArm6's tool over the can's foot [m]: pads at its middle
HOLD_CAN = 0.55  # rad; contact is at 0.36, the rest is grip
RELEASE_CAN = 0.14  # rad; wide enough to let go, narrow enough for the box
OPEN_JAW = 0.65  # rad
HOLD_CUBE = -0.1  # rad; contact is at 0.13
HALF_CUBE = CubeIntoBox.cube.side / 2
FINGER_GAP = 0.017  # m to a face of the cube; to a corner that points at the finger, 12 mm

CUP_GRASP_HEIGHT = 0.045  # of the tool over the cup's foot [m]: pads below its rim
HOLD_CUP = 0.45  # rad
RELEASE_CUP = 0.10  # rad
POUR_HEIGHT = 0.27  # of the tool [m]
POUR_AHEAD = 0.03  # of the tool beyond the box's middle [m]: the mouth is behind the tool
POUR_TILT = 2.0  # rad


@dataclass(frozen=True, kw_only=True)
class Waypoint:
    """Where the tool goes next.

    Attributes:
        position: of the tool (3,) [m].
        yaw: angle of its x axis from the world's, the tool pointing down [rad].
        tilt: how far it then turns up about the axis on which the pads close [rad].
        gripper: position of the gripper's joint on arrival [rad].
        seconds: how long to stay after arrival.
        follows: whether `position` is relative to the hand of the task, wherever that is.
        straight: whether the tool moves on a straight line; otherwise each joint goes its own way,
            which an arm with five joints can always do.
    """

    position: Vector
    yaw: float
    gripper: float
    tilt: float = 0.0
    seconds: float = 0.0
    follows: bool = False
    straight: bool = True

    def over(self, height: float) -> "Waypoint":
        """The same, straight above or below at `height` [m], without a stay."""
        return replace(self, position=_at(self.position, height), seconds=0.0)

    @property
    def rotation(self) -> npt.NDArray[np.float64]:
        """Axes of the tool (3, 3)."""
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        turned = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        return np.asarray(_down(self.yaw) @ turned)

    def tilt_of(self, rotation: npt.NDArray[np.float64]) -> float:
        """The tilt [rad] of a tool with these axes (3, 3) about this waypoint's."""
        turned = _down(self.yaw).T @ rotation
        return float(np.arctan2(turned[0, 2], turned[2, 2]))

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


def waypoints_of(task: Task, cell: Cell, variation: Variation) -> list[Waypoint]:
    """The waypoints that solve a task from its present state; none where nobody knows how."""
    pick, place = (_on_table(offset) for offset in (variation.pick_m, variation.place_m))
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
    if isinstance(task, Pour):
        cup = cell.position(task.cup.name)
        foot = _at(cup, cup[2] - task.cup.height / 2)
        return _pour_waypoints(foot + pick, cell.position(task.box.name) + place)
    if isinstance(task, HandDelivery):
        return _hand_waypoints(_foot(task.can, cell) + pick, place)
    return []


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


def _hand_waypoints(can: Vector, off_centre: Vector) -> list[Waypoint]:
    """Pick a can with its foot at `can`, carry it over the hand, follow that and let go there."""
    pick = Waypoint(position=_at(can, can[2] + GRASP_HEIGHT), yaw=0.0, gripper=0.0)
    give = Waypoint(
        position=_at(off_centre, GRASP_HEIGHT + 0.003), yaw=0.0, gripper=HOLD_CAN, follows=True
    )
    return [
        pick.over(0.21).freely(),
        replace(pick, seconds=0.1),
        pick.with_gripper(HOLD_CAN, 0.25),
        pick.over(0.29).with_gripper(HOLD_CAN, 0.0),
        give.over(0.13).freely(),
        replace(give.over(0.075), seconds=0.4),
        replace(give, seconds=0.2),
        give.with_gripper(RELEASE_CAN, 0.3),
        give.over(0.14).with_gripper(RELEASE_CAN, 0.0),
        give.over(0.16).with_gripper(0.0, 0.5),
    ]


def _pour_waypoints(cup: Vector, box: Vector) -> list[Waypoint]:
    """Pick a cup with its foot at `cup`, pour it into the box from its right, and bring it back.

    The pads close on the axis about which the cup is tilted, so that no finger is under its mouth.
    """
    pick = Waypoint(position=_at(cup, cup[2] + CUP_GRASP_HEIGHT), yaw=np.pi / 2, gripper=0.0)
    hold = replace(pick, gripper=HOLD_CUP)
    pour = replace(hold, position=_at(box, POUR_HEIGHT) + _on_table((0.0, POUR_AHEAD)))
    return [
        pick.over(0.24).freely(),
        replace(pick, seconds=0.1),
        pick.with_gripper(HOLD_CUP, 0.25),
        hold.over(POUR_HEIGHT),
        pour.freely(),
        replace(pour, tilt=POUR_TILT, seconds=0.8),
        replace(pour, seconds=0.1),
        hold.over(POUR_HEIGHT).freely(),
        replace(hold, seconds=0.2),
        pick.with_gripper(RELEASE_CUP, 0.3),
        pick.over(0.24).with_gripper(0.0, 0.5),
    ]


def _down(yaw: float) -> npt.NDArray[np.float64]:
    """Axes of a tool that points down (3, 3)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])


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
