"""A policy scored on a suite as the paper's authors score theirs.

A task is one job: its episodes follow one another in one simulator, as in the authors' client,
whose scenes come from a generator that each reset moves on. Tasks run side by side.
Must not import ROS; torch comes with a policy in a worker's own process.
"""

import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evo1_policy.interface import load_interface
from evo1_training.datasets.worker_pool import run_all
from evo1_training.evaluation.outcomes import (
    SOLVED,
    TIME_UP,
    Evaluation,
    Trial,
    TrialOutcome,
    wilson_interval,
)
from evo1_training.evaluation.rollouts import VIDEOS, Keep
from evo1_training.evaluation.videos import TrialVideo, thumbnail
from evo1_training.suites.playing import LocalPlayer, Player, Seen, ServedPlayer
from evo1_training.suites.simulation import Simulation, SuiteError
from evo1_training.suites.suite import (
    EPISODES,
    RENDERINGS,
    SUITES,
    Suite,
    SuiteTask,
    group_of,
    tasks_of,
)


@dataclass(frozen=True, kw_only=True)
class SuiteSetup:
    """What is scored and how; every worker process builds its own simulator and policy from it.

    Attributes:
        suite: which.
        episodes: of each task.
        checkpoint: the policy's folder; None: `server`.
        server: address of one that speaks the authors' protocol.
        swapped: the checkpoint has learned from pictures whose red and blue are swapped.
        rendering: of RENDERINGS.
        reading: what Policy.load is told beside the folder, as pairs.
        report: folder of the report, which takes the videos; None: neither.
        keep: which videos.
    """

    suite: Suite
    episodes: int = EPISODES
    checkpoint: Path | None = None
    server: str = ""
    swapped: bool = False
    rendering: str = RENDERINGS[0]
    reading: tuple[tuple[str, Any], ...] = ()
    report: Path | None = None
    keep: Keep = "failures"


