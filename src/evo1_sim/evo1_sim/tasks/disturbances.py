"""What may be different from the training: the disturbances of the paper's section 4.3.

A disturbance changes what it names and nothing else: the same seed gives the same start state
with and without it. Lengths are in metres.
"""

from dataclasses import dataclass

import numpy as np

from evo1_sim.scene import TABLE_RGBA
from evo1_sim.tasks.cell import Cell
from evo1_sim.tasks.task import Task

BOTTLE = "bottle"
PEDESTAL = "pedestal"
BOTTLE_RADIUS = 0.030
BOTTLE_HEIGHT = 0.110  # of its body; lower with its neck than what the arms carry over it
YELLOW_RGBA = "0.93 0.78 0.12 1"
FROM_TARGET = 0.13  # nearest that the bottle stands to the target: room for the gripper
FROM_GOAL = 0.17
MAX_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """One change of the scene.

    Attributes:
        name: how a command line names it.
        label: how the paper's Table 3 names it.
        distractor: whether a bottle, in no demonstration, stands on the table.
        tablecloth: whether the table is yellow.
        back: the target stands so far behind the far edge of the area that demonstrations have
            it in (not: so far behind where the seed had it, which would mostly be inside).
        up: the target stands on a pedestal of this height.
    """

    name: str
    label: str
    distractor: bool = False
    tablecloth: bool = False
    back: float = 0.0
    up: float = 0.0

    @property
    def moves_things(self) -> bool:
        """Whether the start state differs, not only its looks."""
        return self.distractor or self.back > 0.0 or self.up > 0.0

    @property
    def table_rgba(self) -> str:
        """Colour of the table."""
        return YELLOW_RGBA if self.tablecloth else TABLE_RGBA

    def objects(self, task: Task) -> str:
        """MJCF of the bodies that it adds to a task's."""
        if not task.target:  # nothing to disturb
            return ""
        bottle = _bottle() if self.distractor else ""
        return bottle + (_pedestal(task.target_radius, self.up) if self.up else "")

    def apply(self, task: Task, cell: Cell, seed: int) -> None:
        """Change a start state whose objects have just been placed."""
        if not task.target:
            return
        x, y, z = cell.position(task.target)
        if self.back:
            x = task.target_area[1][0] + self.back
        if self.up:
            cell.place(PEDESTAL, (x, y, self.up / 2))
        shift = np.array((x, y, z + self.up)) - cell.position(task.target)
        for name in (task.target, *task.contents):
            cell.move(name, cell.position(name) + shift)
        if self.distractor:
            rng = np.random.default_rng([seed, 0xB0771E])  # apart from the scene's own draws
            place = self._free_place(task, (x, y), cell.position(task.goal), rng)
            cell.place(BOTTLE, (*place, BOTTLE_HEIGHT / 2))

    def _free_place(
        self,
        task: Task,
        target: tuple[float, float],
        goal: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[float, float]:
        """Where a bottle stands in nobody's way (2,) [m]."""
        for _ in range(MAX_DRAWS):
            x, y = rng.uniform(*task.spare_area)
            far_from_target = np.hypot(x - target[0], y - target[1]) > FROM_TARGET
            if far_from_target and np.hypot(x - goal[0], y - goal[1]) > FROM_GOAL:
                break
        return float(x), float(y)


def _bottle() -> str:
    """A green bottle; its frame is at the middle of its body."""
    half, neck = BOTTLE_HEIGHT / 2, 0.022
    green = 'rgba="0.08 0.45 0.16 1"'
    return f"""
    <body name="{BOTTLE}" pos="0 0 {half}">
      <freejoint/>
      <geom name="{BOTTLE}" type="cylinder" size="{BOTTLE_RADIUS} {half}" mass="0.4" {green}/>
      <geom type="cylinder" size="0.011 {neck}" pos="0 0 {half + neck}" mass="0.02" {green}/>
      <geom class="look" type="cylinder" size="0.012 0.005" pos="0 0 {half + 2 * neck}"
        rgba="0.95 0.95 0.95 1"/>
    </body>"""


def _pedestal(radius: float, height: float) -> str:
    """A heavy block that the target stands on, too narrow to be in the gripper's way."""
    side = 0.8 * radius
    return f"""
    <body name="{PEDESTAL}" pos="0 0 {height / 2}">
      <freejoint/>
      <geom name="{PEDESTAL}" type="box" size="{side} {side} {height / 2}" mass="2"
        rgba="0.35 0.35 0.37 1"/>
    </body>"""


UNDISTURBED = Disturbance(name="none", label="Base")

DISTURBANCES: dict[str, Disturbance] = {
    disturbance.name: disturbance
    for disturbance in (
        UNDISTURBED,
        Disturbance(name="distractor", label="Unseen distractor object", distractor=True),
        Disturbance(name="background", label="Background colour", tablecloth=True),
        Disturbance(name="back10", label="Target 10 mm backward", back=0.010),
        Disturbance(name="back20", label="Target 20 mm backward", back=0.020),
        Disturbance(name="back30", label="Target 30 mm backward", back=0.030),
        Disturbance(name="up10", label="Target 10 mm higher", up=0.010),
        Disturbance(name="up20", label="Target 20 mm higher", up=0.020),
        Disturbance(name="up30", label="Target 30 mm higher", up=0.030),
    )
}
"""By name, in the order of the paper's Table 3."""
