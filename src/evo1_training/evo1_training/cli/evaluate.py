"""`ros2 run evo1_training evaluate`: how often a policy does a task in simulation.

Must not import ROS, which only `--ros` needs, nor torch before there is a checkpoint to read.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from evo1_policy.cli.reading_options import add_reading_options, reading
from evo1_policy.command_line import Parser, describe, entry_point, tell
from evo1_policy.control.signals import ExecutionMode, LoopSettings
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_sim.tasks import DISTURBANCES, TASKS, all_tasks
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
from evo1_training.evaluation.rollouts import Keep, RolloutError, Setup, run_trials
from evo1_training.evaluation.workers import fitting_workers
from evo1_training.suites import evaluation as suites
from evo1_training.suites.suite import EPISODES, RENDERINGS, SUITES

_EPILOG = f"""\
examples:
  evo1 evaluate DIR                                    20 trials of the robot's first task
  evo1 evaluate DIR --trials 100 --report out/eval --json out/eval.json
  evo1 evaluate DIR --disturb all                      the table of the paper's disturbances
  evo1 evaluate DIR --task all                         the paper's four tasks, its Figure 4
  evo1 evaluate CAN POUR HAND STACK --task all         the same, a checkpoint for each task
  evo1 evaluate A B C --trials 100                     which is better: compared scene by scene
  evo1 evaluate A0 A1 A2 B0 B1 B2 --recipes            two recipes, three trainings of each
  evo1 evaluate DIR --latency-ms 200 --jitter-ms 100   likewise --camera-lag-ms
  evo1 evaluate hub:user/name --robot so100.yaml --rate 30   somebody's, of another layout
  evo1 evaluate --expert --robot so100                 the scripted expert: the task can be done
  evo1 evaluate --ros --task can_into_box              the system that runs, over its topics
  evo1 evaluate DIR --suite metaworld --tasks easy     a benchmark, by the protocol of the paper
  evo1 evaluate --suite libero_10 --server host:9000   likewise, of a policy that is served

How: each trial resets the scene with a seed of its own and runs the policy through the same loop
as on the robot (splices, limits, stop reasons), in processes side by side. The clock is simulated:
a chunk arrives --latency-ms after its frame however slow this machine is, so on the CPU a seed
gives the same result every time. A trial succeeds when the task's criterion holds (the can inside
the box, released and at rest) before --limit-s.

Seeds: --seed S tries the scenes 1000000 + 10000 S and up; demonstrations use seeds below 1000000.
Every condition of --disturb has the same seeds. With `back..` the target stands so far behind the
area in which demonstrations have it; with `up..` it stands on a block.

conditions: {", ".join(DISTURBANCES)}
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        "evo1 evaluate",
        description="Count how often a policy does a task in simulation.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("policies", nargs="*", metavar="DIR", help="Checkpoints, or hub:user/name; to compare.")
    add("--checkpoint", action="append", default=[], metavar="DIR", help="The same, by a name.")
    add("--expert", action="store_true", help="The scripted expert in its place.")
    add("--ros", action="store_true", help="The policy node that runs.")
    add("--robot", default="", help="xarm6, so100 or a robot file; else the checkpoint's.")
    add("--task", default="", help="Not given: the robot's first; all: the paper's four.")
    add("--instruction", default="", help="Not given: the task's own words.")
    add("--trials", type=int, default=20, help="Of each condition [20].")
    add("--seed", type=int, default=0, help="Which set of start states [0].")
    add("--disturb", default="none", help="One condition, several with commas, or all.")
    add("--limit-s", type=float, default=30.0, help="Time of a trial [30 s].")
    add("--workers", type=int, default=0, help="Processes; not given: by cores and free memory.")
    add("--device", default="auto", help="auto, cpu or cuda.")
    add("--latency-ms", type=float, default=100.0, help="From frame to chunk [100 ms].")
    add("--jitter-ms", type=float, default=0.0, help="By which each is more or less [0 ms].")
    add("--camera-lag-ms", type=float, default=0.0, help="Age of a picture at its stamp [0 ms].")
    add(
        "--recipes",
        action="store_true",
        help="The first half of the policies are trainings of one recipe, the others of another.",
    )
    add(
        "--execute-actions",
        type=int,
        help="Of each chunk; not given: as the checkpoint says, else half of it.",
    )
    add(
        "--mode",
        choices=[mode.value for mode in ExecutionMode],
        default=ExecutionMode.REPLACE.value,
        help="How chunks follow one another [replace].",
    )
    add(
        "--smoothing-rad",
        type=float,
        default=LoopSettings.smoothing_rad,
        help="How far an action may be moved to take noise out of a chunk that would have to be "
        f"slowed for it; 0: no smoothing [{LoopSettings.smoothing_rad:g}].",
    )
    add("--json", type=Path, metavar="FILE", help="Write every number there.")
    add("--report", type=Path, metavar="DIR", help="Write a page with videos there.")
    add("--videos", choices=get_args(Keep), default="failures", help="With --report.")
    add("--namespace", default="", help="Of the arm, with --ros.")
    _add_suite_options(parser)
    add_reading_options(parser)
    return parser


def _add_suite_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("benchmarks (scripts/setup_suites.sh installs them)")
    add = group.add_argument
    add(
        "--suite",
        choices=list(SUITES),
        help="Which; of the options above only those that name "
        "policies, workers, device and files hold then.",
    )
    add("--tasks", default=ALL, help="all, or groups, names or numbers, with commas [all].")
    add("--episodes", type=int, default=EPISODES, help=f"Of each task [{EPISODES}].")
    add("--server", metavar="HOST[:PORT]", help="Asked as the authors' client asks.")
    add(
        "--colour",
        choices=["rgb", "bgr"],
        help="That the policy learned; not given: as its layout says.",
    )
    add(
        "--rendering",
        choices=RENDERINGS,
        default=RENDERINGS[0],
        help="Of Meta-World; light: coarser shadows in a third of the time [full].",
    )


@entry_point("evaluate")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; return the exit code: 0 done, whatever the rate; 1 failed; 2 usage."""
    arguments = build_parser().parse_intermixed_args(argv)
    arguments.policies = [*arguments.checkpoint, *arguments.policies]
    # Before numpy's and torch's threads start, here and in every worker: a core for each process.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        if arguments.suite:
            evaluations = suite_evaluations(arguments)
        else:
            trials = plan_trials(arguments.trials, seed=arguments.seed, disturb=arguments.disturb)
            evaluations = _evaluations(arguments, trials)
    except (TrialError, UsageError, RolloutError) as error:
        tell("evaluate", describe(error))
        return 2
    _finish(arguments, evaluations)
    return 0


def _evaluations(arguments: argparse.Namespace, trials: Sequence[Trial]) -> list[Evaluation]:
    """One for each policy; all of them are looked at before the first trial of any."""
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


def _finish(arguments: argparse.Namespace, evaluations: Sequence[Evaluation]) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
