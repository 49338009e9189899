"""`improve`: rounds of correction that make a policy better. Must not import ROS."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evo1_policy.command_line import Parser, entry_point, tell
from evo1_policy.untrusted import read_json
from evo1_sim.rehearsals import MAX_SEED
from evo1_sim.tasks import DISTURBANCES, TASKS
from evo1_training.cli.improvement_steps import ROUND_APART, LiveSteps, SimulatedSteps
from evo1_training.datasets.lerobot.contents import INFO
from evo1_training.evaluation.corrections import Rule
from evo1_training.evaluation.improvement_page import draw_page, round_lines
from evo1_training.evaluation.outcomes import plan_trials
from evo1_training.evaluation.rollouts import Setup
from evo1_training.next_commands import command
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.improving import BEST, Round, improve
from evo1_training.training.rollouts import SEED
from evo1_training.training.run_folder import CONFIG

_FIRST_SEED = 500_000  # of scenes to correct in; demonstrations begin at 0
_DESCRIPTION = """\
Make a policy better by corrections, in rounds. In each one

  1. the policy drives in simulation; the scripted expert plays the person beside it: it takes over
     where the state leaves what it would have reached, and hands back,
  2. what was corrected and what led to it is kept as a dataset (`evo1.intervention`),
  3. training goes on from the policy with old and new data mixed,
  4. both are tried on the same scenes, and the one that solved more is kept.

Whatever stops it: the same command goes on. The page is index.html in --out.
"""
_EPILOG = """\
when the person takes over
  tool and thing together are more than 6 cm from the expert's own course for 0.3 s (astray), the
  policy gets no further along it for 4 s (stuck), or the arm was stopped for good. It hands back
  when it has lifted the thing, or solves the task where the policy held it already.

examples
  evo1 improve --checkpoint DIR --task can_into_box --dataset ~/evo1_datasets/can
  evo1 improve --checkpoint DIR --task can_into_box --condition background --rounds 3
  evo1 improve ... --demonstrations    as many full demonstrations in place of corrections
  evo1 improve --ros --checkpoint DIR --task can_into_box   on an arm: asks at each trial
  evo1 improve ... steps=1200 lr=1e-4  choices of the training; see evo1 train --help
"""


@entry_point("improve")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_intermixed_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    problem = _problem(options)
    if problem:
        tell("improve", problem)
        return 2
    out = options.out.expanduser()
    checkpoint = Path(options.checkpoint).expanduser().resolve()
    setup = _setup(options, checkpoint)
    training = {
        "datasets": _old_data(options.dataset, checkpoint),
        "share": options.share,
        "overrides": tuple(options.choices),
    }
    if not options.ros:
        return _rounds(options, checkpoint, setup, _simulated(options, setup, training))
    from evo1_training.ros.live_cell import LiveCell  # late: the rest needs no ROS
    from evo1_training.ros.live_corrections import LiveRig

    notes = out / "notes"
    notes.mkdir(parents=True, exist_ok=True)
    with LiveCell(namespace=options.namespace, timeout_s=15.0) as cell:
        steps = LiveSteps(
            rig=LiveRig(cell, options.episodes.expanduser()),
            ask=input,
            task=setup.task,
            words=_words(options, setup),
            wanted=options.corrections,
            tried=options.trials,
            limit_s=options.limit_s,
            notes=notes,
            **training,
        )
        return _rounds(options, checkpoint, setup, steps)


def _rounds(
    options: argparse.Namespace, checkpoint: Path, setup: Setup, steps: SimulatedSteps | LiveSteps
) -> int:
    out = options.out.expanduser()

    def show(rounds: Sequence[Round]) -> None:
        print("\n".join(round_lines(rounds[-1:])), flush=True)
        draw_page(out, rounds, title=f"{setup.task}, {options.condition}")

    choices = {
        "task": setup.task,
        "condition": options.condition,
        "corrections": options.corrections,
        "demonstrations": options.demonstrations,
        "own": options.own,
        "ros": options.ros,
        "datasets": list(steps.datasets),
        "trials": options.trials,
        "seed": options.seed,
        "share": steps.share,
        "overrides": list(steps.overrides),
    }
    done = improve(out, checkpoint, options.rounds, steps, choices=choices, tell=show)
    best = out / BEST
    print(f"page: {out / 'index.html'}; the best policy: {best}")
    if not any(one.kept for one in done[1:]):
        print("no round was better; more corrections, or other choices of training: --help")
        return 0
    if options.ros:
        book = out / "trials.jsonl"
        print("next, with hidden names:")
        names = ["--policy", done[0].policy, "--policy", best]
        print("  " + command("trials", "new", book, *names, "--task", setup.task))
        return 0
    words = ["--task", setup.task, "--disturb", options.condition, "--trials", "100"]
    numbers = out / "unseen.json"
    print("next, on scenes that chose nothing:")
    print("  " + command("evaluate", done[0].policy, best, *words, "--json", numbers))
    print("  " + command("promote", best, "--evaluation", numbers))
    return 0


def _problem(options: argparse.Namespace) -> str:
    """What of the numbers is wrong; '' for nothing."""
    limits = {
        "rounds": (1, 20),
        "corrections": (1, 500),
        "trials": (2, 1000),
        "seed": (0, MAX_SEED - 21 * ROUND_APART),
        "workers": (0, 1000),
    }
    for name, (low, high) in limits.items():
        if not low <= getattr(options, name) <= high:
            return f"--{name} {getattr(options, name)}: expected {low} to {high}"
    if not 0 < options.share < 1:
        return f"--share {options.share:g}: expected more than 0 and less than 1"
    return ""


def _setup(options: argparse.Namespace, checkpoint: Path) -> Setup:
    from evo1_policy.checkpoint import read_checkpoint  # late: torch takes seconds to import

    robot = read_checkpoint(checkpoint).robot
    if robot is None:
        raise TrainConfigError(f"{checkpoint}: has no robot; a benchmark's policy is trained on")
    task = options.task or next((task.name for task in TASKS.get(robot.name, ())), "")
    setup = Setup(
        arm=robot.name, task=task, checkpoint=checkpoint, robot_text=robot.text,
        device=options.device, latency_ms=options.latency_ms, limit_s=45.0, keep="none",
    )  # fmt: skip
    if not options.ros:
        setup.check()
    return setup


def _words(options: argparse.Namespace, setup: Setup) -> str:
    """What the policy is told on an arm: as given, or the task's own words."""
    known = {task.name: task.instruction for task in TASKS.get(setup.arm, ())}
    words = options.instruction or known.get(setup.task, "")
    if not words:
        raise TrainConfigError(f"--task {setup.task}: its words are unknown; say --instruction")
    return str(words)


