"""Two xArm6: each puts the can before it into the box between them."""

import numpy as np

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.objects import BLUE, Can, OpenBox
from evo1_sim.tasks.task import SETTLED_SPEED, Area, Thing


class TwoCansIntoBox:
    """The red can stands before the left arm, the blue one before the right, the box between."""

    name = "two_cans_into_box"
    instruction = "put the red can and the blue can into the white box"
    red = Can()
    blue = Can(name="blue_can", rgba=BLUE)
    box = OpenBox(inner_x=0.17, inner_y=0.20, height=0.115)
    target = red.name
    goal = box.name
    target_radius = red.radius
    target_area: Area = ((0.36, 0.22), (0.50, 0.38))
    spare_area: Area = ((0.30, -0.45), (0.60, 0.45))
    choices: tuple[Thing, ...] = ()

    def objects(self) -> str:
        """MJCF of both cans and the box."""
        return self.red.body() + self.blue.body() + self.box.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """The cans in 14 x 16 cm each; the box +-2 cm, turned by up to 0.15 rad."""
        for can, side in ((self.red, 1.0), (self.blue, -1.0)):
            x, y = rng.uniform(*self.target_area)
            cell.place(can.name, (x, side * y, can.height / 2), yaw=rng.uniform(-np.pi, np.pi))
        x, y = np.array((0.43, 0.0)) + rng.uniform(-0.02, 0.02, size=2)
        cell.place(self.box.name, (x, y, 0.0), yaw=rng.uniform(-0.15, 0.15))

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """Both cans fully inside the box, released and at rest."""
        problems: tuple[str, ...] = ()
        for can, what in ((self.red, "red can"), (self.blue, "blue can")):
            problems += self.box.missing(can.points(cell), cell, what)
            if cell.held(can.name):
                problems += (f"a gripper still holds the {what}",)
            if cell.speed(can.name) > SETTLED_SPEED:
                problems += (f"the {what} still moves",)
        return problems
