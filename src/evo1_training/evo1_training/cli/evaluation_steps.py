"""What evaluate does once its command line is read: who is tried, how, and what is told of it.

Must not import ROS, which only `--ros` needs, nor torch before there is a checkpoint to read.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from tqdm import tqdm

from evo1_policy.cli.reading_options import reading
from evo1_policy.control.signals import ExecutionMode
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_sim.tasks import TASKS, all_tasks
from evo1_training.cli.suite_evaluation import UsageError, suite_evaluations
from evo1_training.datasets.worker_pool import counting
from evo1_training.evaluation.comparison import (
    compare,
    compare_recipes,
    comparison_lines,
    recipe_lines,
)
from evo1_training.evaluation.outcomes import (
    ALL,
    Evaluation,
    EvaluationError,
    Trial,
    TrialError,
    TrialOutcome,
    plan_trials,
    table,
    task_table,
)
from evo1_training.evaluation.report import write_json, write_report
from evo1_training.evaluation.rollouts import RolloutError, Setup, run_trials
from evo1_training.evaluation.workers import fitting_workers
from evo1_training.suites import evaluation as suites

USAGE = (TrialError, UsageError, RolloutError)  # a command line that cannot be obeyed


def evaluations_of(arguments: argparse.Namespace) -> list[Evaluation]:
    """One for each policy; all of them are looked at before the first trial of any.

    Raises:
        UsageError, TrialError, RolloutError: what was asked cannot be done.
        EvaluationError: a worker was killed.
    """
    if arguments.suite:
        return suite_evaluations(arguments)
    trials = plan_trials(arguments.trials, seed=arguments.seed, disturb=arguments.disturb)
    if arguments.workers < 0:
        raise UsageError(f"--workers {arguments.workers}: expected 1 or more")
    if arguments.expert + arguments.ros + bool(arguments.policies) != 1:
        raise UsageError("say who shall be evaluated: checkpoints, --expert or --ros")
    if arguments.ros:
        if arguments.task == ALL:
            raise UsageError("--task all: not with --ros, whose simulation has one task")
        return [_over_ros(arguments, trials)]
    if arguments.task == ALL:
        return _every_task(arguments, trials)
    who = [_policy(arguments, named) for named in arguments.policies] or [_expert(arguments)]
    chosen = [(_with_choices(arguments, setup, k), facts) for k, (setup, facts) in enumerate(who)]
    scenes = {(setup.arm, setup.task) for setup, _ in chosen}
    if arguments.recipes and (len(who) < 4 or len(who) % 2):
        raise UsageError(f"--recipes: {len(who)} policies; expected as many of each, two or more")
    if len(scenes) > 1 or len(set(arguments.policies)) < len(arguments.policies):
        told = ", ".join(f"{facts['policy']} ({facts['robot']})" for _, facts in chosen)
        raise UsageError(f"only different policies for one robot can be compared, not {told}")
    return [_offline(arguments, setup, facts, trials) for setup, facts in chosen]


def _every_task(arguments: argparse.Namespace, trials: Sequence[Trial]) -> list[Evaluation]:
    """One for each task, of one policy or of one policy each."""
    if arguments.instruction:
        raise UsageError("--instruction: with --task all each task has its own words")
    one = argparse.Namespace(**{**vars(arguments), "task": ""})
    who = [_policy(one, named) for named in arguments.policies] or [_expert(one)]
    tasks = all_tasks(who[0][0].arm)
    if len(who) not in (1, len(tasks)):
        raise UsageError(
            f"--task all: {len(who)} checkpoints; expected one, or one for each of "
            f"{', '.join(tasks)}"
        )
    pairs = zip(tasks, who * (len(tasks) // len(who)), strict=True)
    chosen = [
        (_with_choices(arguments, replace(setup, task=task), k), {**facts, "task": task})
        for k, (task, (setup, facts)) in enumerate(pairs)
    ]
    return [_offline(arguments, setup, facts, trials) for setup, facts in chosen]


def _with_choices(arguments: argparse.Namespace, setup: Setup, number: int) -> Setup:
    report = arguments.report
    if report is not None and (len(arguments.policies) > 1 or arguments.task == ALL):
        report = report / str(number + 1)
    setup = replace(
        setup,
        instruction=arguments.instruction,
        device=arguments.device,
        latency_ms=arguments.latency_ms,
        jitter_ms=arguments.jitter_ms,
        camera_lag_ms=arguments.camera_lag_ms,
        execute_actions=arguments.execute_actions,
        mode=ExecutionMode(arguments.mode),
        smoothing_rad=arguments.smoothing_rad,
        limit_s=arguments.limit_s,
        report=report,
        keep=arguments.videos,
    )
    setup.check()
    return setup


def _offline(
    arguments: argparse.Namespace, setup: Setup, facts: dict[str, str], trials: Sequence[Trial]
) -> Evaluation:
    return tried(setup, trials, {**facts, **_choices(arguments)}, workers=arguments.workers)


def tried(
    setup: Setup,
    trials: Sequence[Trial],
    facts: Mapping[str, str | int | float | None],
    *,
    workers: int,
) -> Evaluation:
    """Make trials in simulation, with a progress bar.

    Args:
        setup: how.
        trials: which.
        facts: of the evaluation.
        workers: processes; 0: by cores and free memory.

    Raises:
        EvaluationError: a worker was killed.
    """
    workers = workers or fitting_workers(len(trials), setup.checkpoint, device=setup.device)
    outcomes: list[TrialOutcome] = []
    with tqdm(total=len(trials), unit="trial", desc=setup.task, file=sys.stderr) as bar:
        advance = counting(bar.update)
        try:
            for outcome in run_trials(setup, trials, workers=workers, advance=advance):
                outcomes.append(outcome)
                solved = sum(done.success for done in outcomes)
                bar.set_postfix_str(f"{solved}/{len(outcomes)} solved", refresh=False)
        except BrokenProcessPool:
            raise EvaluationError(
                f"a worker process was killed, perhaps for want of memory; use fewer than "
                f"--workers {workers}"
            ) from None
    return Evaluation(facts=facts, outcomes=tuple(outcomes))


def _expert(arguments: argparse.Namespace) -> tuple[Setup, dict[str, str]]:
    arm = arguments.robot or next(iter(TASKS))
    setup = Setup(arm=arm, task=arguments.task or _first_task(arm))
    return setup, {"robot": arm, "task": setup.task, "policy": "scripted expert"}


def _policy(arguments: argparse.Namespace, named: str) -> tuple[Setup, dict[str, str]]:
    from evo1_policy.checkpoint import read_checkpoint  # late: torch takes seconds to import

    told = reading(arguments)
    checkpoint = read_checkpoint(
        Path(named).expanduser(), robot=_robot_file(arguments.robot), **told
    )
    for note in checkpoint.notes:
        _say(f"note: {note}")
    robot = checkpoint.robot
    if robot is None:
        name = checkpoint.interface.name
        raise UsageError(f"{named}: has no robot, it is for {name}: say --suite")
    if arguments.robot and not _is_file(arguments.robot) and arguments.robot != robot.name:
        raise UsageError(f"--robot {arguments.robot}: {named} is for the robot '{robot.name}'")
    setup = Setup(
        arm=robot.name,
        task=arguments.task or _first_task(robot.name),
        checkpoint=checkpoint.directory,
        robot_text=robot.text,
        reading=tuple(told.items()),
    )
    return setup, {
        "robot": robot.name,
        "task": setup.task,
        "policy": named,
        "model_hash": checkpoint.model_hash(),
    }


def _robot_file(robot: str) -> RobotConfig | None:
    return load_robot(robot) if _is_file(robot) else None


def _is_file(robot: str) -> bool:
    return robot.endswith((".yaml", ".yml"))


def _first_task(arm: str) -> str:
    if arm not in TASKS:
        raise UsageError(f"no simulated arm '{arm}'; known: {', '.join(TASKS)}")
    return TASKS[arm][0].name


def _choices(arguments: argparse.Namespace) -> dict[str, str | int | float | None]:
    """What the command line chose, for the report."""
    return {
        "how": "running system" if arguments.ros else "offline",
        "seed": arguments.seed,
        "limit_s": arguments.limit_s,
        "latency_ms": arguments.latency_ms if arguments.policies else None,
        "jitter_ms": arguments.jitter_ms or None,
        "camera_lag_ms": arguments.camera_lag_ms or None,
        "execute_actions": arguments.execute_actions,
        "mode": arguments.mode if arguments.policies else None,
        "smoothing_rad": arguments.smoothing_rad if arguments.policies else None,
    }


def _over_ros(arguments: argparse.Namespace, trials: Sequence[Trial]) -> Evaluation:
    from evo1_training.ros.live_evaluation import evaluate_running  # late: the rest needs no ROS

    facts, outcomes = evaluate_running(
        trials,
        task=arguments.task,
        instruction=arguments.instruction,
        limit_s=arguments.limit_s,
        robot=arguments.robot,
        namespace=arguments.namespace,
    )
    return Evaluation(facts={**facts, **_choices(arguments)}, outcomes=outcomes)


def finish(arguments: argparse.Namespace, evaluations: Sequence[Evaluation]) -> None:
    """Print the tables, and write the files that were asked for."""
    lines = suites.table if arguments.suite else lambda e: table(e.conditions)
    several = len(evaluations) > 1
    compared = []
    if arguments.task == "all":
        _say(*task_table(evaluations))
    else:
        for evaluation in evaluations:
            _say(*([f"{evaluation.facts['policy']}:"] if several else []))
            _say(*lines(evaluation))
        if not arguments.recipes:
            compared = [c for pair in combinations(evaluations, 2) for c in compare(*pair)]
    _say(*comparison_lines(compared))
    recipes = []
    if arguments.recipes:
        half = len(evaluations) // 2
        recipes = compare_recipes(evaluations[:half], evaluations[half:])
        _say(*recipe_lines(recipes))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.json, evaluations, [*compared, *recipes])
        _say(f"numbers: {arguments.json}")
    if arguments.report is not None:
        for number, evaluation in enumerate(evaluations, start=1):
            folder = arguments.report / str(number) if several else arguments.report
            _say(f"report: {write_report(folder, evaluation)}")
    elif not all(o.success for e in evaluations for o in e.outcomes) and not arguments.ros:
        _say("add --report DIR to see the failures as videos")


def _say(*lines: str) -> None:
    if lines:
        print("\n".join(lines), flush=True)
