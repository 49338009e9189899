"""LeRobot's folders, without the files that our own exports add."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from evo1_policy.checkpoint import CheckpointError, read_checkpoint

NORMALIZER = "policy_preprocessor_step_4_normalizer_processor.safetensors"


@pytest.fixture
def foreign(saved):
    directory = saved("lerobot")
    for name in ("evo1_ros2.json", "robot.yaml"):
        (directory / name).unlink()
    path = directory / "config.json"
    config = json.loads(path.read_text())
    del config["embed_dim"]  # the micro model's, which a published folder cannot have
    path.write_text(json.dumps(config | {"num_heads": 8}))
    return directory


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_lerobot_folder_means_lerobots_semantics(foreign, robot):
    edit(foreign / "config.json", num_inference_timesteps=10)
    found = read_checkpoint(foreign, robot=robot)
    semantics = found.config.semantics
    assert found.layout == "lerobot"
    assert semantics.context_mode == "masked"
    assert semantics.context_padding == "longest"
    assert semantics.time_scale == 999
    assert semantics.state_pad == 0.0
    assert semantics.image_dtype == "bfloat16"
    assert semantics.episode_tail == "masked"
    assert found.config.num_inference_steps == 10
    assert found.stats.clamp is False
    assert found.stats.zero_guard == "if_zero"
    assert found.stats.state.shape == (7,)


def test_weights_converted_from_the_authors_need_their_semantics_by_name(foreign, robot):
    found = read_checkpoint(foreign, robot=robot, semantics="authors_main")
    assert found.config.semantics.context_mode == "official_fa2"
    assert found.config.semantics.time_scale == 1000


@pytest.mark.parametrize(
    ("name", "mode"), [("MIN_MAX", "bounds"), ("QUANTILES", "quantiles"), ("MEAN_STD", "mean_std")]
)
def test_the_normalisation_is_lerobots(foreign, robot, name, mode):
    edit(foreign / "config.json", normalization_mapping={"STATE": name, "ACTION": name})
    assert read_checkpoint(foreign, robot=robot).stats.mode == mode


def test_statistics_without_padding_are_read_too(foreign, robot):
    path = foreign / NORMALIZER
    save_file({key: value[:7].clone() for key, value in load_file(path).items()}, path)
    assert read_checkpoint(foreign, robot=robot).stats.state.shape == (7,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: edit(d / "config.json", normalization_mapping={"STATE": "IDENTITY"}),
            "normalization_mapping: STATE is IDENTITY",
        ),
        (lambda d: (d / NORMALIZER).unlink(), "statistics policy_preprocessor_step_4.* missing"),
        (lambda d: (d / NORMALIZER).write_bytes(b"x"), "normalizer.*damaged or truncated"),
        (lambda d: edit(d / "policy_preprocessor.json", steps=[]), "no step 'normalizer_proc"),
        (
            lambda d: (d / "policy_postprocessor.json").unlink(),
            r"policy_postprocessor\.json: miss",
        ),
        (lambda d: edit(d / "config.json", chunk_size="x"), "chunk_size: expected a whole"),
        (
            lambda d: edit(d / "config.json", chunk_size=1, n_action_steps=1),
            "horizon: expected 2 or more, got 1; the",
        ),
        (
            lambda d: edit(d / "config.json", n_action_steps=500),
            r"n_action_steps: expected 1 to \d+ \(chunk_size\), got 500",
        ),
        (
            lambda d: edit(d / "config.json", num_categories=3, default_embodiment_id=3),
            "default_embodiment_id: expected 0 to 2",
        ),
    ],
)
def test_what_is_wrong_is_named(foreign, robot, change, message):
    change(foreign)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(foreign, robot=robot)


@pytest.mark.parametrize(("steps", "executed"), [(3, 3), (5, None)])
def test_how_much_of_a_chunk_is_executed_is_read_unless_it_is_all_of_it(
    foreign, robot, steps, executed
):
    edit(foreign / "config.json", chunk_size=5, n_action_steps=steps)
    assert (read_checkpoint(foreign, robot=robot).config.execute_actions or None) == executed


def test_statistics_of_more_joints_are_refused(foreign, robot):
    path = foreign / NORMALIZER
    stats = load_file(path)
    stats["observation.state.max"][7] = torch.tensor(0.3)
    save_file(stats, path)
    with pytest.raises(CheckpointError, match="data beyond the 7 joints"):
        read_checkpoint(foreign, robot=robot)
