"""xArm6: put the can into the white box."""

import numpy as np

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.objects import Can, OpenBox
from evo1_sim.tasks.task import SETTLED_SPEED, Area, Thing


class CanIntoBox:
    """The can stands on the arm's right, the box on its left; both move with the seed."""

    name = "can_into_box"
    instruction = "pick up the can and put it into the white box"
    can = Can()
    box = OpenBox(inner_x=0.17, inner_y=0.17, height=0.115)
    target = can.name
    goal = box.name
    target_radius = can.radius
    target_area: Area = ((0.33, -0.27), (0.53, -0.07))
    spare_area: Area = ((0.33, -0.32), (0.62, 0.34))
    choices: tuple[Thing, ...] = ()

    def objects(self) -> str:
        """MJCF of the can and the box."""
        return self.can.body() + self.box.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Can in 20 x 20 cm; box +-3 cm, turned by up to 0.15 rad."""
        x, y = rng.uniform(*self.target_area)
        cell.place(self.can.name, (x, y, self.can.height / 2), yaw=rng.uniform(-np.pi, np.pi))
        x, y = np.array((0.42, 0.20)) + rng.uniform(-0.03, 0.03, size=2)
        cell.place(self.box.name, (x, y, 0.0), yaw=rng.uniform(-0.15, 0.15))

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The can fully inside the box, released and at rest."""
        problems = self.box.missing(self.can.points(cell), cell, "can")
        if cell.held(self.can.name):
            problems += ("the gripper still holds the can",)
        if cell.speed(self.can.name) > SETTLED_SPEED:
            problems += ("the can still moves",)
        return problems