def setup_of(
    suite: Suite,
    checkpoint: str,
    *,
    server: str = "",
    colour: str | None = None,
    device: str = "auto",
    reading: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[SuiteSetup, dict[str, str]]:
    """Look at who shall play, before anything is started.

    Args:
        suite: which.
        checkpoint: its folder; empty: `server`.
        server: address of one that speaks the authors' protocol.
        colour: 'rgb' or 'bgr', which the checkpoint has learned from; None: what its layout says:
            the authors' policies what their client and server make of a picture, all others RGB.
        device: torch's.
        reading: what else read_checkpoint is told.

    Returns:
        The set-up, and what the report says of the policy.

    Raises:
        CheckpointError: the checkpoint is damaged, or for something else.
    """
    if not checkpoint:
        return SuiteSetup(suite=suite, server=server), {"policy": f"server {server}"}
    from evo1_policy.checkpoint import read_checkpoint  # late: torch takes seconds to import

    told = {**reading, "interface": load_interface(suite.interface)}
    found = read_checkpoint(Path(checkpoint).expanduser(), **told)
    theirs = suite.swapped and found.layout.startswith("official")
    swapped = theirs if colour is None else colour == "bgr"
    setup = SuiteSetup(
        suite=suite,
        checkpoint=found.directory,
        swapped=swapped,
        reading=(*told.items(), ("device", device), ("threads", 1)),
    )
    facts = {"policy": checkpoint, "model_hash": found.model_hash()}
    return setup, {**facts, "colour": "bgr" if swapped else "rgb"}


def evaluation_of(
    setup: SuiteSetup, facts: Mapping[str, str], outcomes: tuple[TrialOutcome, ...]
) -> Evaluation:
    """The whole, with the rate of each group and their mean among the facts."""
    suite = setup.suite
    groups = groups_of(suite, outcomes)
    return Evaluation(
        facts={
            **facts,
            "suite": suite.name,
            "task": suite.name,
            "seed": suite.seed,
            "episodes": setup.episodes,
            "execute_actions": suite.execute,
            "rendering": setup.rendering,
            **{f"rate_{group.name}": group.rate for group in groups},
            "rate_mean_of_groups": average(suite, outcomes),
        },
        outcomes=outcomes,
    )


def play(
    setup: SuiteSetup,
    tasks: Sequence[SuiteTask],
    *,
    workers: int,
    advance: Callable[[int], None],
) -> Iterator[TrialOutcome]:
    """Play every episode of the tasks; the outcomes do not depend on the number of workers.

    Args:
        setup: what is scored.
        tasks: in the order of the outcomes.
        workers: processes; 1: this one, and the simulator's.
        advance: told how many episodes have ended.

    Raises:
        SuiteError: the suite is not installed, or a simulator or a server broke off.
        CheckpointError: the checkpoint is damaged, or for something else.
    """
    if setup.report is not None:
        (setup.report / VIDEOS).mkdir(parents=True, exist_ok=True)
    if setup.suite.cell == "metaworld":
        simulation = Simulation(setup.suite.cell)
        try:
            simulation.call("prepare", setup.suite.seed)
        finally:
            simulation.close()
    jobs = [(setup, task) for task in tasks]
    try:
        for _, outcome in run_all(_play_task, jobs, workers=workers, advance=advance):
            if isinstance(outcome, Exception):
                raise outcome
            yield from outcome
    except BrokenProcessPool:
        raise SuiteError(
            f"a worker process was killed, perhaps for want of memory; use fewer than "
            f"--workers {workers}"
        ) from None
    finally:
        if _table.cache_info().currsize:  # one worker: this process
            _table(setup).close()
            _table.cache_clear()


class Table:
    """A simulator and a player."""

    def __init__(self, setup: SuiteSetup) -> None:
        self._setup = setup
        self._player = _player(setup)
        self._simulation = Simulation(setup.suite.cell)

    def close(self) -> None:
        """End the simulator's process and the connection."""
        self._simulation.close()
        self._player.close()

    def play(self, task: SuiteTask, advance: Callable[[int], None]) -> list[TrialOutcome]:
        """Play a task's episodes one after the other."""
        suite, most = self._setup.suite, self._setup.episodes
        if suite.cell == "metaworld":
            self._simulation.call("open", task.place, suite.seed, self._setup.rendering)
        else:
            most = min(most, self._simulation.call("open", suite.name, task.place, suite.seed))
        outcomes = []
        for episode in range(most):
            outcomes.append(self._recorded(task, episode))
            advance(1)
        return outcomes

    def _recorded(self, task: SuiteTask, episode: int) -> TrialOutcome:
        folder, keep = self._setup.report, self._setup.keep
        if folder is None or keep == "none":
            return self._episode(task, episode, None)[0]
        path = folder / VIDEOS / f"{task.name}_{episode}.mp4"
        # One picture a chunk, which is all that the policy sees.
        rate_hz = self._setup.suite.steps_hz / self._setup.suite.execute
        video, kept = TrialVideo(path, rate_hz=max(rate_hz, 1.0), every=1), False
        try:
            outcome, first, last = self._episode(task, episode, video)
            kept = keep == "all" or not outcome.success
        finally:
            video.close(keep=kept)
        shown = tuple(thumbnail(seen["pictures"][0]) for seen in (first, last))
        return replace(outcome, thumbnails=shown, video=f"{VIDEOS}/{path.name}" if kept else "")

    def _episode(
        self, task: SuiteTask, episode: int, video: TrialVideo | None
    ) -> tuple[TrialOutcome, Seen, Seen]:
        """Play one; returns what came of it, what was seen first and what last."""
        suite, chunks = self._setup.suite, 0
        # LIBERO's initial states are numbered; Meta-World's client gives a seed with each reset.
        number = suite.seed + episode if suite.cell == "metaworld" else episode
        seen = first = self._simulation.call("reset", number)
        while not seen["over"] and chunks != suite.chunks:
            if video is not None:
                video.add({str(k): picture for k, picture in enumerate(seen["pictures"])})
            actions = self._player.chunk(seen, task.words)
            seen = self._simulation.call("step", actions)
            chunks += 1
        if video is not None:
            video.add({str(k): picture for k, picture in enumerate(seen["pictures"])})
        outcome = TrialOutcome(
            trial=Trial(disturbance=task.name, seed=number),
            success=seen["success"],
            seconds=seen["steps"] / suite.steps_hz,
            ended=SOLVED if seen["success"] else TIME_UP,
            detail=f"{seen['steps']} steps",
            instruction=task.words,
            chunks=chunks,
            inference_ms=self._player.inference_ms(),
        )
        return outcome, first, seen


@dataclass(frozen=True, kw_only=True)
class Group:
    """Episodes of one of the paper's groups: how many were played, how many solved."""

    name: str
    episodes: int
    solved: int
    paper: float | None

    @property
    def rate(self) -> float:
        """Share of successes."""
        return self.solved / self.episodes


def groups_of(suite: Suite, outcomes: Sequence[TrialOutcome]) -> list[Group]:
    """The episodes by group, of those groups that were played."""
    solved: dict[str, list[bool]] = {}
    for one in outcomes:
        solved.setdefault(group_of(suite, one.trial.disturbance), []).append(one.success)
    return [
        Group(name=name, episodes=len(of), solved=sum(of), paper=suite.paper.get(name))
        for name, of in solved.items()
    ]


def average(suite: Suite, outcomes: Sequence[TrialOutcome]) -> float | None:
    """The mean of the groups' rates, the paper's average; None unless all tasks were played."""
    played = {one.trial.disturbance for one in outcomes}
    if suite.average is None or not played >= {task.name for task in tasks_of(suite)}:
        return None
    return statistics.fmean(group.rate for group in groups_of(suite, outcomes))


def table(evaluation: Evaluation) -> list[str]:
    """Lines for a terminal: each task, each group beside the paper, the mean of the groups."""
    suite, outcomes = SUITES[str(evaluation.facts["suite"])], evaluation.outcomes
    wide = max(18, *(len(condition.disturbance) for condition in evaluation.conditions))
    head = f"{'':{wide}} {'success':>9} {'rate':>6}  {'95 % interval':16}"
    lines = [
        head.rstrip(),
        *(_line(wide, c.disturbance, c.successes, c.trials, None) for c in evaluation.conditions),
        "",
        f"{head} paper",
        *(_line(wide, g.name, g.solved, g.episodes, g.paper) for g in groups_of(suite, outcomes)),
    ]
    whole = average(suite, outcomes)
    if whole is not None:
        name = "mean of the groups"
        lines.append(f"{name:{wide}} {'':9} {whole:6.1%}  {'':16} {suite.average:.1f} %")
    return lines


def _line(wide: int, name: str, solved: int, episodes: int, paper: float | None) -> str:
    low, high = wilson_interval(solved, episodes)
    told = "" if paper is None else f"{paper:.1f} %"
    return (
        f"{name:{wide}} {f'{solved}/{episodes}':>9} {solved / episodes:6.1%}  "
        f"{f'{low:.1%} to {high:.1%}':16} {told}"
    ).rstrip()


def _player(setup: SuiteSetup) -> Player:
    if setup.checkpoint is None:
        return ServedPlayer(setup.suite, setup.server)
    return LocalPlayer(
        setup.suite, setup.checkpoint, swapped=setup.swapped, reading=dict(setup.reading)
    )


@functools.lru_cache(maxsize=1)
def _table(setup: SuiteSetup) -> Table:
    """Simulator and player of this process."""
    return Table(setup)


def _play_task(
    job: tuple[SuiteSetup, SuiteTask], advance: Callable[[int], None]
) -> list[TrialOutcome]:
    setup, task = job
    return _table(setup).play(task, advance)
