import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from evo1_policy import checkpoint as checkpoints
from evo1_policy.checkpoint import (
    CheckpointError,
    load_model,
    read_checkpoint,
    save_checkpoint,
    shipped_checkpoint,
)
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.evo1 import new_model
from evo1_policy.normalization import FeatureStats, NormStats
from evo1_policy.robot_config import load_robot

sys.path.insert(0, str(Path(__file__).parent / "model"))
from micro import MICRO

CONFIG = Evo1Config.from_dict(MICRO.to_dict() | {"action_width": 8, "state_width": 8})


def stats_of(robot, width=None):
    home = np.array(robot.home)[:width]
    stats = FeatureStats(min=home - 0.5, max=home + 0.5)
    return NormStats(embodiment=robot.embodiment, state=stats, action=stats)


@pytest.fixture
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


@pytest.fixture
def saved(tmp_path, robot):
    """A complete checkpoint of a micro model, and the model."""
    model = new_model(CONFIG, seed=0)
    save_checkpoint(
        tmp_path / "ckpt",
        model=model,
        stats=stats_of(robot),
        interface=robot.interface,
        tokenizer_dir=shipped_checkpoint("xarm6") / "tokenizer",
        card="# test\n",
    )
    return tmp_path / "ckpt", model


def rewrite(directory, change):
    """Change the tensors on disk."""
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def test_round_trip_changes_no_bit(saved):
    directory, model = saved
    checkpoint = read_checkpoint(directory)
    again = load_model(checkpoint)
    assert checkpoint.config == CONFIG
    assert checkpoint.robot.name == "xarm6"
    assert again.training is False
    expected = model.state_dict()
    assert list(again.state_dict()) == list(expected)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_nothing_stays_on_the_meta_device(saved):
    model = load_model(read_checkpoint(saved[0]))
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_bf16_on_disk_comes_back_as_rounded_fp32_with_exact_tables(tmp_path, saved, robot):
    directory, model = saved
    save_checkpoint(
        tmp_path / "half",
        model=model,
        stats=stats_of(robot),
        interface=robot.interface,
        tokenizer_dir=directory / "tokenizer",
        card="",
        dtype=torch.bfloat16,
    )
    again = load_model(read_checkpoint(tmp_path / "half")).state_dict()
    for name, tensor in model.state_dict().items():
        exact = name.endswith(".pe")
        assert torch.equal(again[name], tensor if exact else tensor.bfloat16().float()), name


def test_hash_is_stable_and_follows_the_weights(saved):
    directory, _ = saved
    first = read_checkpoint(directory).model_hash()
    assert len(first) == 12
    assert read_checkpoint(directory).model_hash() == first
    rewrite(directory, lambda t: t["action_head.norm_out.bias"].add_(1))
    assert read_checkpoint(directory).model_hash() != first


def test_an_existing_directory_is_not_overwritten(saved, robot):
    directory, model = saved
    with pytest.raises(CheckpointError, match="exists already"):
        save_checkpoint(
            directory,
            model=model,
            stats=stats_of(robot),
            interface=robot.interface,
            tokenizer_dir=directory / "tokenizer",
            card="",
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("action_head.norm_out.bias"),
            "1 missing tensors: action_head.norm_out.bias",
        ),
        (lambda t: t.update(extra=torch.zeros(1)), "1 surplus tensors: extra"),
        (
            lambda t: t.update({"action_head.norm_out.bias": torch.zeros(3)}),
            r"1 of a wrong shape: action_head.norm_out.bias is \(3,\), expected \(16,\)",
        ),
        (
            lambda t: t["action_head.norm_out.bias"].__setitem__(2, float("nan")),
            "action_head.norm_out.bias is not finite at flat index 2",
        ),
        (
            lambda t: t["action_head.norm_out.bias"].__setitem__(0, float("inf")),
            "action_head.norm_out.bias is not finite at flat index 0",
        ),
    ],
)
def test_wrong_tensors_are_named(saved, change, message):
    rewrite(saved[0], change)
    with pytest.raises(CheckpointError, match=message):
        load_model(read_checkpoint(saved[0]))


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_named(saved, keep):
    path = saved[0] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged or truncated"):
        load_model(read_checkpoint(saved[0]))


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "norm_stats.json", "robot.yaml", "tokenizer"]
)
def test_a_missing_part_is_named(saved, name):
    path = saved[0] / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        read_checkpoint(saved[0])


def test_a_folder_without_checkpoint_says_what_one_holds(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint; expected config\.json with"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="x"), "format: expected 'evo1_ros2'"),
        (lambda d: (d.pop("format"), d.update(type="act")), "found type 'act'"),
        (lambda d: d.update(version=2), "version: expected 1, got 2"),
        (lambda d: d["model"].pop("views"), "config.json: model: missing key 'views'"),
        (lambda d: d["model"].update(views=1), "has 2 cameras, the model 1 views"),
        (lambda d: d["model"].update(action_width=6), "action has 7 entries .xarm6"),
    ],
)
def test_a_wrong_config_is_named(saved, change, message):
    path = saved[0] / "config.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(saved[0])


def test_stats_of_another_width_or_embodiment_are_refused(saved, robot):
    path = saved[0] / "norm_stats.json"
    path.write_text(json.dumps(stats_of(robot, width=6).to_dict()))
    with pytest.raises(CheckpointError, match=r"observation\.state has 6 entries"):
        read_checkpoint(saved[0])
    path.write_text(json.dumps(stats_of(robot).to_dict()).replace("xarm6", "so100"))
    with pytest.raises(CheckpointError, match="norm stats are for embodiment 'so100'"):
        read_checkpoint(saved[0])


def test_no_directory_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint directory"):
        read_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("embodiment", ["xarm6", "so100"])
def test_shipped_checkpoints_are_small_honest_and_for_the_shipped_robot_file(
    embodiment, robots_dir
):
    directory = shipped_checkpoint(embodiment)
    checkpoint = read_checkpoint(directory)
    assert checkpoint.robot.text == (robots_dir / f"{embodiment}.yaml").read_text()
    assert sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) < 20e6
    assert (directory / "README.md").read_text().strip()


def test_an_embodiment_without_shipped_policy_is_told_what_there_is():
    known = "so100_tiny, xarm6_colours, xarm6_tiny"
    with pytest.raises(CheckpointError, match=rf"'aloha' \(known: {known}\)"):
        shipped_checkpoint("aloha")


def test_shipped_checkpoints_are_found_in_the_share_folder(tmp_path, monkeypatch):
    share = tmp_path / "prefix" / "share" / "evo1_policy" / "checkpoints" / "aloha_tiny"
    share.mkdir(parents=True)
    (share / "config.json").write_text("{}")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'prefix'}")
    assert checkpoints.shipped_checkpoint("aloha") == share
