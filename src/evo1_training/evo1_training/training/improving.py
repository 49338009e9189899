"""Rounds of correction: drive and correct, train on with old and new, try, keep the better one.

Each round's folder is a complete record, and what is there is not made again:

    <out>/choices.json             what was asked; another one is refused
    <out>/index.html               the page
    <out>/best                     link to the policy that solved most
    <out>/round_0/evaluation.json  the policy that it began with, on the selection scenes
    <out>/round_1/corrections/     a LeRobot dataset; corrections.json tells every trial
    <out>/round_1/training/        the run
    <out>/round_1/evaluation.json  its policy, on the same scenes
    <out>/round_1/round.json       which of the two was kept

Must not import ROS or torch.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from evo1_policy.paths import point_link, write_whole
from evo1_policy.untrusted import read_json
from evo1_training.datasets.lerobot.contents import INFO
from evo1_training.datasets.worker_pool import changed_choice
from evo1_training.evaluation.coaching import CoachedTrial, trial_from
from evo1_training.evaluation.comparison import Comparison, compare
from evo1_training.evaluation.outcomes import Evaluation, EvaluationError
from evo1_training.evaluation.report import read_evaluations, write_json

CHOICES, TRIALS, EVALUATION, RESULT = (
    "choices.json",
    "corrections.json",
    "evaluation.json",
    "round.json",
)
DATASET, BEST = "corrections", "best"


class Steps(Protocol):
    """What a round is made of; each goes on with what an earlier attempt left."""

    def coach(self, policy: Path, number: int, dataset: Path) -> Sequence[CoachedTrial]:
        """Let a policy drive and correct it in round `number`; writes the dataset."""
        ...

    def train(self, policy: Path, datasets: Mapping[Path, int], folder: Path) -> Path:
        """Train on from a policy; the new one.

        Args:
            policy: to go on from.
            datasets: the corrections of all rounds, with how many frames a person drove.
            folder: for the run.
        """
        ...

    def evaluate(self, policy: Path) -> Evaluation:
        """Try a policy on the selection scenes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round.

    Attributes:
        number: from 1; 0 is what it began with.
        folder: of the round.
        policy: that was tried.
        evaluation: of it.
        trials: in which the policy before it was corrected.
        against_best: compared with the best one before, scene by scene.
        kept: whether it is the best one now.
    """

    number: int
    folder: Path
    policy: Path
    evaluation: Evaluation
    trials: tuple[CoachedTrial, ...] = ()
    against_best: Comparison | None = None
    kept: bool = True

    @property
    def solved(self) -> int:
        """Of the selection scenes."""
        return sum(outcome.success for outcome in self.evaluation.outcomes)


def improve(
    out: Path,
    checkpoint: Path,
    rounds: int,
    steps: Steps,
    *,
    choices: Mapping[str, Any],
    tell: Callable[[Sequence[Round]], None],
) -> list[Round]:
    """Make the rounds, or go on with those that were begun.

    Args:
        out: folder of all of them.
        checkpoint: to begin with.
        rounds: how many; more than last time adds to them.
        steps: what a round is made of.
        choices: what was asked, plain; has to be the same where a folder is gone on with.
        tell: called with the rounds so far after each of them.

    Returns:
        Round 0, the policy that it began with, and the others.

    Raises:
        EvaluationError: the folder holds rounds with other choices, or one cannot be made.
    """
    out.mkdir(parents=True, exist_ok=True)
    _check_same(out / CHOICES, {"checkpoint": str(checkpoint), **choices})
    first = out / "round_0"
    began = Round(
        number=0, folder=first, policy=checkpoint, evaluation=_evaluated(first, checkpoint, steps)
    )
    done, best = [began], began
    point_link(out / BEST, best.policy.absolute())
    tell(done)
    for number in range(1, rounds + 1):
        made = _round(out / f"round_{number}", number, done, best, steps)
        done.append(made)
        best = made if made.kept else best
        point_link(out / BEST, best.policy.absolute())
        tell(done)
    return done


def _round(folder: Path, number: int, before: Sequence[Round], best: Round, steps: Steps) -> Round:
    folder.mkdir(exist_ok=True)
    trials = _coached(folder, number, best.policy, steps)
    driven = {one.folder / DATASET: _driven(one.trials) for one in before if one.trials}
    driven[folder / DATASET] = _driven(trials)
    note = folder / RESULT
    known = read_json(note, what="result of a round") if note.is_file() else None
    policy = Path(known["policy"]) if known else None
    if policy is None:
        policy = steps.train(best.policy, driven, folder / "training")
    evaluation = _evaluated(folder, policy, steps)
    solved = sum(outcome.success for outcome in evaluation.outcomes)
    (against,) = compare(best.evaluation, evaluation)
    kept = solved > best.solved
    result = {"policy": str(policy), "kept": kept, "solved": solved, "against": asdict(against)}
    write_whole(note, json.dumps(result, indent=1) + "\n")
    return Round(
        number=number,
        folder=folder,
        policy=policy,
        evaluation=evaluation,
        trials=trials,
        against_best=against,
        kept=kept,
    )


def _coached(folder: Path, number: int, policy: Path, steps: Steps) -> tuple[CoachedTrial, ...]:
    note, dataset = folder / TRIALS, folder / DATASET
    if note.is_file():
        return tuple(map(trial_from, read_json(note, what="corrections of a round")))
    trials = tuple(steps.coach(policy, number, dataset))
    if not (dataset / INFO).is_file():
        raise EvaluationError(f"{dataset}: the corrections of round {number} are not there")
    write_whole(note, json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")
    return trials


def _driven(trials: Sequence[CoachedTrial]) -> int:
    return sum(one.driven for trial in trials for one in trial.corrections)


def _evaluated(folder: Path, policy: Path, steps: Steps) -> Evaluation:
    folder.mkdir(exist_ok=True)
    note = folder / EVALUATION
    if not note.is_file():
        write_json(note, [steps.evaluate(policy)])
    (evaluation,) = read_evaluations(note)
    return evaluation


def _check_same(note: Path, choices: Mapping[str, Any]) -> None:
    if not note.is_file():
        write_whole(note, json.dumps(choices, indent=1) + "\n")
        return
    begun = read_json(note, what="choices of an improvement")
    if why := changed_choice(begun, choices):
        raise EvaluationError(f"{note.parent}: was begun {why}, or another --out")
