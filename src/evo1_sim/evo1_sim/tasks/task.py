"""What a task is: objects, a start state drawn from a seed, and a success check."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evo1_sim.tasks.cell import Cell, Course

Area = tuple[tuple[float, float], tuple[float, float]]
"""A rectangle on the table: lowest and highest (x, y) [m]."""

NOWHERE: Area = ((0.0, 0.0), (0.0, 0.0))
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


class Task(ABC):
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
        unnamed_colours: bodies whose colour the words leave open.
        contents: bodies that lie in the target and go where it goes.
        welds: MJCF of equality constraints between its bodies.
        held_s: how long nothing may be missing before the task counts as solved [s].
    """

    name: str
    instruction: str
    target: str = ""
    goal: str = ""
    target_radius: float = 0.0
    target_area: Area = NOWHERE
    spare_area: Area = NOWHERE
    choices: tuple[Thing, ...] = ()
    unnamed_colours: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    welds: str = ""
    held_s: float = 0.0

    @abstractmethod
    def objects(self) -> str:
        """MJCF of the bodies that the task needs."""

    @abstractmethod
    def place(self, cell: Cell, rng: np.random.Generator) -> Course | None:
        """Lay the objects out for a new episode; return what moves by itself in it."""

    @abstractmethod
    def missing(self, cell: Cell) -> tuple[str, ...]:
        """What is missing for success, for people; empty when solved."""

    def lifted(self, cell: Cell) -> str:
        """The one of the task's choices that the arm has lifted off the table; '' for none."""
        for thing in self.choices:
            if cell.held(thing.name) and thing.points(cell)[:, 2].min() > LIFTED_M:
                return thing.name
        return ""


def not_settled(cell: Cell, name: str, what: str) -> tuple[str, ...]:
    """What keeps a body from being let go and at rest; empty: it is."""
    problems: tuple[str, ...] = ()
    if cell.held(name):
        problems += (f"the gripper still holds the {what}",)
    if cell.speed(name) > SETTLED_SPEED:
        problems += (f"the {what} still moves",)
    return problems
