"""What a task is: objects, a start state drawn from a seed, and a success check."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evo1_sim.tasks.cell import Cell

Area = tuple[tuple[float, float], tuple[float, float]]
"""A rectangle on the table: lowest and highest (x, y) [m]."""

SETTLED_SPEED = 0.03  # m/s; resting contacts jitter well below this


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """Whether a task is solved right now, and what holds or is missing, for people."""

    task: str
    success: bool
    detail: str


class Task(Protocol):
    """One task of one arm.

    Attributes:
        name: key in the registry.
        instruction: what to do, in words.
        target: the body to be taken.
        goal: the body that it is put into or onto.
        target_radius: of the target's foot [m].
        target_area: where start states have the target's frame.
        spare_area: where something may stand that has no part in the task.
    """

    name: str
    instruction: str
    target: str
    goal: str
    target_radius: float
    target_area: Area
    spare_area: Area

    def objects(self) -> str:
        """MJCF of the bodies that the task needs."""
        ...

    def place(self, cell: Cell, rng: np.random.Generator) -> None:
        """Lay the objects out for a new episode."""
        ...

    def missing(self, cell: Cell) -> tuple[str, ...]:
        """What is missing for success, for people; empty when solved."""
        ...


def judge(task: Task, cell: Cell) -> TaskResult:
    """Check a task."""
    missing = task.missing(cell)
    detail = "; ".join(missing) if missing else "solved and at rest"
    return TaskResult(task=task.name, success=not missing, detail=detail)
