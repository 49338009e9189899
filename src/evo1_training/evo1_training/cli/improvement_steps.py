"""What a round of `improve` is made of, in simulation and on an arm with a person beside it.

Must not import ROS; `LiveSteps` is given a rig that does.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from evo1_training.cli.evaluate import tried
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.folder import open_folder
from evo1_training.datasets.reader.samples import INTERVENTION_KEY
from evo1_training.datasets.worker_pool import counting
from evo1_training.evaluation.coaching import CoachedTrial, Coaching, coach
from evo1_training.evaluation.corrections import Rule
from evo1_training.evaluation.live_coaching import (
    Ask,
    Rig,
    as_coached,
    as_evaluation,
    live_trials,
)
from evo1_training.evaluation.outcomes import Evaluation, EvaluationError, Trial
from evo1_training.evaluation.rollouts import Setup
from evo1_training.evaluation.workers import fitting_workers
from evo1_training.training.rollouts import SEED

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
