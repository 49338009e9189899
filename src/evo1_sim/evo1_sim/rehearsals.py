"""Scripted demonstrations from a seed: plain ones, and such as show how to recover.

The scene is built again from task and seed, as the running simulation builds it, so the expert
knows where things are without asking it.

A policy that only ever saw perfect motions has not seen the states that its own small errors lead
to. Three things show them, all honest demonstrations: an arm that was pushed aside before the take
began, one that has closed its gripper on nothing and must go back, and an arm that sways around
what the expert asks for while the recorded action stays what the expert asks for (DART, Laskey et
al. 2017). No ROS, no rendering.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import interpolate
from evo1_sim.experts import RATE_HZ, STEP_NS, Expert, ExpertError
from evo1_sim.waypoints import Variation
from evo1_sim.world import World

Array = npt.NDArray[np.float64]

START_TOLERANCE_RAD = 0.03
MAX_SEED = 999_999  # later ones belong to the evaluation: no policy may have seen its test

PUSHED_SHARE = 0.5  # of the seeds
MISSED_SHARE = 0.4  # of the pushed: they have missed the object as well
SWAYING_SHARE = 0.7
SWAY_WAVES = 3  # sinusoids of one joint
SWAY_HZ = (0.15, 0.7)
CALM_S = 0.5  # so long before and after a contact the sway fades
STILL_RAD = 1e-4  # an arm that moves less in a tick touches something, or is about to
PUSH_TICKS = 12
CLOSING_TICKS = 15


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A motion that solves a task from the start state of a seed.

    Attributes:
        task: its name.
        seed: of the start state and of the variation.
        instruction: what it shows, in words.
        joint_names: D names, the order of the arrays.
        path: positions (T, D) [rad], 1/30 s apart, the first one where the arm starts.
    """

    task: str
    seed: int
    instruction: str
    joint_names: tuple[str, ...]
    path: Array

    @property
    def start(self) -> Array:
        """Where the arm starts (D,) [rad]."""
        start: Array = self.path[0]
        return start

    @property
    def duration_s(self) -> float:
        """How long it lasts [s]."""
        return (len(self.path) - 1) / RATE_HZ

    def sample(self, times_s: npt.ArrayLike) -> Array:
        """Positions (M, D) [rad] at times (M,) since the start [s]; at rest before and after."""
        times = np.clip(np.asarray(times_s, dtype=np.float64), 0.0, self.duration_s)
        slopes = np.gradient(self.path, 1.0 / RATE_HZ, axis=0)
        slopes[[0, -1]] = 0.0
        positions, _ = interpolate(self.path, slopes, 1.0 / RATE_HZ, times)
        return positions

    def start_problem(self, measured: Array) -> str:
        """Why the arm at `measured` (D,) [rad] does not stand where this starts; '' if it does."""
        distance = np.abs(measured - self.start)
        joint = int(np.argmax(distance))
        if distance[joint] <= START_TOLERANCE_RAD:
            return ""
        return (
            f"joint '{self.joint_names[joint]}' is at {measured[joint]:.3f} rad, but task "
            f"'{self.task}' with seed {self.seed} starts it at {self.start[joint]:.3f} rad"
        )


@dataclass(frozen=True, kw_only=True)
class Roughness:
    """How far an arm is led astray, in its own size.

    Attributes:
        sway_rad: largest sway of a joint.
        push_m: largest sideways displacement of the tool.
        floor_m: least height of the tool after a push: above what stands on the table.
    """

    sway_rad: float
    push_m: float
    floor_m: float


