"""What a round of `improve` is made of, in simulation and on an arm with a person beside it.

Must not import ROS; `LiveSteps` is given a rig that does.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evo1_policy.command_line import tell
from evo1_policy.untrusted import read_json
from evo1_sim.rehearsals import MAX_SEED
from evo1_sim.tasks import TASKS
from evo1_training.cli.evaluation_steps import tried
from evo1_training.datasets.lerobot.contents import INFO
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.folder import open_folder
from evo1_training.datasets.reader.samples import INTERVENTION_KEY
from evo1_training.datasets.worker_pool import counting
from evo1_training.evaluation.coaching import CoachedTrial, Coaching, coach
from evo1_training.evaluation.corrections import Rule
from evo1_training.evaluation.improvement_page import draw_page, round_lines
from evo1_training.evaluation.live_coaching import (
    Ask,
    Rig,
    as_coached,
    as_evaluation,
    live_trials,
)
from evo1_training.evaluation.outcomes import Evaluation, EvaluationError, Trial, plan_trials
from evo1_training.evaluation.rollouts import Setup
from evo1_training.evaluation.workers import fitting_workers
from evo1_training.next_commands import command
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.improving import BEST, Round, improve
from evo1_training.training.rollouts import SEED
from evo1_training.training.run_folder import CONFIG

ROUND_APART = 10_000  # seeds between the scenes of two rounds


@dataclass(frozen=True, kw_only=True)
class Training:
    """How training goes on.

    Attributes:
        datasets: of old, mixed in; their frames, by folder.
        share: of an epoch that the corrections have.
        overrides: KEY=VALUE of the training.
    """

    datasets: Mapping[str, int]
    share: float
    overrides: tuple[str, ...]

    def train(self, policy: Path, datasets: Mapping[Path, int], folder: Path) -> Path:
        """See Steps."""
        from evo1_training.cli import train as training  # late: torch takes seconds
        from evo1_training.training.session import train

        old, new = sum(self.datasets.values()), sum(datasets.values())
        weight = self.share / (1 - self.share) * old / new if old else 1.0
        words = ["--single-stage", "--from", str(policy), "--name", "improved", "--runs"]
        words += [str(folder)]
        for name in (*self.datasets, *map(str, datasets)):
            words += ["--dataset", name]
        words += ["steps=600", "lr=2e-4", "warmup_steps=50", "ema=0.99", "data.holdout=0"]
        words += [f"data.intervention_weight={weight:.4g}", *self.overrides]
        options = training.build_parser().parse_intermixed_args(words)
        finished = train(training.choose_config(options, "single"), "single")
        found = (finished.folder.path / "best").resolve()
        if finished.outcome is not None and finished.outcome.interrupted:
            raise KeyboardInterrupt  # it saved; the same command goes on
        return found


@dataclass(frozen=True, kw_only=True)
class SimulatedSteps(Training):
    """The parts of a round, in simulation.

    Attributes:
        setup: whose `checkpoint` is replaced by each policy.
        disturbance: under which is corrected and tried.
        corrections: of a round.
        seed: of the first round's first scene.
        rule: when the expert takes over.
        trials: the selection scenes.
        workers: processes; 0: by cores and memory.
    """

    setup: Setup
    disturbance: str
    corrections: int
    seed: int
    rule: Rule
    trials: tuple[Trial, ...]
    workers: int

    def coach(self, policy: Path, number: int, dataset: Path) -> Sequence[CoachedTrial]:
        """See Steps."""
        asked = Coaching(
            setup=replace(self.setup, checkpoint=policy),
            disturbance=self.disturbance,
            seed=self.seed + number * ROUND_APART,
            wanted=self.corrections,
            root=dataset,
            rule=self.rule,
        )
        workers = self.workers or fitting_workers(
            len(self.trials), policy, device=self.setup.device
        )
        with tqdm(unit="trial", desc=f"round {number}: correcting", file=sys.stderr) as bar:
            return coach(asked, workers=workers, advance=counting(bar.update))

    def evaluate(self, policy: Path) -> Evaluation:
        """See Steps."""
        setup = replace(self.setup, checkpoint=policy, limit_s=30.0)
        facts: dict[str, str | int | float | None] = {
            "robot": setup.arm,
            "task": setup.task,
            "policy": str(policy),
            "seed": SEED,
        }
        return tried(setup, self.trials, facts, workers=self.workers)


@dataclass(frozen=True, kw_only=True)
class LiveSteps(Training):
    """The parts of a round on an arm, with a person beside it.

    Attributes:
        rig: the arm.
        ask: the person.
        task: its name, for the record.
        words: what the policy is told.
        wanted: trials of a round, in which the person helps where it must be.
        tried: trials of each policy, alone.
        limit_s: a trial ends then [s].
        notes: folder in which unfinished trials are noted.
    """

    rig: Rig
    ask: Ask
    task: str
    words: str
    wanted: int
    tried: int
    limit_s: float
    notes: Path

    def coach(self, policy: Path, number: int, dataset: Path) -> Sequence[CoachedTrial]:
        """See Steps."""
        from evo1_training.cli.convert import main as convert  # late: pyarrow takes a second

        self.rig.load(policy)
        note = self.notes / f"coached_{number}.json"
        trials = live_trials(
            self.rig, self.ask, note, words=self.words, count=self.wanted,
            limit_s=self.limit_s, record=True,
        )  # fmt: skip
        episodes = [trial.episode for trial in trials if trial.episode]
        if not episodes:
            raise EvaluationError(f"{note}: nothing was corrected; the policy needs no help")
        if convert([*episodes, "--to", str(dataset), "--append", "--workers", "1"]):
            raise EvaluationError(f"{dataset}: not every episode could be converted; see above")
        folder = open_folder(dataset)
        marks = read_columns(folder, [INTERVENTION_KEY])[INTERVENTION_KEY].astype(bool)
        driven = [
            int(marks[one.first_row : one.first_row + one.length].sum()) for one in folder.episodes
        ]
        if len(driven) < len(episodes) or not sum(driven):
            raise EvaluationError(
                f"{dataset}: no frame says that a person drove (evo1.intervention); take over by "
                "evo1 take-over, or a pad, while the take is recorded"
            )
        return as_coached(trials, driven)

    def evaluate(self, policy: Path) -> Evaluation:
        """See Steps."""
        self.rig.load(policy)
        name = "_".join(policy.resolve().parts[-4:])
        trials = live_trials(
            self.rig, self.ask, self.notes / f"tried_{name}.json", words=self.words,
            count=self.tried, limit_s=self.limit_s, record=False,
        )  # fmt: skip
        return as_evaluation(trials, policy, self.task)


def run_rounds(options: argparse.Namespace) -> int:
    """Make the rounds that a command line asks for; returns the exit status.

    Raises:
        TrainConfigError, EvaluationError: they cannot be made.
    """
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
