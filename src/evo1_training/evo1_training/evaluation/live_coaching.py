"""Rounds of correction on an arm with a person beside it: who is asked what, and what is kept.

Must not import ROS or torch; ros/live_corrections.py is the arm.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from evo1_policy.paths import write_whole
from evo1_policy.untrusted import read_json
from evo1_training.evaluation.coaching import CoachedTrial, Correction
from evo1_training.evaluation.outcomes import SOLVED, Evaluation, Trial, TrialOutcome

ALONE, CORRECTED, LOST, AGAIN = "s", "c", "f", "a"
_WHAT = "what came of it: s solved alone, c solved with your help, f failed, a again: "
_PERSON = "a person"

Ask = Callable[[str], str]  # a question -> what a person types


class Rig(Protocol):
    """The arm, its policy and its recorder."""

    def load(self, policy: Path) -> None:
        """Wait until the node runs this policy."""
        ...

    def begin(self, words: str) -> None:
        """Begin a take."""
        ...

    def drive(self, words: str, limit_s: float) -> None:
        """Let the policy drive until it ends, a person says enough, or the time is over."""
        ...

    def end(self, *, keep: bool) -> Path | None:
        """End the take; the episode's folder where it was kept."""
        ...


@dataclass(frozen=True, kw_only=True)
class LiveTrial:
    """One trial: its scene, a person's word for it, how long it took [s], and its episode."""

    scene: int
    outcome: str
    seconds: float
    episode: str = ""


def live_trials(
    rig: Rig, ask: Ask, note: Path, *, words: str, count: int, limit_s: float, record: bool
) -> list[LiveTrial]:
    """Make trials with a person, or go on where they were left.

    Args:
        rig: the arm.
        ask: the person.
        note: file of the trials so far.
        words: what the policy is told.
        count: how many scenes; they are laid out alike for every policy.
        limit_s: a trial ends then [s].
        record: whether takes are recorded; those with a person's help are kept.
    """
    done = [LiveTrial(**one) for one in _noted(note)]
    while len(done) < count:
        scene = len(done) + 1
        ask(f"trial {scene} of {count}: lay out scene {scene}, clear the arm, then Enter: ")
        if record:
            rig.begin(words)
        began = time.monotonic()
        try:
            rig.drive(words, limit_s)
            seconds, said = time.monotonic() - began, ""
            while said not in (ALONE, CORRECTED, LOST, AGAIN):
                said = ask(_WHAT).strip().lower()
        except BaseException:
            if record:
                rig.end(keep=False)
            raise
        episode = rig.end(keep=said == CORRECTED) if record else None
        if said != AGAIN:
            kept = str(episode or "")
            done.append(
                LiveTrial(scene=scene, outcome=said, seconds=round(seconds, 2), episode=kept)
            )
            write_whole(note, json.dumps([asdict(one) for one in done], indent=1) + "\n")
    return done


def as_evaluation(trials: Sequence[LiveTrial], policy: Path, task: str) -> Evaluation:
    """What people said of a policy, as an evaluation: only what it solved alone counts."""
    outcomes = tuple(
        TrialOutcome(
            trial=Trial(disturbance="none", seed=trial.scene),
            success=trial.outcome == ALONE,
            seconds=trial.seconds,
            ended=SOLVED if trial.outcome == ALONE else "failed",
            detail="with a person's help" if trial.outcome == CORRECTED else "",
            instruction=task,
        )
        for trial in trials
    )
    return Evaluation(
        facts={"task": task, "policy": str(policy), "how": "a person beside the arm"},
        outcomes=outcomes,
    )


def as_coached(trials: Sequence[LiveTrial], driven: Sequence[int]) -> list[CoachedTrial]:
    """What was corrected, for the record of a round.

    Args:
        trials: of the round.
        driven: frames that a person drove, of each kept episode in their order.
    """
    frames = iter(driven)
    found = []
    for trial in trials:
        corrections: tuple[Correction, ...] = ()
        if trial.episode:
            corrections = (
                Correction(
                    why=_PERSON, at_s=0.0, seconds=0.0, tool=(), thing=(), frames=0,
                    driven=next(frames),
                ),
            )  # fmt: skip
        solved = trial.outcome in (ALONE, CORRECTED)
        found.append(
            CoachedTrial(
                seed=trial.scene, solved=solved, detail=trial.episode, corrections=corrections
            )
        )
    return found


def _noted(note: Path) -> list[dict[str, Any]]:
    return list(read_json(note, what="trials with a person")) if note.is_file() else []
