"""Trials with a person beside the policy, as a dataset."""

import json

import numpy as np
import pytest

from evo1_policy.checkpoint import shipped_checkpoint
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.folder import open_folder
from evo1_training.evaluation import coaching
from evo1_training.evaluation.coaching import Coaching, coach
from evo1_training.evaluation.corrections import Rule
from evo1_training.evaluation.outcomes import EvaluationError
from evo1_training.evaluation.pilots import ExpertPilot
from evo1_training.evaluation.rollouts import Setup

pytestmark = pytest.mark.gl


class Still(ExpertPilot):
    """A policy that stays where it is."""

    def begin(self, world, instruction):
        self._plan, self._next = [world.targets], 0


def asked(root, **what):
    text = (shipped_checkpoint("xarm6") / "robot.yaml").read_text()
    setup = Setup(arm="xarm6", task="can_into_box", robot_text=text, limit_s=20.0)
    what = {"rule": Rule(patience_s=0.2, lead_s=0.5, most=1), "wanted": 1, "seed": 500_000, **what}
    return Coaching(setup=setup, disturbance="none", root=root, **what)


def test_what_a_person_drove_is_marked_and_what_led_to_it_is_the_policys(tmp_path, monkeypatch):
    monkeypatch.setattr(coaching, "make_pilot", lambda setup: Still())
    (trial,) = coach(asked(tmp_path / "data"), workers=1, advance=lambda count: None)
    assert [one.why for one in trial.corrections] == ["stuck"]
    assert not trial.solved  # given up at the second time; what was lifted was well done
    folder = open_folder(tmp_path / "data")
    assert [e.length for e in folder.episodes] == [one.frames for one in trial.corrections]
    marks = read_columns(folder, ["evo1.intervention"])["evo1.intervention"].astype(bool)
    for episode, one in zip(folder.episodes, trial.corrections, strict=True):
        of = marks[episode.first_row : episode.first_row + episode.length]
        lead = one.frames - one.driven
        assert 5 <= lead <= 15
        np.testing.assert_array_equal(of, np.arange(one.frames) >= lead)
    assert not (tmp_path / "data" / ".work").exists()


def test_a_trial_that_stands_in_the_work_folder_is_not_made_again(tmp_path, monkeypatch):
    work = tmp_path / "data" / ".work" / "0500000"
    work.mkdir(parents=True)
    trial = {"seed": 500_000, "solved": True, "detail": "from before", "corrections": []}
    (work / "trial.json").write_text(json.dumps(trial))
    monkeypatch.setattr(coaching, "TRIALS_EACH", 1)
    with pytest.raises(EvaluationError, match=r"no correction: 1 solved .* from before"):
        coach(asked(tmp_path / "data", wanted=1), workers=1, advance=lambda count: None)
