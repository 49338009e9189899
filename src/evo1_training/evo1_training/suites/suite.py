"""The suites and the protocol by which the paper's authors score each. Pure.

What their clients do is said here as numbers; what is done with a simulator stands in
simulators/, and what is sent to a policy in playing.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evo1_training.suites.metaworld_tasks import GROUPS
from evo1_training.suites.simulation import Simulation, SuiteError

ALL = "all"
RENDERINGS = ("full", "light")  # Meta-World's own, as the authors' client has it; coarser shadows


@dataclass(frozen=True, kw_only=True)
class SuiteTask:
    """One task.

    Attributes:
        place: in its suite.
        name: by which it is asked for.
        group: of which the paper tells the success rate.
        words: what the policy is told.
    """

    place: int
    name: str
    group: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Suite:
    """How a suite is scored.

    Attributes:
        name: as the command line has it.
        cell: which simulator: a module of simulators/ without its '_cell'.
        interface: name of the interface that ships.
        width: numbers of an action.
        execute: actions of a chunk that are executed.
        chunks: at most, of an episode; None: until the simulator ends it.
        seed: of the evaluation.
        steps_hz: simulated steps in a second.
        swapped: the authors' client sends pictures whose red and blue the server, which swaps
            them, does not put right: a policy of theirs has learned from blue for red.
        paper: success rates of Evo-1 in the paper's Table 1, by group [%].
        average: likewise over the groups, where there are several [%].
    """

    name: str
    cell: str
    interface: str
    width: int
    execute: int
    chunks: int | None
    seed: int
    steps_hz: float
    swapped: bool
    paper: Mapping[str, float] = field(hash=False)
    average: float | None = None


def _libero(name: str, chunks: int, paper: float) -> Suite:
    return Suite(
        name=name,
        cell="libero",
        interface="libero",
        width=7,
        execute=14,
        chunks=chunks,
        seed=42,
        steps_hz=20,
        swapped=True,
        paper={name: paper},
    )


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            name="metaworld",
            cell="metaworld",
            interface="metaworld",
            width=4,
            execute=15,
            chunks=None,
            seed=4042,
            steps_hz=80,
            swapped=False,
            paper={"easy": 89.2, "medium": 76.8, "hard": 77.2, "very_hard": 79.2},
            average=80.6,
        ),
        _libero("libero_spatial", 25, 92.7),
        _libero("libero_object", 25, 97.7),
        _libero("libero_goal", 25, 96.3),
        _libero("libero_10", 95, 92.3),
    )
}
EPISODES = 10  # of a task, in the paper and in the authors' clients


def tasks_of(suite: Suite) -> tuple[SuiteTask, ...]:
    """All tasks of a suite, in the authors' order.

    Raises:
        SuiteError: LIBERO, which is asked for its own, is not installed.
    """
    if suite.cell == "metaworld":
        return tuple(
            SuiteTask(place=place, name=name, group=group, words=words)
            for group, tasks in GROUPS.items()
            for place, name, words in tasks
        )
    simulation = Simulation(suite.cell)
    try:
        found = simulation.call("tasks", suite.name)
    finally:
        simulation.close()
    return tuple(
        SuiteTask(place=place, name=name, group=suite.name, words=words)
        for place, (name, words) in enumerate(found)
    )


def group_of(suite: Suite, name: str) -> str:
    """The group of a task by its name; LIBERO's suites are one group each."""
    found = (group for group, tasks in GROUPS.items() for _, task, _ in tasks if task == name)
    return next(found, suite.name)


def chosen(tasks: Sequence[SuiteTask], asked: str) -> tuple[SuiteTask, ...]:
    """The tasks that are asked for, in the suite's order.

    Args:
        tasks: of a suite.
        asked: 'all', or groups, names and places with commas between.

    Raises:
        SuiteError: nothing is called so.
    """
    wanted = [part.strip() for part in asked.split(",")]
    for part in wanted:
        if not any(_is_called(task, part) for task in tasks):
            groups = ", ".join(dict.fromkeys(task.group for task in tasks))
            names = ", ".join(task.name for task in tasks)
            raise SuiteError(f"--tasks {part}: expected {ALL}, a group ({groups}) or of {names}")
    return tuple(task for task in tasks if any(_is_called(task, part) for part in wanted))


def _is_called(task: SuiteTask, part: str) -> bool:
    return part in (ALL, task.group, task.name, str(task.place))
