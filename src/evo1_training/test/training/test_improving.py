"""Rounds of correction: what is kept, what is mixed, and that a killed one goes on."""

import json
from pathlib import Path

import pytest

from evo1_training.evaluation.coaching import CoachedTrial, Correction
from evo1_training.evaluation.improvement_page import draw_page, round_lines
from evo1_training.evaluation.outcomes import Evaluation, EvaluationError, Trial, TrialOutcome
from evo1_training.training.improving import improve

CORRECTION = Correction(
    why="astray", at_s=3.5, seconds=2.0, tool=(0.4, 0.1, 0.2), thing=(0.5, 0.1, 0.03),
    frames=100, driven=60,
)  # fmt: skip


class Killed(BaseException):
    """Stands for SIGKILL between two steps."""


class FakeSteps:
    """Policies that solve as many of ten scenes as they are told to."""

    def __init__(self, solves, killed_at=""):
        self.solves, self.killed_at, self.called = solves, killed_at, []

    def _note(self, call):
        self.called.append(call)
        if call.split(" ")[0] == self.killed_at:
            raise Killed

    def coach(self, policy, number, dataset):
        self._note(f"coach {policy.name} {number}")
        (dataset / "meta").mkdir(parents=True)
        (dataset / "meta" / "info.json").write_text("{}")
        return [CoachedTrial(seed=number, solved=True, detail="", corrections=(CORRECTION,))]

    def train(self, policy, datasets, folder):
        self._note(f"train {policy.name} {sorted(datasets.values())}")
        made = folder.parent / f"policy_{len(datasets)}"
        made.mkdir(exist_ok=True)
        return made

    def evaluate(self, policy):
        self._note(f"evaluate {policy.name}")
        outcomes = tuple(
            TrialOutcome(
                trial=Trial(disturbance="none", seed=1_010_000 + k),
                success=k < self.solves[policy.name],
                seconds=1.0,
                ended="solved" if k < self.solves[policy.name] else "time_up",
                detail="",
                instruction="put it there",
            )
            for k in range(10)
        )
        return Evaluation(facts={"policy": policy.name}, outcomes=outcomes)


def run(out, steps, rounds=2, **choices):
    return improve(
        out, Path("start"), rounds, steps, choices={"task": "t", **choices}, tell=lambda r: None
    )


def test_the_better_policy_is_kept_and_all_corrections_are_mixed(tmp_path):
    steps = FakeSteps({"start": 5, "policy_1": 5, "policy_2": 8})
    rounds = run(tmp_path, steps)
    assert [one.solved for one in rounds] == [5, 5, 8]
    assert [one.kept for one in rounds] == [True, False, True]
    assert steps.called == [
        "evaluate start",
        "coach start 1",
        "train start [60]",
        "evaluate policy_1",
        "coach start 2",
        "train start [60, 60]",
        "evaluate policy_2",
    ]
    assert (tmp_path / "best").resolve().name == "policy_2"
    assert json.loads((tmp_path / "round_1/round.json").read_text())["kept"] is False
    against = rounds[2].against_best
    assert (against.only_second, against.only_first) == (3, 0)


@pytest.mark.parametrize("step", ["coach", "train", "evaluate"])
def test_a_killed_one_goes_on_with_what_is_there(tmp_path, step):
    solves = {"start": 5, "policy_1": 7}
    with pytest.raises(Killed):
        run(tmp_path, FakeSteps(solves, killed_at=step), rounds=1)
    steps = FakeSteps(solves)
    assert run(tmp_path, steps, rounds=1)[1].kept
    assert ("evaluate start" in steps.called) == (step == "evaluate")
    assert ("coach start 1" in steps.called) == (step != "train")
    again = FakeSteps(solves)
    assert [one.solved for one in run(tmp_path, again, rounds=1)] == [5, 7]
    assert again.called == []


def test_other_choices_in_the_same_folder_are_refused(tmp_path):
    run(tmp_path, FakeSteps({"start": 5}), rounds=0)
    with pytest.raises(EvaluationError, match="was begun with task t, now pour is asked for"):
        run(tmp_path, FakeSteps({}), rounds=0, task="pour")


def test_the_page_and_the_lines_tell_rounds_intervals_and_places(tmp_path, monkeypatch):
    monkeypatch.setattr("evo1_training.evaluation.improvement_page.SHEETS", 0)
    rounds = run(tmp_path, FakeSteps({"start": 5, "policy_1": 8}), rounds=1)
    assert round_lines(rounds)[:2] == [
        "round 0: 5/10 solved (24% to 76%)",
        "round 1: 8/10 solved (49% to 94%); 1 corrections (astray 1) of 2 s in 1 trials, "
        "0 solved alone; kept",
    ]
    page = draw_page(tmp_path, rounds, title="t, none").read_text()
    assert 'cx="350.0" cy="280.0"' in page
    assert "seed 1: astray at 3.5 s" in page
