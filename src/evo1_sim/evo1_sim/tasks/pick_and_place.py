"""The tasks in which something is taken and put somewhere, and the empty table."""

import numpy as np

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.objects import BLUE, Can, Cube, OpenBox
from evo1_sim.tasks.task import SETTLED_SPEED, Area, Task, Thing, not_settled

COLOURS = ("red", "blue")
APART = 0.12  # m between the cans' axes: the open gripper fits between them
STACKED_S = 2.0  # the paper's time that the can has to stay on the other
CAN_AREA: Area = ((0.33, -0.27), (0.53, -0.07))
SPARE_AREA: Area = ((0.33, -0.32), (0.62, 0.34))
CAN_BOX = OpenBox(inner_x=0.17, inner_y=0.17, height=0.115)


def stand(can: Can, cell: Cell, rng: np.random.Generator, at: np.ndarray) -> None:
    """Stand a can at a place of the table (2,) [m], turned anyhow."""
    cell.place(can.name, (*at, can.height / 2), yaw=rng.uniform(-np.pi, np.pi))


def put_box(
    box: OpenBox,
    cell: Cell,
    rng: np.random.Generator,
    at: tuple[float, float],
    *,
    within: float,
    yaw: float,
) -> None:
    """Put a box somewhere `within` [m] of a place (2,) [m], turned by up to `yaw` [rad]."""
    x, y = np.array(at) + rng.uniform(-within, within, size=2)
    cell.place(box.name, (x, y, 0.0), yaw=rng.uniform(-yaw, yaw))


class CanIntoBox(Task):
    """xArm6: the can stands on the arm's right, the box on its left; both move with the seed."""

    name = "can_into_box"
    instruction = "pick up the can and put it into the white box"
    can = Can()
    box = CAN_BOX
    target = can.name
    goal = box.name
    target_radius = can.radius
    target_area = CAN_AREA
    spare_area = SPARE_AREA
    unnamed_colours = (can.name,)

    def objects(self) -> str:
        """MJCF of the can and the box."""
        return self.can.body() + self.box.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Can in 20 x 20 cm; box +-3 cm, turned by up to 0.15 rad."""
        stand(self.can, cell, rng, rng.uniform(*self.target_area))
        put_box(self.box, cell, rng, (0.42, 0.20), within=0.03, yaw=0.15)

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The can fully inside the box, released and at rest."""
        inside = self.box.missing(self.can.points(cell), cell, "can")
        return inside + not_settled(cell, self.can.name, "can")


class ColouredCanIntoBox(Task):
    """xArm6: a red and a blue can stand on its right; only the words say which one to take.

    A seed lays out the same scene for either colour.
    """

    red = Can(name="red_can")
    blue = Can(name="blue_can", rgba=BLUE)
    box = CAN_BOX
    goal = box.name
    target_radius = red.radius
    target_area = CAN_AREA
    spare_area = SPARE_AREA
    choices: tuple[Thing, ...] = (red, blue)

    def __init__(self, colour: str) -> None:
        """With the can that is meant, 'red' or 'blue'."""
        self.can, self.other = (self.red, self.blue) if colour == "red" else (self.blue, self.red)
        self.name = f"{colour}_can_into_box"
        self.instruction = f"pick up the {colour} can and put it into the white box"
        self.target = self.can.name

    def objects(self) -> str:
        """MJCF of both cans and the box."""
        return self.red.body() + self.blue.body() + self.box.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Both cans in 20 x 20 cm, apart from each other; box +-3 cm, turned by up to 0.15 rad."""
        first = second = rng.uniform(*self.target_area)
        while np.hypot(*(first - second)) < APART:
            first, second = rng.uniform(*self.target_area), rng.uniform(*self.target_area)
        stand(self.red, cell, rng, first)
        stand(self.blue, cell, rng, second)
        put_box(self.box, cell, rng, (0.42, 0.20), within=0.03, yaw=0.15)

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The can that was meant fully inside the box, released and at rest; the other not."""
        problems = self.box.missing(self.can.points(cell), cell, self.can.name)
        if not self.box.missing(self.other.points(cell), cell, self.other.name):
            problems += (f"the {self.other.name} is in the box",)
        if cell.held(self.other.name):
            problems += (f"the gripper holds the {self.other.name}",)
        return problems + not_settled(cell, self.can.name, self.can.name)


