"""The tasks of each arm; the first is its default."""

from evo1_sim.tasks.cell import Cell, Course
from evo1_sim.tasks.disturbances import DISTURBANCES, UNDISTURBED, Disturbance
from evo1_sim.tasks.hand_delivery import HandDelivery
from evo1_sim.tasks.pick_and_place import (
    COLOURS,
    CanIntoBox,
    CanStacking,
    ColouredCanIntoBox,
    CubeIntoBox,
    FreeMotion,
    TwoCansIntoBox,
)
from evo1_sim.tasks.pour import Pour
from evo1_sim.tasks.task import Task, TaskResult

TASKS: dict[str, tuple[Task, ...]] = {
    "xarm6": (
        CanIntoBox(),
        CanStacking(),
        Pour(),
        HandDelivery(),
        *map(ColouredCanIntoBox, COLOURS),
    ),
    "so100": (CubeIntoBox(),),
    "so101": (CubeIntoBox(),),
    "xarm6_bimanual": (TwoCansIntoBox(),),
}

_FREE = (FreeMotion(),)

PAPER_TASKS = ("can_into_box", "pour", "hand_delivery", "can_stacking")
"""The four of the paper's Figure 4, in its order."""


def tasks_of(arm: str) -> tuple[Task, ...]:
    """The tasks of an arm; one without objects for an arm that has none."""
    return TASKS.get(arm, _FREE)


def all_tasks(arm: str) -> tuple[str, ...]:
    """What `--task all` means: the paper's four where the arm has them, else every one."""
    names = tuple(task.name for task in tasks_of(arm))
    return PAPER_TASKS if set(PAPER_TASKS) <= set(names) else names


__all__ = [
    "DISTURBANCES",
    "PAPER_TASKS",
    "TASKS",
    "UNDISTURBED",
    "Cell",
    "Course",
    "Disturbance",
    "Task",
    "TaskResult",
    "all_tasks",
    "tasks_of",
]