def _simulated(
    options: argparse.Namespace, setup: Setup, training: dict[str, Any]
) -> SimulatedSteps:
    return SimulatedSteps(
        setup=setup,
        disturbance=options.condition,
        corrections=options.corrections,
        seed=options.seed,
        rule=Rule(at_once=options.demonstrations, own=options.own),
        trials=plan_trials(options.trials, seed=SEED, disturb=options.condition),
        workers=options.workers,
        **training,
    )


def _old_data(given: Sequence[str], checkpoint: Path) -> dict[str, int]:
    """What the policy learned from, with frames: as told, or as its run says."""
    names = list(given)
    run = checkpoint.parents[2] / CONFIG if len(checkpoint.parents) > 2 else None
    if not names and run is not None and run.is_file():
        from evo1_training.training.run_folder import RunFolder

        names = list(RunFolder(run.parent).config().data.datasets)
    if not names:
        raise TrainConfigError(
            f"{checkpoint}: lies in no run, so what it learned from is unknown; name it with "
            "--dataset DIR, which keeps it from forgetting (evo1 rehearse and convert make some)"
        )
    folders = [Path(name).expanduser().resolve() for name in names]
    frames: dict[str, Any] = {
        str(folder): read_json(folder / INFO, what="facts of a dataset")["total_frames"]
        for folder in folders
    }
    return {name: int(count) for name, count in frames.items()}


def _parser() -> argparse.ArgumentParser:
    parser = Parser("evo1 improve", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("choices", metavar="KEY=VALUE", nargs="*", help="of the training, such as steps=1200")
    add("--checkpoint", required=True, metavar="DIR", help="the policy to begin with")
    add("--task", default="", help="not given: the robot's first")
    add("--condition", default="none", choices=list(DISTURBANCES), help="of the scene [none]")
    add("--rounds", type=int, default=3, metavar="N", help="[3]; more later go on")
    add("--corrections", type=int, default=20, metavar="N", help="of a round [20]")
    add("--demonstrations", action="store_true", help="full ones in place of corrections")
    add("--own", action="store_true", help="keep trials that the policy solves alone, too")
    add("--dataset", action="append", default=[], metavar="DIR", help="what it learned from; "
        "not given: as its run says")  # fmt: skip
    add("--share", type=float, default=0.5, help="of an epoch that the corrections have [0.5]")
    add("--trials", type=int, default=50, help=f"selection scenes, of evaluate --seed {SEED} [50]")
    add("--seed", type=int, default=_FIRST_SEED, help="of the first scene to correct in")
    add("--out", type=Path, default=Path("evo1_improved"), metavar="DIR", help="all of it")
    add("--latency-ms", type=float, default=100.0, help="from frame to chunk [100 ms]")
    add("--device", default="auto", help="of the trials: auto, cpu or cuda")
    add("--workers", type=int, default=0, help="processes; not given: by cores and free memory")
    live = parser.add_argument_group("on an arm, with a person beside it")
    add = live.add_argument
    add("--ros", action="store_true", help="the system that runs; --corrections are trials then")
    add("--instruction", default="", help="what the policy is told; not given: the task's words")
    add("--limit-s", type=float, default=60.0, help="time of a trial [60 s]")
    add("--episodes", type=Path, default=Path("~/evo1_episodes"), help="the recorder's folder")
    add("--namespace", default="", help="of the arm")
    return parser


if __name__ == "__main__":
    sys.exit(main())
