"""A person's corrections, played by the scripted expert: when it takes over and hands back.

The expert knows where things are, so it can say what it would have reached from where it last
looked: a course of places of the tool and of the thing to be taken. A policy that leaves the
course, or gets no further along it, is corrected. Must not import ROS or torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_sim.experts import RATE_HZ, Expert
from evo1_sim.kinematics import Kinematics
from evo1_sim.rehearsals import ROUGHNESS, first_free, grip_changes
from evo1_sim.waypoints import Variation
from evo1_sim.world import World

Vector = npt.NDArray[np.float64]

ASTRAY, STUCK, AT_ONCE = "astray", "stuck", "at_once"
_AHEAD, _BEHIND = 45, 15  # ticks of a course within which a state is looked for
_LIFTED_M = 0.01
_OPENING_TICKS, _RISING_TICKS, _SETTLING_TICKS = 12, 24, 45


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a policy is taken over.

    Attributes:
        astray_m: how far tool and thing together may be from the course [m].
        astray_s: for how long they are further before somebody acts [s].
        patience_s: for how long the policy may get no further along the course [s].
        lead_s: how much of what led to a take-over is kept before it [s].
        most: take-overs in one trial; after them it is given up.
        own: whether trials that the policy solves alone are kept, too, as demonstrations.
        at_once: the expert drives from the first tick to the end: a full demonstration.
    """

    astray_m: float = 0.06
    astray_s: float = 0.3
    patience_s: float = 4.0
    lead_s: float = 1.5
    most: int = 3
    own: bool = False
    at_once: bool = False


@dataclass(frozen=True, kw_only=True)
class Course:
    """What the expert would reach from a state on, 1/30 s apart.

    Attributes:
        tools: places of the tool (N, 3) [m].
        things: of the thing to be taken (N, 3) [m]; NaN where nothing is said of it.
    """

    tools: Vector
    things: Vector


class Watch:
    """Holds a policy against a course, tick by tick.

    Args:
        course: what the expert would reach.
        rule: when that is too far away.
    """

    def __init__(self, course: Course, rule: Rule) -> None:
        self._course, self._rule = course, rule
        self._furthest = self._away = self._waited = 0

    def look(self, tool: Vector, thing: Vector) -> str:
        """Take in the next tick; why somebody should take over now, '' while nobody need.

        Args:
            tool: its place (3,) [m].
            thing: of what is to be taken (3,) [m].
        """
        if self._rule.at_once:
            return AT_ONCE
        first = max(self._furthest - _BEHIND, 0)
        span = slice(first, self._furthest + _AHEAD)
        off = np.linalg.norm(self._course.tools[span] - tool, axis=1)
        off += np.nan_to_num(np.linalg.norm(self._course.things[span] - thing, axis=1))
        nearest = first + int(np.argmin(off))
        self._away = self._away + 1 if off.min() > self._rule.astray_m else 0
        self._waited = 0 if nearest > self._furthest else self._waited + 1
        self._furthest = max(self._furthest, nearest)
        if self._away > self._rule.astray_s * RATE_HZ:
            return ASTRAY
        return STUCK if self._waited > self._rule.patience_s * RATE_HZ else ""


class Person:
    """The expert as the person beside one arm; it reads the world and touches nothing.

    Args:
        world: of the task, just reset.
        seed: of how its demonstrations differ from the ideal one.

    Raises:
        ExpertError: the task has no expert, or no grasp and release.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._variation = world, Variation.draw(seed)
        self._kinematics = Kinematics(world.arm)
        self._grasp, self._release = grip_changes(Expert(world))
        self._carried = first_free(Expert(world), self._grasp)
        self._rest_z = float(self.thing[2])

    @property
    def tool(self) -> Vector:
        """Where the tool is (3,) [m]."""
        return self._kinematics.forward(self._world.joint_positions()).position

    @property
    def thing(self) -> Vector:
        """Where the thing to be taken is (3,) [m]."""
        return self._world.cell.position(self._world.task.target)

    @property
    def has_lifted(self) -> bool:
        """Whether the arm holds the thing above where it lay."""
        held = self._world.cell.held(self._world.task.target)
        return held and self.thing[2] > self._rest_z + _LIFTED_M

    def course(self) -> Course:
        """What it would reach from the present state on.

        Raises:
            ExpertError: that is out of its reach.
        """
        carries = self.has_lifted
        moves = Expert(self._world).moves(self._carried if carries else 0)
        path = np.concatenate(moves)
        tools = np.array([self._kinematics.forward(joints).position for joints in path])
        things = np.tile(self.thing, (len(path), 1))
        first = self._carried if carries else 0
        ends = np.cumsum([len(move) for move in moves])
        taken = 0 if carries else int(ends[self._grasp])
        freed = int(ends[self._release - first])
        there = self.tool if carries else tools[taken]
        things[taken:freed] = tools[taken:freed] + self.thing - there
        things[freed:] = np.nan
        return Course(tools=tools, things=things)

    def drive(self) -> Iterator[Vector]:
        """Joint targets (D,) [rad], one a tick, that bring the trial back on its way.

        With the thing in the gripper to the end of the task; else the gripper opens, the arm rises
        and begins from above, up to the thing being lifted. Each part is planned from where the
        one before left the world.

        Raises:
            ExpertError: that is out of its reach.
        """
        if self.has_lifted:
            yield from _to_the_end(self._expert().moves(self._carried))
            return
        for place, ticks in ((self._opened, _OPENING_TICKS), (self._risen, _RISING_TICKS)):
            begin, end = self._world.targets, place()
            for part in np.arange(1, ticks + 1) / ticks:
                yield begin + part * (end - begin)
        yield from np.concatenate(self._expert().moves()[: self._carried])

    def demonstrate(self) -> Iterator[Vector]:
        """The whole task from the present state, one target (D,) [rad] a tick."""
        yield from _to_the_end(self._expert().moves())

    def _expert(self) -> Expert:
        return Expert(self._world, self._variation)

    def _opened(self) -> Vector:
        """The commanded joints with the gripper as the first waypoint wants it."""
        joints = self._world.targets
        joints[-1] = self._expert().waypoints[0].gripper
        return joints

    def _risen(self) -> Vector:
        """The commanded joints, or those of a place straight above that is high enough."""
        floor = ROUGHNESS[self._world.arm.name].floor_m
        if self.tool[2] >= floor:
            return self._world.targets
        return self._expert().displaced((0.0, 0.0, 0.0), floor=floor)


def _to_the_end(moves: list[Vector]) -> Vector:
    """Moves as one path (T, D) [rad], and a while at its end for things to come to rest."""
    return np.concatenate([*moves, np.repeat(moves[-1][-1:], _SETTLING_TICKS, axis=0)])
