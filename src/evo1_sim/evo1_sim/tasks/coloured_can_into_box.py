"""xArm6: of two cans, put the one that the instruction names into the white box."""

import numpy as np

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.objects import BLUE, Can, OpenBox
from evo1_sim.tasks.task import SETTLED_SPEED, Area, Thing

COLOURS = ("red", "blue")
APART = 0.12  # m between the cans' axes: the open gripper fits between them


class ColouredCanIntoBox:
    """A red and a blue can stand on the arm's right; only the words say which one to take.

    A seed lays out the same scene for either colour.
    """

    red = Can(name="red_can")
    blue = Can(name="blue_can", rgba=BLUE)
    box = OpenBox(inner_x=0.17, inner_y=0.17, height=0.115)
    goal = box.name
    target_radius = red.radius
    target_area: Area = ((0.33, -0.27), (0.53, -0.07))
    spare_area: Area = ((0.33, -0.32), (0.62, 0.34))
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
        for can, (x, y) in ((self.red, first), (self.blue, second)):
            cell.place(can.name, (x, y, can.height / 2), yaw=rng.uniform(-np.pi, np.pi))
        x, y = np.array((0.42, 0.20)) + rng.uniform(-0.03, 0.03, size=2)
        cell.place(self.box.name, (x, y, 0.0), yaw=rng.uniform(-0.15, 0.15))

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The can that was meant fully inside the box, released and at rest; the other not."""
        problems = self.box.missing(self.can.points(cell), cell, self.can.name)
        if not self.box.missing(self.other.points(cell), cell, self.other.name):
            problems += (f"the {self.other.name} is in the box",)
        if cell.held(self.can.name):
            problems += (f"the gripper still holds the {self.can.name}",)
        if cell.held(self.other.name):
            problems += (f"the gripper holds the {self.other.name}",)
        if cell.speed(self.can.name) > SETTLED_SPEED:
            problems += (f"the {self.can.name} still moves",)
        return problems
