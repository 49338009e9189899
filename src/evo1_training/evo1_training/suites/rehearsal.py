"""Scripted demonstrations of Meta-World's tasks, as a dataset. Must not import ROS or torch.

Episodes are encoded side by side into `.work` inside the dataset's folder; once all are, they are
added together, in order. Whatever stops it, the same call goes on.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo1_policy.interface import load_interface
from evo1_policy.paths import write_whole
from evo1_policy.untrusted import read_json
from evo1_training.datasets.conversion import WORK, write_simulated
from evo1_training.datasets.lerobot.contents import INFO
from evo1_training.datasets.lerobot.encoding import encode_episode, load_encoded
from evo1_training.datasets.lerobot.schema import AlignedFrame, DatasetSchema
from evo1_training.datasets.worker_pool import changed_choice, counting, run_all
from evo1_training.recording.episode import EpisodeError
from evo1_training.suites.simulation import Simulation, SuiteError
from evo1_training.suites.suite import SuiteTask

SUITE = "metaworld"  # LIBERO has no scripts
MOST_EPISODES = 10_000  # of a task: the seeds of its attempts lie so far apart
ATTEMPTS = 20  # at an episode
_CHOICES = "rehearsal.json"


@dataclass(frozen=True, kw_only=True)
class SuiteRehearsal:
    """What to demonstrate.

    Attributes:
        root: folder of the dataset.
        tasks: each with as many episodes.
        episodes: of a task, to keep.
        seed: of the first scene of each task.
        rough: every second episode begins from a pushed arm, which then sways.
        side: of the pictures [px].
        rendering: of RENDERINGS.
    """

    root: Path
    tasks: tuple[SuiteTask, ...]
    episodes: int
    seed: int
    rough: bool
    side: int
    rendering: str

    @property
    def schema(self) -> DatasetSchema:
        """Of the dataset."""
        interface = load_interface(SUITE)
        sizes = dict.fromkeys(interface.cameras, (self.side, self.side))
        return DatasetSchema(interface=interface, fps=round(interface.rate_hz), image_sizes=sizes)

    @property
    def choices(self) -> dict[str, Any]:
        """What has to be the same where an unfinished one is gone on with."""
        return {
            "tasks": [task.name for task in self.tasks],
            "episodes": self.episodes,
            "seed": self.seed,
            "rough": self.rough,
            "side": self.side,
            "rendering": self.rendering,
        }


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One episode."""

    rehearsal: SuiteRehearsal
    task: SuiteTask
    episode: int

    @property
    def folder(self) -> Path:
        return self.rehearsal.root / WORK / f"{self.task.place:02d}-{self.episode:05d}"


def rehearse(rehearsal: SuiteRehearsal, workers: int, advance: Callable[[int], object]) -> int:
    """Record; the dataset does not depend on the number of workers.

    Args:
        rehearsal: what.
        workers: processes, each with a simulator of its own.
        advance: told how many more episodes are there.

    Returns:
        How many attempts failed, in this run.

    Raises:
        SuiteError: Meta-World is not installed, the folder holds something else, or a task
            failed too often.
        DatasetWriteError: the folder is in use, or holds something else.
        OSError: the disk is full or gone.
    """
    _begin(rehearsal)
    jobs = [
        _Job(rehearsal=rehearsal, task=task, episode=episode)
        for task in rehearsal.tasks
        for episode in range(rehearsal.episodes)
    ]
    failed = 0
    try:
        for _, outcome in run_all(_record, jobs, workers=workers, advance=counting(advance)):
            if isinstance(outcome, Exception):
                raise outcome
            failed += outcome
    finally:
        if _simulation.cache_info().currsize:  # one worker: this process
            _simulation().close()
            _simulation.cache_clear()
    write_simulated(rehearsal.root, rehearsal.schema, (job.folder for job in jobs))
    return failed


def _begin(rehearsal: SuiteRehearsal) -> None:
    """Make the work folder, or find that of an unfinished rehearsal."""
    root, note = rehearsal.root, rehearsal.root / WORK / _CHOICES
    if note.is_file():
        begun: Mapping[str, Any] = read_json(note, what="choices of an unfinished rehearsal")
        if why := changed_choice(begun, rehearsal.choices):
            raise SuiteError(f"{note.parent}: an unfinished rehearsal {why}, or delete it")
        return
    if root.exists() and any(root.iterdir()):
        what = "a dataset" if (root / INFO).is_file() else "something else"
        raise SuiteError(f"{root}: holds {what} already; choose another folder")
    note.parent.mkdir(parents=True)
    write_whole(note, json.dumps(rehearsal.choices), sync=False)


@functools.lru_cache(maxsize=1)
def _simulation() -> Simulation:
    """That of this process."""
    return Simulation(SUITE)


def _record(job: _Job, advance: Callable[[int], None]) -> int:
    """Record one episode; returns how many attempts failed before."""
    try:
        load_encoded(job.folder)
    except EpisodeError:
        pass
    else:
        advance(1)
        return 0
    asked = job.rehearsal
    rough = asked.rough and job.episode % 2 == 1
    for attempt in range(ATTEMPTS):
        seed = asked.seed + job.episode + attempt * MOST_EPISODES
        shown = _simulation().call(
            "demonstrate", job.task.place, seed, rough, asked.side, asked.rendering
        )
        if shown is None:
            continue
        encode_episode(
            _frames(asked.schema, shown),
            schema=asked.schema,
            instruction=job.task.words,
            source=f"{SUITE}/{job.task.name}/{seed}",
            folder=job.folder,
        )
        advance(1)
        return attempt
    raise SuiteError(
        f"{job.task.name}: the script failed {ATTEMPTS} times, from seed {asked.seed}"
    )


def _frames(schema: DatasetSchema, shown: Mapping[str, Any]) -> Iterator[AlignedFrame]:
    (camera,) = schema.interface.cameras
    rows = zip(shown["pictures"], shown["states"], shown["actions"], strict=True)
    for number, (picture, state, action) in enumerate(rows):
        yield AlignedFrame(
            tick_ns=number * schema.interface.step_ns,
            images={camera: picture},
            state=state.astype(float),
            action=action.astype(float),
        )
