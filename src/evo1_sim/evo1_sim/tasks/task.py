"""What a task is: objects, a start state drawn from a seed, and a success check."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evo1_sim.tasks.cell import Cell

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
    """

    name: str
    instruction: str

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
