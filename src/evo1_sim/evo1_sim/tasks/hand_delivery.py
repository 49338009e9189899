"""xArm6: give the can to a person, into a hand that is not quite still."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.objects import Can
from evo1_sim.tasks.pick_and_place import CAN_AREA, SPARE_AREA, stand
from evo1_sim.tasks.task import SETTLED_SPEED, Area, Task

Vector = npt.NDArray[np.float64]

HAND = "hand"
GUIDE = "hand_guide"
SKIN = "0.85 0.62 0.50 1"
SLEEVE = "0.20 0.28 0.36 1"
RING = 0.049  # m from the palm's middle to the fingers' axes: 13 mm of room around a can
FINGER_RADIUS = 0.008  # m
FINGER_ANGLES = np.radians([-150, -110, -70, -30, 50, 130])  # four fingers; thumb and its ball
FINGER_TOP = 0.028  # m over the palm, below the gripper that lets go of a can

HAND_AREA: Area = ((0.40, 0.11), (0.50, 0.18))
HAND_HEIGHT = (0.10, 0.16)  # of the palm over the table [m]
TREMOR_M = 0.004  # furthest from where the hand is meant to be
TREMOR_HZ = (0.8, 2.5)
WAVES = 2  # of the tremor along each axis
DRIFT_M = (0.03, 0.08)
DRIFT_SPEED = (0.1, 0.3)  # m/s at its fastest
DRIFT_BEGIN_S = (1.0, 4.5)
PEAK_TO_MEAN = 1.875  # of the speed of a minimum-jerk motion

OFF_CENTRE_M = 0.020  # furthest of the can's axis from the palm's middle
RESTING_M = 0.010  # furthest of the can's foot from the palm
MAX_FORCE_N = 30.0  # of anything on the hand: a can that is pressed into it hurts
SECURE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class HandMotion:
    """Where a hand is: it trembles, and once drifts to another place. The arm changes nothing.

    Attributes:
        start: where it is at first (3,) [m].
        drift: from there to where it stays (3,) [m].
        begin_s: when it begins to drift, since the reset [s].
        drift_s: how long that takes [s].
        size: of each wave of the tremor (WAVES, 3) [m].
        turn: its angular frequency (WAVES, 3) [rad/s].
        phase: where it begins (WAVES, 3) [rad].
    """

    start: Vector
    drift: Vector
    begin_s: float
    drift_s: float
    size: Vector
    turn: Vector
    phase: Vector

    @classmethod
    def draw(cls, rng: np.random.Generator, can: Vector) -> "HandMotion":
        """The motion of a seed, never towards where the can stands (2,) [m]."""
        start = np.array((*rng.uniform(*HAND_AREA), rng.uniform(*HAND_HEIGHT)))
        away = start[:2] - can
        angle = np.arctan2(away[1], away[0]) + rng.uniform(-np.pi / 2, np.pi / 2)
        length = rng.uniform(*DRIFT_M)
        level = length * np.array((np.cos(angle), np.sin(angle)))
        size = rng.uniform(0.3, 1.0, (WAVES, 3))
        return cls(
            start=start,
            drift=np.array((*level, rng.uniform(-0.01, 0.01))),
            begin_s=rng.uniform(*DRIFT_BEGIN_S),
            drift_s=PEAK_TO_MEAN * length / rng.uniform(*DRIFT_SPEED),
            size=size * TREMOR_M / np.linalg.norm(size.sum(axis=0)),
            turn=2 * np.pi * rng.uniform(*TREMOR_HZ, (WAVES, 3)),
            phase=rng.uniform(0, 2 * np.pi, (WAVES, 3)),
        )

    def at(self, time_s: float) -> Vector:
        """Where the palm's middle is (3,) [m], so long after the reset."""
        t = np.clip((time_s - self.begin_s) / self.drift_s, 0.0, 1.0)
        gone = t**3 * (10 - 15 * t + 6 * t**2)
        tremor = (self.size * np.sin(self.turn * time_s + self.phase)).sum(axis=0)
        return np.asarray(self.start + gone * self.drift + tremor)


