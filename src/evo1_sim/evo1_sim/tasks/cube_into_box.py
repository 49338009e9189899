"""SO-100: put the cube into the box."""

import numpy as np

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.objects import Cube, OpenBox
from evo1_sim.tasks.task import SETTLED_SPEED, Area, Thing


class CubeIntoBox:
    """The cube lies on the arm's right, the box stands on its left; both move with the seed."""

    name = "cube_into_box"
    instruction = "pick up the cube and put it into the box"
    cube = Cube()
    box = OpenBox(inner_x=0.10, inner_y=0.10, height=0.04, wall=0.004, mass=0.25)
    target = cube.name
    goal = box.name
    target_radius = cube.side / 2
    target_area: Area = ((0.17, -0.12), (0.25, -0.04))
    spare_area: Area = ((0.33, -0.16), (0.40, 0.16))
    choices: tuple[Thing, ...] = ()

    def objects(self) -> str:
        """MJCF of the cube and the box."""
        return self.cube.body() + self.box.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Cube in 8 x 8 cm with any yaw; box +-1.5 cm."""
        x, y = rng.uniform(*self.target_area)
        cell.place(self.cube.name, (x, y, self.cube.side / 2), yaw=rng.uniform(-0.78, 0.78))
        x, y = np.array((0.20, 0.11)) + rng.uniform(-0.015, 0.015, size=2)
        cell.place(self.box.name, (x, y, 0.0), yaw=rng.uniform(-0.2, 0.2))

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The cube inside the box, released and at rest."""
        problems = self.box.missing(self.cube.points(cell), cell, "cube")
        if cell.held(self.cube.name):
            problems += ("the gripper still holds the cube",)
        if cell.speed(self.cube.name) > SETTLED_SPEED:
            problems += ("the cube still moves",)
        return problems
