"""xArm6: pour foam balls from a cup into the white box."""

import functools
from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_sim.scene import model_xml
from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.pick_and_place import CAN_BOX, SPARE_AREA, put_box
from evo1_sim.tasks.task import SETTLED_SPEED, Task

Vectors = npt.NDArray[np.float64]

BALLS = 40
BALL_RADIUS = 0.007  # m
BALL_DENSITY = 30.0  # kg/m^3: expanded polystyrene
AIR_DRAG = 1.0e-4  # N s/m: such a ball falls at 3 to 4 m/s through air, its weight over that
SEGMENTS = 14  # of the cup's wall
POURED_SHARE = 0.5  # more than this has to be in the box
SPILLED_SHARE = 0.1  # no more than this outside both box and cup
SETTLE_STEPS = 1500


@dataclass(frozen=True, kw_only=True)
class Cup:
    """A paper cup: a ring of flat walls on a floor; its frame is at its centre, z along it.

    The gripper meets a smooth cylinder, which the foam does not feel, as a real cup is round
    outside whatever a ring of boxes is.
    """

    name: str = "cup"
    radius: float = 0.032  # m, outside
    height: float = 0.085  # m
    wall: float = 0.003  # m
    mass: float = 0.05  # kg
    rgba: str = "0.16 0.42 0.62 1"

    def body(self, joint: str = "<freejoint/>") -> str:
        """MJCF of the cup; without a joint it stands still."""
        half, w = self.height / 2, self.wall / 2
        part = f'mass="{self.mass / (SEGMENTS + 1):.6f}" conaffinity="1" rgba="{self.rgba}"'
        middle = self.radius - w
        side = middle * np.tan(np.pi / SEGMENTS) + w * 0.5
        angles = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
        walls = "".join(
            f"""
      <geom type="box" size="{w} {side:.6f} {half}" euler="0 0 {a:.6f}" {part}
        pos="{middle * np.cos(a):.6f} {middle * np.sin(a):.6f} 0"/>"""
            for a in angles
        )
        return f"""
    <body name="{self.name}" pos="0 0 {half}">
      {joint}
      <geom name="{self.name}" type="cylinder" size="{self.radius} {half}" mass="0"
        contype="0" conaffinity="2" rgba="0 0 0 0"/>
      <geom type="cylinder" size="{self.radius} {self.wall}" pos="0 0 {self.wall - half}"
        {part}/>{walls}
    </body>"""

    def around(self, points: Vectors, cell: Cell) -> npt.NDArray[np.bool_]:
        """Which of the points (N, 3) [m] are inside (N,)."""
        local = (points - cell.position(self.name)) @ cell.rotation(self.name)
        within = np.hypot(local[:, 0], local[:, 1]) < self.radius
        return np.asarray(within & (np.abs(local[:, 2]) < self.height / 2))


class Pour(Task):
    """The cup stands on the arm's right, the box on its left; both move with the seed."""

    name = "pour"
    instruction = "pour the foam from the cup into the white box"
    cup = Cup()
    box = CAN_BOX
    target = cup.name
    goal = box.name
    target_radius = cup.radius
    target_area = ((0.36, -0.25), (0.50, -0.09))
    spare_area = SPARE_AREA
    unnamed_colours = (cup.name,)
    contents = tuple(f"foam{k}" for k in range(BALLS))

    def objects(self) -> str:
        """MJCF of the cup, its foam and the box."""
        return self.cup.body() + self.box.body() + "".join(map(_ball, self.contents))

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """The full cup in 14 x 16 cm, turned anyhow; box +-3 cm, turned by up to 0.15 rad."""
        at = np.array((*rng.uniform(*self.target_area), self.cup.height / 2))
        yaw = rng.uniform(-np.pi, np.pi)
        cell.place(self.cup.name, at, yaw)
        c, s = np.cos(yaw), np.sin(yaw)
        turned = _packing() @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        for name, offset in zip(self.contents, turned, strict=True):
            cell.move(name, at + offset)
        put_box(self.box, cell, rng, (0.42, 0.20), within=0.03, yaw=0.15)

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """Most of the foam in the box, next to none beside it, at rest, the cup upright again."""
        balls = np.array([cell.position(name) for name in self.contents])
        poured = self.box.around(balls, cell)
        spilled = int((~poured & ~self.cup.around(balls, cell)).sum())
        problems: tuple[str, ...] = ()
        if not cell.upright(self.box.name):
            problems += ("the box is tipped over",)
        if poured.sum() <= POURED_SHARE * BALLS:
            problems += (f"{poured.sum()} of {BALLS} foam balls are in the box, not most",)
        if spilled > SPILLED_SHARE * BALLS:
            problems += (f"{spilled} foam balls lie outside",)
        if not cell.upright(self.cup.name):
            problems += ("the cup is not upright",)
        if any(cell.speed(name) > SETTLED_SPEED for name in self.contents):
            problems += ("foam still moves",)
        return problems


def _ball(name: str) -> str:
    """MJCF of one ball of foam: it slips past the others, and air alone stops it.

    Nobody sees it turn, so it does not: three joints in place of six, and contacts without
    friction, make forty of them six times as cheap, which is real time on one core.
    """
    slides = "".join(
        f'<joint type="slide" axis="{axis}" damping="{AIR_DRAG}"/>'
        for axis in ("1 0 0", "0 1 0", "0 0 1")
    )
    return f"""
    <body name="{name}">
      {slides}
      <geom type="sphere" size="{BALL_RADIUS}" density="{BALL_DENSITY}" priority="1" condim="1"
        rgba="0.96 0.95 0.90 1"/>
    </body>"""


@functools.lru_cache(maxsize=1)
def _packing() -> Vectors:
    """Where the balls (N, 3) lie in the cup's frame [m], once they were dropped into it."""
    cup, names = Pour.cup, Pour.contents
    xml = model_xml("packing", cup.body(joint="") + "".join(map(_ball, names)))
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for k, name in enumerate(names):  # four a layer, in the mouth and above it
        angle = np.pi / 2 * k + rng.uniform(0, 0.6)
        x, y = 0.014 * np.cos(angle), 0.014 * np.sin(angle)
        height = 0.02 + 0.016 * (k // 4)
        first = model.jnt_qposadr[model.body(name).jntadr[0]]
        data.qpos[first : first + 3] = (x, y, height)
    for _ in range(SETTLE_STEPS):
        mujoco.mj_step(model, data)
    lying = np.array([data.body(name).xpos for name in names])
    return np.asarray(lying - data.body(cup.name).xpos)
