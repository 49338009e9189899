"""Many simulated takes into one folder, by one process or by several. Must not import ROS."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from evo1_policy.robot_config import load_robot
from evo1_sim.world import World
from evo1_training.datasets.worker_pool import run_all
from evo1_training.recording.episode import next_episode_number, numbered_episode
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.simulated_takes import SimulatedTakeError, SimulatedTakes

MAX_FAILURES = 20  # in a row


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What to demonstrate.

    Attributes:
        robot_file: of the arm.
        task: its name; empty for the arm's first.
        root: where episodes go.
        episodes: to keep.
        seed: of the first attempt.
        seeds_apart: from one attempt to the next.
        first: number of the first episode; shared_by gives each part its own.
        rough: with pushes and sway.
        varied: each seed has looks, heights, friction and things beside the path of its own.
        width: of the images [px].
        height: of the images [px].
    """

    robot_file: Path
    task: str
    root: Path
    episodes: int
    seed: int
    width: int
    height: int
    rough: bool = True
    varied: bool = False
    seeds_apart: int = 1
    first: int = 0

    def shared_by(self, workers: int) -> list["Rehearsal"]:
        """The same in parts: each has its own seeds and its own numbers of episodes."""
        each = [self.episodes // workers + (k < self.episodes % workers) for k in range(workers)]
        first = next_episode_number(self.root)
        return [
            replace(
                self,
                episodes=episodes,
                seed=self.seed + k * self.seeds_apart,
                seeds_apart=self.seeds_apart * workers,
                first=first + sum(each[:k]),
            )
            for k, episodes in enumerate(each)
            if episodes
        ]


class _NumberedStore(EpisodeStore):
    """Numbers its episodes from where it was told, whatever else is in the folder."""

    def __init__(self, root: Path, first: int) -> None:
        super().__init__(root, keep_deleted=0)
        self._first = first

    def next_folder(self) -> Path:
        return self.root / numbered_episode(self._first + len(self.saved))


def _record(rehearsal: Rehearsal, advance: Callable[[int], object]) -> int:
    """Record one part in this process; returns how many attempts failed."""
    robot = load_robot(rehearsal.robot_file)
    world = World(robot.name, task=rehearsal.task or None, varied=rehearsal.varied)
    task = rehearsal.task or world.task_names[0]
    store = _NumberedStore(rehearsal.root, rehearsal.first)
    takes = SimulatedTakes(robot, world, store, width=rehearsal.width, height=rehearsal.height)
    failed = in_a_row = 0
    try:
        for seed in count(rehearsal.seed, rehearsal.seeds_apart):
            if len(store.saved) == rehearsal.episodes:
                break
            detail = takes.attempt(task, seed, rough=rehearsal.rough).detail
            in_a_row = in_a_row + 1 if detail else 0
            failed += bool(detail)
            advance(not detail)
            if in_a_row == MAX_FAILURES:
                raise SimulatedTakeError(
                    f"{in_a_row} attempts in a row failed, the last with: {detail}"
                )
    finally:
        takes.close()
    return failed


def rehearse(rehearsal: Rehearsal, workers: int, advance: Callable[[int], object]) -> int:
    """Record; which scenes are kept depends on how many processes share the work.

    Args:
        rehearsal: what to record.
        workers: processes; with 1 it is this one.
        advance: told in this process how many more episodes were kept.

    Returns:
        How many attempts failed.

    Raises:
        SimulatedTakeError: the recorder does not do its part, or too many failed in a row.
        RobotConfigError: the robot file cannot be used.
        WorldError: the arm has no such task.
        OSError: an episode cannot be written.
    """

    def tell(count: int) -> None:
        advance(count)

    failed = 0
    parts = rehearsal.shared_by(workers)
    for _, outcome in run_all(_record, parts, workers=workers, advance=tell):
        if isinstance(outcome, Exception):
            raise outcome
        failed += outcome
    return failed
