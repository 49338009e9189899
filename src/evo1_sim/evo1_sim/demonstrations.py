"""One scripted demonstration of a task: from a seed to the motion of the arm. No ROS.

The scene is built again from task and seed, as the running simulation builds it, so the expert
knows where things are without asking it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import interpolate
from evo1_sim.experts import RATE_HZ, Expert
from evo1_sim.waypoints import Variation
from evo1_sim.world import World

START_TOLERANCE_RAD = 0.03
MAX_SEED = 999_999  # later ones belong to the evaluation: no policy may have seen its test


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
    path: npt.NDArray[np.float64]

    @property
    def start(self) -> npt.NDArray[np.float64]:
        """Where the arm starts (D,) [rad]."""
        start: npt.NDArray[np.float64] = self.path[0]
        return start

    @property
    def duration_s(self) -> float:
        """How long it lasts [s]."""
        return (len(self.path) - 1) / RATE_HZ

    def sample(self, times_s: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Positions (M, D) [rad] at times (M,) since the start [s]; at rest before and after."""
        times = np.clip(np.asarray(times_s, dtype=np.float64), 0.0, self.duration_s)
        slopes = np.gradient(self.path, 1.0 / RATE_HZ, axis=0)
        slopes[[0, -1]] = 0.0
        positions, _ = interpolate(self.path, slopes, 1.0 / RATE_HZ, times)
        return positions

    def start_problem(self, measured: npt.NDArray[np.float64]) -> str:
        """Why the arm at `measured` (D,) [rad] does not stand where this starts; '' if it does."""
        distance = np.abs(measured - self.start)
        joint = int(np.argmax(distance))
        if distance[joint] <= START_TOLERANCE_RAD:
            return ""
        return (
            f"joint '{self.joint_names[joint]}' is at {measured[joint]:.3f} rad, but task "
            f"'{self.task}' with seed {self.seed} starts it at {self.start[joint]:.3f} rad"
        )


def plan_demonstration(world: World, task: str, seed: int) -> Demonstration:
    """Plan the demonstration of a seed, varied by the same seed.

    Args:
        world: of the arm; it is reset.
        task: its name.
        seed: start state.

    Raises:
        WorldError: the arm has no such task.
        ExpertError: the task has no expert, or the start state is out of its reach.
    """
    world.reset(task, seed)
    start = world.targets
    plan = Expert(world, Variation.draw(seed)).plan()
    return Demonstration(
        task=task,
        seed=seed,
        instruction=world.task.instruction,
        joint_names=world.joint_names,
        path=np.concatenate([start[np.newaxis], plan]),
    )
