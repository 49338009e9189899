"""An arm over an empty table, for robots that have no task of their own here."""

import numpy as np

from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.task import Area, Thing


class FreeMotion:
    """Nothing to take, so nothing that could succeed."""

    name = "free"
    instruction = ""
    target = ""
    goal = ""
    target_radius = 0.0
    target_area: Area = ((0.0, 0.0), (0.0, 0.0))
    spare_area: Area = ((0.0, 0.0), (0.0, 0.0))
    choices: tuple[Thing, ...] = ()

    def objects(self) -> str:
        """No bodies."""
        return ""

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Leave the table empty."""

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """Never solved."""
        return ("there is nothing to do in this scene: a person judges the motion",)
