"""xArm6: put the red can on top of the blue one."""

import numpy as np

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.objects import BLUE, Can
from evo1_sim.tasks.task import SETTLED_SPEED, Area, Thing


class CanStacking:
    """Two cans stand on the table: the red one on the arm's right goes onto the blue one."""

    name = "can_stacking"
    instruction = "stack the red can on the blue can"
    can = Can()
    base = Can(name="base_can", rgba=BLUE, mass=0.35)
    target = can.name
    goal = base.name
    target_radius = can.radius
    target_area: Area = ((0.33, -0.27), (0.53, -0.07))
    spare_area: Area = ((0.33, -0.32), (0.62, 0.34))
    choices: tuple[Thing, ...] = ()

    def objects(self) -> str:
        """MJCF of both cans."""
        return self.can.body() + self.base.body()

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """The red can in 20 x 20 cm, the blue one +-4 cm."""
        half = self.can.height / 2
        x, y = rng.uniform(*self.target_area)
        cell.place(self.can.name, (x, y, half), yaw=rng.uniform(-np.pi, np.pi))
        x, y = np.array((0.43, 0.16)) + rng.uniform(-0.04, 0.04, size=2)
        cell.place(self.base.name, (x, y, half), yaw=rng.uniform(-np.pi, np.pi))

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """The red can stands on the blue can, released and at rest."""
        offset = cell.inside(self.can.name, self.base.name)
        problems: tuple[str, ...] = ()
        if cell.rotation(self.base.name)[2, 2] < 0.95:
            problems += ("the blue can has fallen over",)
        if cell.rotation(self.can.name)[2, 2] < 0.95:
            problems += ("the red can does not stand upright",)
        if np.hypot(offset[0], offset[1]) > self.base.radius:
            problems += ("the red can is not above the blue can",)
        if not cell.touching(self.can.name, self.base.name):
            problems += ("the red can does not rest on the blue can",)
        if cell.held(self.can.name):
            problems += ("the gripper still holds the red can",)
        if max(cell.speed(self.can.name), cell.speed(self.base.name)) > SETTLED_SPEED:
            problems += ("the cans still move",)
        return problems