class HandCourse:
    """The hand of one episode.

    Attributes:
        motion: where it goes.
        strongest_n: the strongest force that anything has put on it [N].
    """

    def __init__(self, motion: HandMotion) -> None:
        self.motion = motion
        self.strongest_n = 0.0

    def advance(self, cell: Cell, time_s: float) -> None:
        """Lead the hand, and feel what presses on it."""
        cell.guide(GUIDE, self.motion.at(time_s))
        self.strongest_n = max(self.strongest_n, cell.pressure(HAND))


class HandDelivery(Task):
    """The can stands on the arm's right; on its left somebody holds out a hand, palm up."""

    name = "hand_delivery"
    instruction = "put the can into the hand"
    can = Can()
    target = can.name
    goal = HAND
    target_radius = can.radius
    target_area = CAN_AREA
    spare_area = SPARE_AREA
    unnamed_colours = (can.name,)
    # The hand has a weight of its own and gives way, as a mocap body would not.
    welds = f'<weld body1="{GUIDE}" body2="{HAND}" solref="0.01 1"/>'
    held_s = SECURE_S

    def objects(self) -> str:
        """MJCF of the can, the hand, and what leads it."""
        return self.can.body() + f'<body name="{GUIDE}" mocap="true"/>' + _hand()

    def place(self, cell: Cell, rng: np.random.Generator) -> HandCourse:
        """The can in 20 x 20 cm; the hand in 10 x 7 cm and 6 cm of height, and where it goes."""
        at = rng.uniform(*self.target_area)
        stand(self.can, cell, rng, at)
        motion = HandMotion.draw(rng, at)
        cell.place(HAND, motion.at(0.0))
        cell.guide(GUIDE, motion.at(0.0))
        return HandCourse(motion)

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The can stands in the hand, which holds it: released, at rest to it, never pressed."""
        offset = cell.inside(self.can.name, HAND)
        moving = cell.velocity(self.can.name) - cell.velocity(HAND)
        problems: tuple[str, ...] = ()
        if np.hypot(offset[0], offset[1]) > OFF_CENTRE_M:
            problems += ("the can is not in the hand",)
        elif abs(offset[2] - self.can.height / 2) > RESTING_M:
            problems += ("the can does not rest on the palm",)
        if not cell.upright(self.can.name):
            problems += ("the can is not upright",)
        if cell.held(self.can.name):
            problems += ("the gripper still holds the can",)
        if np.linalg.norm(moving) > SETTLED_SPEED:
            problems += ("the can still moves in the hand",)
        if isinstance(cell.course, HandCourse) and cell.course.strongest_n > MAX_FORCE_N:
            problems += (f"the hand was pressed with {cell.course.strongest_n:.0f} N",)
        return problems


def _hand() -> str:
    """MJCF of a hand, palm up; its frame is at the middle of the palm's surface.

    The forearm comes from the left and is there for the eye.
    """
    fingers = "".join(
        f"""
      <geom type="capsule" size="{FINGER_RADIUS}" mass="0.03" rgba="{SKIN}"
        fromto="{0.94 * RING * c:.4f} {0.94 * RING * s:.4f} -0.004
          {RING * c:.4f} {RING * s:.4f} {FINGER_TOP - FINGER_RADIUS}"/>"""
        for c, s in zip(np.cos(FINGER_ANGLES), np.sin(FINGER_ANGLES), strict=True)
    )
    look = 'class="look" type="capsule"'
    return f"""
    <body name="{HAND}" gravcomp="1">
      <freejoint/>
      <geom name="{HAND}" type="box" size="0.045 0.050 0.010" pos="0 0 -0.010" mass="0.4"
        rgba="{SKIN}"/>{fingers}
      <geom {look} size="0.026" fromto="0 0.045 -0.014 0 0.10 -0.020" rgba="{SKIN}"/>
      <geom {look} size="0.036" fromto="0 0.13 -0.026 0.02 0.60 -0.06" rgba="{SLEEVE}"/>
    </body>"""
