"""evaluate --suite: a benchmark's tasks, by its authors' protocol."""

import argparse
import sys
from dataclasses import replace

from tqdm import tqdm

from evo1_policy.cli.reading_options import reading
from evo1_training.datasets.worker_pool import counting
from evo1_training.evaluation.outcomes import Evaluation
from evo1_training.evaluation.workers import fitting_workers
from evo1_training.suites import evaluation as suites
from evo1_training.suites.suite import SUITES, chosen, tasks_of


class UsageError(ValueError):
    """A command line that cannot be obeyed; the message says what to write instead."""


def suite_evaluations(arguments: argparse.Namespace) -> list[Evaluation]:
    """One for each policy, or that of the server.

    Raises:
        UsageError: nobody plays, or both a checkpoint and a server.
    """
    if arguments.expert or arguments.ros or bool(arguments.policies) == bool(arguments.server):
        raise UsageError("say who shall play the suite: checkpoints or --server")
    if arguments.episodes < 1 or arguments.workers < 0:
        raise UsageError("--episodes and --workers: expected 1 or more")
    suite = SUITES[arguments.suite]
    tasks = chosen(tasks_of(suite), arguments.tasks)
    setups = [
        suites.setup_of(
            suite,
            named,
            server=arguments.server or "",
            colour=arguments.colour,
            device=arguments.device,
            reading=reading(arguments),
        )
        for named in arguments.policies or [""]
    ]
    evaluations = []
    for number, (setup, facts) in enumerate(setups, start=1):
        report = arguments.report
        if report is not None and len(setups) > 1:
            report = report / str(number)
        setup = replace(
            setup,
            episodes=arguments.episodes,
            rendering=arguments.rendering,
            report=report,
            keep=arguments.videos,
        )
        workers = arguments.workers or fitting_workers(
            2 * len(tasks), setup.checkpoint, device=arguments.device
        )
        total = len(tasks) * arguments.episodes
        with tqdm(total=total, unit="episode", desc=suite.name, file=sys.stderr) as bar:
            advance = counting(bar.update)
            outcomes = suites.play(setup, tasks, workers=workers, advance=advance)
            evaluations.append(suites.evaluation_of(setup, facts, tuple(outcomes)))
    return evaluations
