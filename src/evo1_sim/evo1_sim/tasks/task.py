"""What a task is: objects, a start state drawn from a seed, and a success check."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evo1_sim.tasks.cell import Cell

Area = tuple[tuple[float, float], tuple[float, float]]
"""A rectangle on the table: lowest and highest (x, y) [m]."""

SETTLED_SPEED = 0.03  # m/s; resting contacts jitter well below this
LIFTED_M = 0.015  # between the table and the lowest point of something that was taken


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """Whether a task is solved right now, and what holds or is missing, for people."""

    task: str
    success: bool
    detail: str


class Thing(Protocol):
    """A body that can be taken."""

    @property
    def name(self) -> str:
        """Of the body."""
        ...

    def points(self, cell: Cell) -> npt.NDArray[np.float64]:
        """Its hull (N, 3) in the world [m]."""
        ...


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
        choices: things of which only the words tell the target; empty where it is alone.
    """

    name: str
    instruction: str
    target: str
    goal: str
    target_radius: float
    target_area: Area
    spare_area: Area
    choices: tuple[Thing, ...]

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


def lifted(task: Task, cell: Cell) -> str:
    """The one of the task's choices that the arm has lifted off the table; '' for none."""
    for thing in task.choices:
        if cell.held(thing.name) and thing.points(cell)[:, 2].min() > LIFTED_M:
            return thing.name
    return ""
