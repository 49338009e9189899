"""Weights that were published for another arm start a training for this one."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evo1_policy.checkpoint import (
    Checkpoint,
    CheckpointError,
    Weights,
    load_model,
    read_checkpoint,
    read_weights,
    save_checkpoint,
    shipped_checkpoint,
)
from evo1_policy.checkpoint_layouts import lerobot, official
from evo1_policy.conversion import convert_checkpoint
from evo1_policy.model.evo1 import new_model
from evo1_policy.normalization import read_norm_stats
from evo1_policy.robot_config import load_robot
from evo1_training.cli.train import main
from evo1_training.training.session import train
from evo1_training.training.starting_point import followed_architecture, open_start

sys.path.insert(0, str(Path(__file__).parent))
from swaying_arm import PUBLISHED, infer, write_dataset

WIDTHS = {"so100": (6, 6), "libero_robot": (8, 7), "metaworld_robot": (8, 4)}


@pytest.fixture(scope="module")
def model():
    return new_model(PUBLISHED, seed=5)


@pytest.fixture
def published(tmp_path, model, robot, monkeypatch):
    """Write a folder as it is published; its numbers are degrees of an arm that nobody has."""
    monkeypatch.setattr(lerobot, "preset", lambda name: PUBLISHED)
    monkeypatch.setattr(official, "_DEFAULTS", PUBLISHED)

    def write(arm, layout="official"):
        folder = tmp_path / f"{layout}_{arm}"
        stats = read_checkpoint(shipped_checkpoint("xarm6")).stats
        save_checkpoint(
            folder,
            model=model,
            stats=stats,
            interface=robot.interface,
            tokenizer_dir=None,
            layout=layout,
        )
        for name in ("evo1_ros2.json", "robot.yaml", "README.md"):
            (folder / name).unlink()
        if layout == "official":
            state, action = ({"min": [-90] * n, "max": [90] * n} for n in WIDTHS[arm])
            numbers = {arm: {"observation.state": state, "action": action}}
            (folder / "norm_stats.json").write_text(json.dumps(numbers))
        if arm == "so100":
            (folder / "config.json").rename(folder / "model_config.json")
            (folder / "config.json").write_text(json.dumps({"type": "evo1"}))
        return folder

    return write


@pytest.mark.parametrize(
    ("arm", "layout"),
    [(arm, "official") for arm in WIDTHS] + [("libero_robot", "lerobot")],
)
def test_weights_of_any_published_folder_are_read_without_robot_rate_or_units(
    published, model, arm, layout
):
    weights = read_weights(published(arm, layout))
    assert not isinstance(weights, Checkpoint)
    assert (weights.config.state_width, weights.config.action_width) == (24, 24)
    loaded = load_model(weights).state_dict()
    assert all(torch.equal(loaded[name], one) for name, one in model.state_dict().items())


def test_a_policy_of_another_arm_starts_with_its_weights_and_of_this_arm_with_its_stats(
    config, robots_dir, robot
):
    shipped = shipped_checkpoint("xarm6")
    model = followed_architecture(config.model, str(shipped))
    config = dataclasses.replace(config, model=model, start_from=str(shipped))
    assert (model.horizon, model.head.dropout) == (25, config.model.head.dropout)
    so100 = load_robot(robots_dir / "so100.yaml")
    assert type(open_start(config, so100)) is Weights
    assert isinstance(open_start(config, robot), Checkpoint)


def test_from_the_authors_so100_weights_to_a_policy_of_your_arm_by_commands(
    published, model, tmp_path, robots_dir, capsys
):
    so100 = load_robot(robots_dir / "so100.yaml")
    data, runs = write_dataset(tmp_path / "mine", so100), tmp_path / "runs"
    few = ["steps=1", "batch_size=2", "warmup_steps=0"]
    quick = ["data.workers=0", "device=cpu", "precision=fp32", "watching.open_loop_frames=2"]
    quick += ["watching.plots=false", "watching.tensorboard=false"]
    folder = published("so100")
    begun = ["--stage", "1", "--from", str(folder), "--dataset", str(data), "--runs", str(runs)]
    assert main([*begun, *few, *quick]) == 1
    assert "tokenizer=, launch with tokenizer:= FOLDER or hub:" in capsys.readouterr().err
    begun.append(f"tokenizer={shipped_checkpoint('xarm6') / 'tokenizer'}")
    assert main([*begun, *few, *quick]) == 0
    assert "its weights alone" in capsys.readouterr().err
    first = runs / "mine" / "stage1" / "best"
    after, before = load_model(read_checkpoint(first)).state_dict(), model.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in before if n.startswith("embedder."))
    changed = "action_head.mlp_head.fc2.linear.weight"
    assert after[changed].shape == before[changed].shape
    assert not torch.equal(after[changed], before[changed])
    assert main(["--stage", "2", "--runs", str(runs), *few, *quick]) == 0
    assert infer(runs / "mine" / "stage2" / "best", so100).shape == (5, so100.width)
    stats = read_checkpoint(first).stats
    assert (
        np.abs(stats.action.max - np.array(so100.home)).max() < 1.0
    )  # of these data, in rad: not 90


def test_a_policy_of_relative_actions_is_trained_goes_on_and_is_refused_elsewhere(config, robot):
    relative = dataclasses.replace(config, action_space="joint_relative")
    first = train(relative, "stage1").folder
    last = first.path / "last"
    stats = read_norm_stats(last / "norm_stats.json")
    assert (stats.action_space, stats.absolute_joints) == ("joint_relative", (6,))
    assert np.isfinite(infer(last, robot)).all()
    assert "action space: joint_relative" in (last / "README.md").read_text()
    second = dataclasses.replace(relative, start_from=str(last))
    kept = (train(second, "stage2").folder.path / "last" / "norm_stats.json").read_text()
    assert kept == (last / "norm_stats.json").read_text()
    with pytest.raises(CheckpointError, match="lerobot layout has no word for action_space"):
        convert_checkpoint(last, first.path / "out", "lerobot")
    joint = dataclasses.replace(config, name="joint", start_from=str(last))
    made = read_norm_stats(train(joint, "stage1").folder.path / "last" / "norm_stats.json")
    assert made.action_space == "joint"
    assert made.action.max[0] != stats.action.max[0]
