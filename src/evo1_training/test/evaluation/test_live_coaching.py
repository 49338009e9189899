"""What a person beside an arm is asked, and what is kept of what it says."""

import json

import pytest

from evo1_training.evaluation.live_coaching import as_coached, as_evaluation, live_trials


class FakeRig:
    """Writes down what it is asked; every kept take is a folder of the next number."""

    def __init__(self):
        self.calls = []

    def begin(self, words):
        self.calls.append(f"begin {words}")

    def drive(self, words, limit_s):
        self.calls.append(f"drive {limit_s:g}")

    def end(self, *, keep):
        self.calls.append(f"end {keep}")
        return f"/episodes/{self.calls.count('end True')}" if keep else None


def person(*says):
    said = iter(says)

    def ask(question):
        if "lay out" in question:
            return ""
        answer = next(said)
        if answer == "ctrl-c":
            raise KeyboardInterrupt
        return answer

    return ask


def trials(tmp_path, rig, ask, *, count=3, record=True):
    note = tmp_path / "note.json"
    return live_trials(rig, ask, note, words="go", count=count, limit_s=9.0, record=record)


def test_only_takes_in_which_a_person_helped_are_kept_and_a_typo_is_asked_again(tmp_path):
    rig = FakeRig()
    done = trials(tmp_path, rig, person("s", "x", "C", "f"))
    assert [(one.scene, one.outcome, one.episode) for one in done] == [
        (1, "s", ""), (2, "c", "/episodes/1"), (3, "f", ""),
    ]  # fmt: skip
    assert rig.calls[:3] == ["begin go", "drive 9", "end False"]
    coached = as_coached(done, [42])
    assert [trial.solved for trial in coached] == [True, True, False]
    assert [c.driven for trial in coached for c in trial.corrections] == [42]


def test_ctrl_c_discards_the_take_and_the_same_scene_comes_again(tmp_path):
    rig = FakeRig()
    with pytest.raises(KeyboardInterrupt):
        trials(tmp_path, rig, person("s", "ctrl-c"))
    assert rig.calls[-1] == "end False"
    assert len(json.loads((tmp_path / "note.json").read_text())) == 1
    done = trials(tmp_path, FakeRig(), person("a", "c", "s"))
    assert [(one.scene, one.outcome) for one in done] == [(1, "s"), (2, "c"), (3, "s")]


def test_without_a_recorder_only_what_was_solved_alone_counts(tmp_path):
    rig = FakeRig()
    done = trials(tmp_path, rig, person("s", "c", "f"), record=False)
    assert rig.calls == ["drive 9"] * 3
    evaluation = as_evaluation(done, tmp_path, "can")
    assert [outcome.success for outcome in evaluation.outcomes] == [True, False, False]
    assert evaluation.conditions[0].successes == 1
