"""A log book of trials in the real world: order drawn by lot, names hidden, scored by a person.

One JSON line for each thing that happened, only ever added and synced, so that a kill costs at
most the line that was being written. The same report as `evaluate` comes of it. Must not import
ROS or torch.
"""

import base64
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from evo1_policy.command_line import printable
from evo1_policy.untrusted import UntrustedError, parse_json, read_text
from evo1_training.evaluation.comparison import Comparison, compare, comparison_lines
from evo1_training.evaluation.outcomes import (
    SOLVED,
    Evaluation,
    EvaluationError,
    Trial,
    TrialOutcome,
    table,
)

NAMES = ("amber", "birch", "coral", "delta", "ember", "fjord", "grove", "heron")
_MOST_BYTES = 64 << 20
FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One trial that shall be made: its number from 1, a hidden name, condition and scene."""

    number: int
    name: str
    condition: str
    scene: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a log book: each policy, each pair of them, and both in lines for people."""

    evaluations: tuple[Evaluation, ...]
    compared: tuple[Comparison, ...]
    lines: tuple[str, ...]


class LogBook:
    """A log book on disk.

    Args:
        path: the file.

    Raises:
        EvaluationError: it cannot be read, or is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = _lines(path)
        if not lines or lines[0].get("what") != "plan":
            raise EvaluationError(f"{path}: no log book; begin one: evo1 trials new {path} ...")
        try:
            self._plan = lines[0]
            self.order = tuple(Planned(**one) for one in self._plan["order"])
            self._scores = {int(one["number"]): one for one in lines if one["what"] == "score"}
            self.opened = any(one["what"] == "unblind" for one in lines)
        except (LookupError, TypeError, ValueError) as error:
            raise EvaluationError(f"{path}: damaged log book: {error!r}") from error

    @classmethod
    def begin(
        cls,
        path: Path,
        *,
        policies: Sequence[str],
        conditions: Sequence[str],
        scenes: int,
        facts: Mapping[str, str],
        seed: int | None = None,
    ) -> "LogBook":
        """Draw the order and begin the file.

        Every scene under every condition is a block in which all policies come, in an order of
        their own: what drifts over the day meets all of them alike.

        Args:
            path: of the file, which must not be there.
            policies: two to eight checkpoints.
            conditions: names that people know, such as 'none'.
            scenes: start states of each condition, to be laid out alike for every policy.
            facts: task, robot and the like, for the report.
            seed: of the lot; None: nobody knows it.

        Raises:
            EvaluationError: the file is there, or there is nothing to compare.
        """
        if not 2 <= len(set(policies)) == len(policies) <= len(NAMES):
            raise EvaluationError(f"expected 2 to {len(NAMES)} different policies")
        if scenes < 1 or not conditions or len(set(conditions)) < len(conditions):
            raise EvaluationError("expected a scene or more, and different conditions")
        lot = random.Random(seed)
        names = lot.sample(NAMES, len(policies))
        blocks = [(scene, condition) for scene in range(1, scenes + 1) for condition in conditions]
        lot.shuffle(blocks)
        order: list[dict[str, Any]] = []
        for scene, condition in blocks:
            for name in lot.sample(names, len(names)):
                number = len(order) + 1
                order.append(
                    {"number": number, "name": name, "condition": condition, "scene": scene}
                )
        sealed = json.dumps(dict(zip(names, policies, strict=True)))
        line = {
            "what": "plan",
            "facts": dict(facts),
            "order": order,
            # No lock, only a cover: nobody shall read it by the way.
            "sealed": base64.b64encode(sealed.encode()).decode(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.touch(exist_ok=False)
        except FileExistsError as error:
            raise EvaluationError(
                f"{path}: is there already; go on with it, or name another"
            ) from error
        _append(path, line)
        return cls(path)

    @property
    def left(self) -> tuple[Planned, ...]:
        """Trials that nobody scored, in their order."""
        return tuple(one for one in self.order if one.number not in self._scores)

    @property
    def scored(self) -> tuple[Mapping[str, Any], ...]:
        """What was written down, by number; of the policies not even the hidden names."""
        trials = [(one, self._scores.get(one.number)) for one in self.order]
        return tuple(
            {"condition": one.condition, "scene": one.scene, **score}
            for one, score in trials
            if score is not None
        )

    @property
    def facts(self) -> Mapping[str, str]:
        """The task and the like."""
        return {"task": "", **self._plan["facts"]}

    def told(self, planned: Planned) -> list[str]:
        """What a person does for a trial; the policy by a link of its hidden name.

        Raises:
            OSError: the link cannot be made.
        """
        folder = self._path.absolute().with_suffix(".policies")
        folder.mkdir(exist_ok=True)
        link = folder / planned.name
        if not link.is_symlink():
            link.symlink_to(self.checkpoint(planned.name))
        return [
            f"trial {planned.number} of {len(self.order)}: policy '{planned.name}', condition "
            f"{printable(planned.condition)}, scene {planned.scene} (laid out alike for every "
            "policy)",
            f"  checkpoint:={link}",
        ]

    def checkpoint(self, name: str) -> str:
        """What hides behind a name; for what starts it, not for eyes."""
        return str(self._sealed()[name])

    def score(
        self, number: int, *, solved: bool, seconds: float, notes: str = "", video: str = ""
    ) -> None:
        """Write down what came of a trial; a later score of the same one counts.

        Raises:
            EvaluationError: no such trial, or the names are known already.
        """
        if self.opened:
            raise EvaluationError(f"{self._path}: the names are known; scoring is over")
        if not 1 <= number <= len(self.order):
            raise EvaluationError(f"no trial {number}; there are 1 to {len(self.order)}")
        line = {
            "what": "score",
            "number": number,
            "solved": solved,
            "seconds": seconds,
            "notes": notes,
            "video": video,
        }
        _append(self._path, line)
        self._scores[number] = line

    def unblind(self) -> list[Evaluation]:
        """Say which policy was which, and what came of each; from here on nothing is scored.

        Only scenes in which every policy was scored count: the others cannot be paired.

        Raises:
            EvaluationError: there is none.
        """
        names = self._sealed()
        done: dict[tuple[str, int], dict[str, TrialOutcome]] = {}
        for planned in self.order:
            score = self._scores.get(planned.number)
            if score is not None:
                of_scene = done.setdefault((planned.condition, planned.scene), {})
                of_scene[planned.name] = _outcome(planned, score, str(self.facts["task"]))
        whole = [of for of in done.values() if len(of) == len(names)]
        if not whole:
            raise EvaluationError(f"{self._path}: no scene in which every policy was scored yet")
        if not self.opened:
            _append(self._path, {"what": "unblind"})
            self.opened = True
        return [
            Evaluation(
                facts={**self.facts, "policy": str(policy), "how": "real trials, blinded"},
                outcomes=tuple(of[name] for of in whole),
            )
            for name, policy in sorted(names.items(), key=lambda item: str(item[1]))
        ]

    def report(self, *, early: bool = False) -> Report:
        """Tell the names and which policy is better; ends the scoring, see unblind.

        Args:
            early: though trials are left.

        Raises:
            EvaluationError: trials are left, or none can be paired.
        """
        if self.left and not (early or self.opened):
            raise EvaluationError(
                f"{len(self.left)} trials are left, and to look now and go on would spoil them; "
                "score them, or end it here: --early"
            )
        evaluations = self.unblind()
        compared = [one for pair in combinations(evaluations, 2) for one in compare(*pair)]
        lines = [
            line
            for one in evaluations
            for line in (f"{one.facts['policy']}:", *table(one.conditions))
        ]
        return Report(
            evaluations=tuple(evaluations),
            compared=tuple(compared),
            lines=(*lines, *comparison_lines(compared)),
        )

    def _sealed(self) -> Mapping[str, str]:
        names: Mapping[str, str] = json.loads(base64.b64decode(self._plan["sealed"]))
        return names


def _outcome(planned: Planned, score: Mapping[str, Any], task: str) -> TrialOutcome:
    solved = bool(score["solved"])
    return TrialOutcome(
        trial=Trial(disturbance=planned.condition, seed=planned.scene),
        success=solved,
        seconds=float(score["seconds"]),
        ended=SOLVED if solved else FAILED,
        detail=str(score["notes"]),
        instruction=task,
        video=str(score["video"]),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log book; a last one that was cut off is none."""
    try:
        text = read_text(path, what="log book", max_bytes=_MOST_BYTES)
        whole = text[: text.rfind("\n") + 1].splitlines()
        found = [parse_json(line, source=str(path)) for line in whole if line]
    except UntrustedError as error:
        raise EvaluationError(str(error)) from error
    if not all(isinstance(line, dict) and "what" in line for line in found):
        raise EvaluationError(f"{path}: no log book")
    return found


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line and wait until it is on the disk; what a kill left half is cut off before."""
    with path.open("r+b") as file:
        data = file.read()
        file.truncate(file.seek(data.rfind(b"\n") + 1))
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