class TwoCansIntoBox(Task):
    """Two xArm6: the red can before the left arm, the blue one before the right, a box between."""

    name = "two_cans_into_box"
    instruction = "put the red can and the blue can into the white box"
    red = Can()
    blue = Can(name="blue_can", rgba=BLUE)
    box = OpenBox(inner_x=0.17, inner_y=0.20, height=0.115)
    target = red.name
    goal = box.name
    target_radius = red.radius
    target_area = ((0.36, 0.22), (0.50, 0.38))
    spare_area = ((0.30, -0.45), (0.60, 0.45))

    def objects(self) -> str:
        """MJCF of both cans and the box."""
        return self.red.body() + self.blue.body() + self.box.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """The cans in 14 x 16 cm each; the box +-2 cm, turned by up to 0.15 rad."""
        for can, side in ((self.red, 1.0), (self.blue, -1.0)):
            x, y = rng.uniform(*self.target_area)
            stand(can, cell, rng, np.array((x, side * y)))
        put_box(self.box, cell, rng, (0.43, 0.0), within=0.02, yaw=0.15)

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """Both cans fully inside the box, released and at rest."""
        problems: tuple[str, ...] = ()
        for can, what in ((self.red, "red can"), (self.blue, "blue can")):
            problems += self.box.missing(can.points(cell), cell, what)
            problems += not_settled(cell, can.name, what)
        return problems


class CanStacking(Task):
    """xArm6: of two cans, the red one on the arm's right goes onto the blue one, and stays."""

    name = "can_stacking"
    instruction = "stack the red can on the blue can"
    can = Can()
    base = Can(name="base_can", rgba=BLUE, mass=0.35)
    target = can.name
    goal = base.name
    target_radius = can.radius
    target_area = CAN_AREA
    spare_area = SPARE_AREA
    held_s = STACKED_S

    def objects(self) -> str:
        """MJCF of both cans."""
        return self.can.body() + self.base.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """The red can in 20 x 20 cm, the blue one +-4 cm."""
        stand(self.can, cell, rng, rng.uniform(*self.target_area))
        stand(self.base, cell, rng, np.array((0.43, 0.16)) + rng.uniform(-0.04, 0.04, size=2))

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The red can stands on the blue can, released and at rest."""
        offset = cell.inside(self.can.name, self.base.name)
        problems: tuple[str, ...] = ()
        if not cell.upright(self.base.name):
            problems += ("the blue can has fallen over",)
        if not cell.upright(self.can.name):
            problems += ("the red can does not stand upright",)
        if np.hypot(offset[0], offset[1]) > self.base.radius:
            problems += ("the red can is not above the blue can",)
        if not cell.touching(self.can.name, self.base.name):
            problems += ("the red can does not rest on the blue can",)
        if cell.speed(self.base.name) > SETTLED_SPEED:
            problems += ("the blue can still moves",)
        return problems + not_settled(cell, self.can.name, "red can")


class CubeIntoBox(Task):
    """SO-100: the cube lies on the arm's right, the box stands on its left."""

    name = "cube_into_box"
    instruction = "pick up the cube and put it into the box"
    cube = Cube()
    box = OpenBox(inner_x=0.10, inner_y=0.10, height=0.04, wall=0.004, mass=0.25)
    target = cube.name
    goal = box.name
    target_radius = cube.side / 2
    target_area = ((0.17, -0.12), (0.25, -0.04))
    spare_area = ((0.33, -0.16), (0.40, 0.16))
    unnamed_colours = (cube.name, box.name)

    def objects(self) -> str:
        """MJCF of the cube and the box."""
        return self.cube.body() + self.box.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Cube in 8 x 8 cm with any yaw; box +-1.5 cm."""
        x, y = rng.uniform(*self.target_area)
        cell.place(self.cube.name, (x, y, self.cube.side / 2), yaw=rng.uniform(-0.78, 0.78))
        put_box(self.box, cell, rng, (0.20, 0.11), within=0.015, yaw=0.2)

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The cube inside the box, released and at rest."""
        inside = self.box.missing(self.cube.points(cell), cell, "cube")
        return inside + not_settled(cell, self.cube.name, "cube")


class FreeMotion(Task):
    """An arm over an empty table, for robots that have no task of their own here."""

    name = "free"
    instruction = ""

    def objects(self) -> str:
        """No bodies."""
        return ""

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Leave the table empty."""

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """Never solved."""
        return ("there is nothing to do in this scene: a person judges the motion",)