ROUGHNESS = {
    "xarm6": Roughness(sway_rad=0.06, push_m=0.09, floor_m=0.15),
    "so100": Roughness(sway_rad=0.05, push_m=0.05, floor_m=0.055),
    "so101": Roughness(sway_rad=0.05, push_m=0.05, floor_m=0.055),
}


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A demonstration from the world's present state, and how its execution differs from it.

    Attributes:
        demonstration: what the expert asks for.
        sway: (T, D) [rad], added to its path on the way to the arm.
        pushed: whether it begins from a pushed arm.
        scene: what a varied world varied, for JSON; empty where it varies nothing.
    """

    demonstration: Demonstration
    sway: Array
    pushed: bool
    scene: Mapping[str, Any] = field(default_factory=dict)

    def executed(self, times_s: npt.ArrayLike) -> Array:
        """What the arm is commanded (M, D) [rad] at times (M,) since the start."""
        ticks = np.arange(len(self.sway))
        at = np.asarray(times_s, dtype=np.float64) * RATE_HZ
        sway = [np.interp(at, ticks, joint) for joint in self.sway.T]
        executed: Array = self.demonstration.sample(times_s) + np.stack(sway, axis=1)
        return executed


def plan_rehearsal(world: World, task: str, seed: int, *, rough: bool = True) -> Rehearsal:
    """Bring the world into the start state of a seed and plan from there.

    Args:
        world: of the arm; it is reset, and moved where the seed pushes the arm.
        task: its name.
        seed: of the start state, the variation and the roughness.
        rough: False leaves pushes and sway out: the plain demonstration of the seed.

    Raises:
        WorldError: the arm has no such task.
        ExpertError: the task has no expert, or a waypoint is out of its reach.
    """
    rng = np.random.default_rng([seed, 0xB0B])  # apart from scene and variation
    world.reset(task, seed)
    expert = Expert(world, Variation.draw(seed))
    roughness = ROUGHNESS[world.arm.name]
    pushed = rough and rng.random() < PUSHED_SHARE
    first = _push(world, expert, roughness, rng) if pushed else 0
    start = world.targets
    moves = expert.moves(first)
    path = np.concatenate([start[np.newaxis], *moves])
    sways = rough and rng.random() < SWAYING_SHARE
    sway = np.zeros_like(path)
    if sways:
        sway = _sway(path, _at_hand(expert, first, moves), roughness.sway_rad, rng)
    return Rehearsal(
        demonstration=Demonstration(
            task=task,
            seed=seed,
            instruction=world.task.instruction,
            joint_names=world.joint_names,
            path=path,
        ),
        sway=sway,
        pushed=pushed,
        scene=world.variety,
    )


def _push(world: World, expert: Expert, roughness: Roughness, rng: np.random.Generator) -> int:
    """Carry out a part of the task, push the arm aside; return the waypoint to go on with."""
    grasp, release = grip_changes(expert)
    carried = first_free(expert, grasp)  # what it does with the object begins there
    missed = rng.random() < MISSED_SHARE
    free = [
        k
        for k, waypoint in enumerate(expert.waypoints)
        if waypoint.seconds == 0.0 and not (waypoint.follows and k > release)
    ]  # nobody is pushed with the fingers still around what a hand holds
    k = 0 if missed else int(rng.choice(free))
    if missed:
        _miss(world, expert, carried, rng.uniform(0.0, 1.0))
    else:
        moves = expert.moves()[: k + 1]
        cut = max(1, round(len(moves[k]) * rng.uniform(0.2, 1.0)))
        for targets in np.concatenate([*moves[:k], moves[k][:cut]]):
            world.move(targets, STEP_NS)
    direction = rng.uniform(0, 2 * np.pi)
    reach = roughness.push_m * np.sqrt(rng.random())
    offset = (reach * np.cos(direction), reach * np.sin(direction), rng.uniform(-0.3, 0.6) * reach)
    carries = grasp < k < release
    floor = roughness.floor_m * (1.6 if carries else 1.0)
    goal = expert.displaced(offset, floor=floor)
    begin = world.targets
    for fraction in np.arange(1, PUSH_TICKS + 1) / PUSH_TICKS:
        world.move(begin + fraction * (goal - begin), STEP_NS)
    if k < grasp:
        return 0  # once more from above
    return carried if carries else max(k, release + 1)


def _miss(world: World, expert: Expert, over_goal: int, share: float) -> None:
    """Close the gripper on nothing over the object and go a share of the way to the goal."""
    for targets in expert.moves()[0]:
        world.move(targets, STEP_NS)
    begin, closed = world.targets, world.targets
    closed[-1] = expert.waypoints[over_goal].gripper
    for fraction in np.arange(1, CLOSING_TICKS + 1) / CLOSING_TICKS:
        world.move(begin + fraction * (closed - begin), STEP_NS)
    way = expert.moves(over_goal)[0]
    for targets in way[: round(share * len(way))]:
        world.move(targets, STEP_NS)


def grip_changes(expert: Expert) -> tuple[int, int]:
    """The waypoints at which the gripper closes on the object and lets it go."""
    stays = [
        k
        for k in range(1, len(expert.waypoints))
        if expert.waypoints[k].seconds > 0.0
        and expert.waypoints[k].gripper != expert.waypoints[k - 1].gripper
    ]
    if len(stays) < 2:
        raise ExpertError("this task has no grasp and release to be pushed between")
    return stays[0], stays[1]


def first_free(expert: Expert, grasp: int) -> int:
    """The first waypoint after the grasp that is reached on the joints' own way."""
    return next(k for k in range(grasp, len(expert.waypoints)) if not expert.waypoints[k].straight)


def _at_hand(expert: Expert, first: int, moves: list[Array]) -> npt.NDArray[np.bool_]:
    """Whether the arm is at a hand (T,), or goes down to it, in the path that begins with these.

    It follows the hand there, so it never stands still as it does over a table.
    """
    calm = [np.zeros(1, dtype=bool)]
    for waypoint, move in zip(expert.waypoints[first:], moves, strict=True):
        calm.append(np.full(len(move), waypoint.follows and waypoint.seconds > 0.0))
    return np.concatenate(calm)


def _sway(
    path: Array, calm: npt.NDArray[np.bool_], largest: float, rng: np.random.Generator
) -> Array:
    """Slow waves of every arm joint (T, D) [rad], none where the arm touches something."""
    times = np.arange(len(path)) / RATE_HZ
    arm = path.shape[1] - 1  # the gripper stays as it is
    frequency = rng.uniform(*SWAY_HZ, (SWAY_WAVES, arm))
    phase = rng.uniform(0, 2 * np.pi, (SWAY_WAVES, arm))
    size = largest * rng.uniform(0.1, 1.0) * rng.uniform(0, 1, (SWAY_WAVES, arm)) / SWAY_WAVES
    angle = 2 * np.pi * frequency * times[:, None, None] + phase  # (T, waves, D-1)
    sway = np.zeros_like(path)
    sway[:, :arm] = 2.0 * (size * np.sin(angle)).sum(axis=1) * _freedom(path, calm)[:, None]
    return sway


def _freedom(path: Array, calm: npt.NDArray[np.bool_]) -> Array:
    """(T,) 0 where the arm stands still or has to be calm, 1 where that is CALM_S away."""
    moved = np.abs(np.diff(path[:, :-1], axis=0, append=path[-1:, :-1])).max(axis=1)
    still = np.flatnonzero((moved < STILL_RAD) | calm)
    ticks = np.arange(len(path))
    away = np.abs(ticks[:, None] - np.append(still, 0)[None]).min(axis=1) / RATE_HZ
    share = np.clip(away / CALM_S, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))
