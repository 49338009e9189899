"""Success in simulation while training decides which checkpoint is the best."""

import dataclasses
import json
import signal
from pathlib import Path

import pytest

from evo1_training.training.checkpoints import Progress
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.rollouts import Rollouts
from evo1_training.training.run_folder import RunFolder
from evo1_training.training.session import train
from evo1_training.training.train_config import RolloutConfig, SavingConfig


@pytest.fixture
def tried(config):
    """A run that is tried at steps 2, 4 and 6; the checkpoints of every third step stay."""
    return dataclasses.replace(
        config,
        rollouts=RolloutConfig(every=2, trials=4),
        saving=SavingConfig(every=5, keep_last=1, keep_every=3),
    )


def solves(monkeypatch, shares, cut_off=()):
    """Let a step's policy solve such a share of the scenes; a signal comes in the others."""
    seen = []

    def success(self, policy, keep_on):
        step = int(policy.parent.name.removeprefix("step_"))
        assert (policy / "model.safetensors").is_file()
        seen.append(step)
        if step in cut_off:
            signal.raise_signal(signal.SIGTERM)
        keep_on()
        if shares[step] is None:
            raise RuntimeError("no OpenGL here")
        return shares[step]

    monkeypatch.setattr(Rollouts, "success", success)
    return seen


def best(folder):
    return int((folder.path / "best").resolve().parent.name.removeprefix("step_"))


def numbers(folder):
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_most_successful_checkpoint_is_the_best_and_those_of_every_k_steps_stay(
    tried, monkeypatch
):
    seen = solves(monkeypatch, {2: 0.25, 4: 0.5, 6: 0.25})
    finished = train(tried, "stage1")
    folder = finished.folder
    assert seen == [2, 4, 6]
    assert best(folder) == 4
    assert [saved.step for saved in folder.saved()] == [3, 4, 6]
    found = [row["rollouts/success"] for row in numbers(folder) if "rollouts/success" in row]
    assert found == [0.25, 0.5, 0.25]
    assert "best: step 4, solves 50% of the scenes, held-out error" in finished.summary


def test_a_run_that_was_cut_off_within_its_trials_makes_them_when_it_goes_on(tried, monkeypatch):
    solves(monkeypatch, {2: 0.5, 4: 0.0, 6: 0.5}, cut_off=(2, 6))
    assert train(tried, "stage1").outcome.step == 2
    seen = solves(monkeypatch, {2: 0.5, 4: 0.0, 6: 0.5}, cut_off=(6,))
    assert train(tried, "stage1").outcome.interrupted == "SIGTERM"
    assert seen == [2, 4, 6]
    seen = solves(monkeypatch, {6: 0.75})
    finished = train(tried, "stage1")
    assert seen == [6]
    assert best(finished.folder) == 6
    steps = [row["step"] for row in numbers(finished.folder) if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert train(tried, "stage1").outcome is None


def test_trials_that_cannot_be_made_end_no_training(tried, monkeypatch, capsys):
    solves(monkeypatch, {2: None, 4: None, 6: None})
    finished = train(tried, "stage1")
    assert finished.outcome.step == 6
    assert finished.outcome.best_success is None
    assert "step_000002: could not be tried: no OpenGL here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([(0.3, None), (0.2, None), (0.25, None)], 1),
        ([(0.1, None), (0.3, 0.0)], 1),
        ([(0.3, 0.5), (0.1, None), (0.2, 0.5)], 2),
        ([(0.1, 0.5), (0.2, 0.5)], 0),
        ([(None, 0.5), (None, 0.5)], 0),
    ],
)
def test_success_comes_before_the_held_out_error(measured, expected):
    progress = Progress()
    for step, (error, success) in enumerate(measured):
        progress = dataclasses.replace(progress, step=step, error=None, success=None)
        if error is not None:
            progress = progress.measured(error=error)
        if success is not None:
            progress = progress.measured(success=success)
    assert progress.best_step == expected


def test_a_task_that_is_not_simulated_is_refused_before_the_first_step(config):
    rollouts = RolloutConfig(every=2, task="ironing")
    with pytest.raises(TrainConfigError, match="rollouts: no task 'ironing' for xarm6; known"):
        train(dataclasses.replace(config, rollouts=rollouts), "stage1")
    assert not RunFolder(Path(config.runs) / config.name / "stage1").saved()
