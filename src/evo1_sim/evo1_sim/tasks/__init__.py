"""The tasks of each arm; the first is its default."""

from evo1_sim.tasks.can_into_box import CanIntoBox
from evo1_sim.tasks.can_stacking import CanStacking
from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.coloured_can_into_box import COLOURS, ColouredCanIntoBox
from evo1_sim.tasks.cube_into_box import CubeIntoBox
from evo1_sim.tasks.disturbances import DISTURBANCES, UNDISTURBED, Disturbance
from evo1_sim.tasks.free_motion import FreeMotion
from evo1_sim.tasks.task import Task, TaskResult, judge, lifted
from evo1_sim.tasks.two_cans_into_box import TwoCansIntoBox

TASKS: dict[str, tuple[Task, ...]] = {
    "xarm6": (CanIntoBox(), CanStacking(), *map(ColouredCanIntoBox, COLOURS)),
    "so100": (CubeIntoBox(),),
    "so101": (CubeIntoBox(),),
    "xarm6_bimanual": (TwoCansIntoBox(),),
}

_FREE = (FreeMotion(),)


def tasks_of(arm: str) -> tuple[Task, ...]:
    """The tasks of an arm; one without objects for an arm that has none."""
    return TASKS.get(arm, _FREE)


__all__ = [
    "DISTURBANCES",
    "TASKS",
    "UNDISTURBED",
    "Cell",
    "Disturbance",
    "Task",
    "TaskResult",
    "judge",
    "lifted",
    "tasks_of",
]
