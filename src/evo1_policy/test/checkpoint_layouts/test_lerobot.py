"""LeRobot's folders, without the files that our own exports add."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from evo1_policy.checkpoint import CheckpointError, read_checkpoint

BEFORE, AFTER = "policy_preprocessor.json", "policy_postprocessor.json"
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


def edit_step(path, name, **changes):
    """Change the config of one step of a processor."""
    data = json.loads(path.read_text())
    for step in data["steps"]:
        if step["registry_name"] == name:
            step["config"] |= changes
    path.write_text(json.dumps(data))


def features(directory, key, name, shape):
    config = json.loads((directory / "config.json").read_text())
    config[key][name]["shape"] = shape
    edit(directory / "config.json", **{key: config[key]})


def cameras(directory, *names):
    found = json.loads((directory / "config.json").read_text())["input_features"]
    kept = {key: value for key, value in found.items() if value["type"] != "VISUAL"}
    image = {"type": "VISUAL", "shape": [3, 28, 28]}
    edit(
        directory / "config.json",
        input_features=kept | {f"observation.images.{name}": image for name in names},
    )


def edit_normalisers(directory, **changes):
    edit_step(directory / BEFORE, "normalizer_processor", **changes)
    edit_step(directory / AFTER, "unnormalizer_processor", **changes)


def test_a_lerobot_folder_means_lerobots_semantics(foreign, robot):
    edit(foreign / "config.json", num_inference_timesteps=10)
    found = read_checkpoint(foreign, robot=robot, rate_hz=30)
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
    found = read_checkpoint(foreign, robot=robot, rate_hz=30, semantics="authors_main")
    assert found.config.semantics.context_mode == "official_fa2"
    assert found.config.semantics.time_scale == 1000


@pytest.mark.parametrize(
    ("name", "mode"), [("MIN_MAX", "bounds"), ("QUANTILES", "quantiles"), ("MEAN_STD", "mean_std")]
)
def test_the_normalisation_is_that_of_the_processors(foreign, robot, name, mode):
    edit(foreign / "config.json", normalization_mapping={"STATE": "x", "ACTION": "y"})
    edit_normalisers(foreign, norm_map={"STATE": name, "ACTION": name})
    assert read_checkpoint(foreign, robot=robot, rate_hz=30).stats.mode == mode


def test_statistics_without_padding_are_read_too(foreign, robot):
    path = foreign / NORMALIZER
    save_file({key: value[:7].clone() for key, value in load_file(path).items()}, path)
    assert read_checkpoint(foreign, robot=robot, rate_hz=30).stats.state.shape == (7,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: edit_step(d / BEFORE, "normalizer_processor", norm_map={"ACTION": "x"}),
            "norm_map: STATE is IDENTITY, ACTION MIN_MAX",
        ),
        (
            lambda d: edit_step(d / AFTER, "unnormalizer_processor", norm_map={"STATE": "x"}),
            "norm_map: STATE is MIN_MAX, ACTION IDENTITY",
        ),
        (lambda d: edit_normalisers(d, eps=1e-3), r"normalizer_.*eps: only 1e-08.*got 0\.001"),
        (
            lambda d: edit_normalisers(d, features={}),
            r"normalizer_processor: observation\.state is not normalised",
        ),
        (
            lambda d: edit_normalisers(d, normalize_observation_keys=[]),
            r"normalizer_processor: observation\.state is not normalised",
        ),
        (
            lambda d: edit_step(d / AFTER, "evo1_action_processor", binarize_gripper=True),
            r"policy_postprocessor\.json: binarize_gripper: .* no angle of a joint",
        ),
        (
            lambda d: edit(d / "config.json", binarize_gripper=True),
            r"config\.json: binarize_gripper: ",
        ),
        (
            lambda d: edit_step(d / AFTER, "evo1_action_processor", action_dim=6),
            "action_processor: action: this policy has 6 numbers, xarm6 has 7 .joint1",
        ),
        (
            lambda d: edit_step(d / BEFORE, "evo1_pad_state_processor", max_state_dim=9),
            "max_state_dim is 9, in config.json 8",
        ),
        (
            lambda d: edit(d / BEFORE, steps=[{"registry_name": "relative_actions_processor"}]),
            r"policy_preprocessor\.json: steps\[0\]: 'relative_actions_processor' is a step that",
        ),
        (
            lambda d: edit(d / BEFORE, steps=[{"class": "my.Step"}]),
            r"steps\[0\]: 'my\.Step' is a step that is not known",
        ),
        (
            lambda d: features(d, "output_features", "action", [6]),
            "output_features: action: this policy has 6 numbers, xarm6 has 7 .joint1",
        ),
        (
            lambda d: features(d, "input_features", "observation.state", [6]),
            r"input_features: observation\.state: this policy has 6 numbers",
        ),
        (
            lambda d: cameras(d, "image_1"),
            "this policy sees image_1, xarm6 has the cameras image_1, image_2",
        ),
        (lambda d: cameras(d, "image_2", "image_1"), "this policy sees image_2, image_1"),
        (lambda d: edit(d / "config.json", n_obs_steps=2), "n_obs_steps: only 1"),
        (
            lambda d: edit(d / "config.json", image_resolution=[448, 224]),
            r"image_resolution: expected \[S, S\]",
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
        read_checkpoint(foreign, robot=robot, rate_hz=30)


@pytest.mark.parametrize(("steps", "executed"), [(3, 3), (5, None)])
def test_how_much_of_a_chunk_is_executed_is_read_unless_it_is_all_of_it(
    foreign, robot, steps, executed
):
    edit(foreign / "config.json", chunk_size=5, n_action_steps=steps)
    assert (
        read_checkpoint(foreign, robot=robot, rate_hz=30).config.execute_actions or None
    ) == executed


def test_statistics_of_more_joints_are_refused(foreign, robot):
    path = foreign / NORMALIZER
    stats = load_file(path)
    stats["observation.state.max"][7] = torch.tensor(0.3)
    save_file(stats, path)
    with pytest.raises(CheckpointError, match="data beyond the 7 of xarm6"):
        read_checkpoint(foreign, robot=robot, rate_hz=30)


def test_the_padding_of_a_policy_for_fewer_joints_is_no_joint(foreign, robot):
    for key, name in (("input_features", "observation.state"), ("output_features", "action")):
        features(foreign, key, name, [8])  # LeRobot's default: the padded width
    path = foreign / NORMALIZER
    stats = load_file(path)
    for key, neutral in {"min": -1, "max": 1, "mean": 0, "std": 1, "q01": -1, "q99": 1}.items():
        stats[f"observation.state.{key}"][6:] = neutral
    save_file(stats, path)
    with pytest.raises(
        CheckpointError, match=r"observation\.state: entry 6 is padding: this poli"
    ):
        read_checkpoint(foreign, robot=robot, rate_hz=30)


def test_cameras_of_other_names_are_taken_in_their_order_and_said(foreign, robot):
    cameras(foreign, "front", "wrist", "empty_camera_0")
    (note,) = read_checkpoint(foreign, robot=robot, rate_hz=30).notes
    assert "image_1 is shown as front, image_2 is shown as wrist" in note


def test_the_longest_prompt_is_that_of_the_folder(foreign, robot):
    edit(foreign / "config.json", max_text_length=512)
    found = read_checkpoint(foreign, robot=robot, rate_hz=30)
    assert found.config.semantics.context_length == 512


def test_the_rate_is_asked_for(foreign, robot):
    with pytest.raises(CheckpointError, match="at which rate its actions were recorded"):
        read_checkpoint(foreign, robot=robot)
    with pytest.raises(CheckpointError, match="are 10 a second, the rate_hz of xarm6 is 30"):
        read_checkpoint(foreign, robot=robot, rate_hz=10.0)


def test_a_folder_of_deltas_is_taken_where_it_is_said_what_they_mean(foreign, robot):
    features(foreign, "input_features", "observation.state", [8])
    features(foreign, "output_features", "action", [7])
    low = [-0.4, -0.3, 0.0, -3.1, -3.1, -3.1, 0.0, -0.04], [-0.9] * 6 + [-1.0, -1.0]
    high = [0.2, 0.3, 1.3, 3.1, 3.1, 3.1, 0.04, 0.0], [0.9] * 6 + [1.0, 1.0]
    for path in foreign.glob("policy_p*.safetensors"):
        stats = load_file(path)
        for key, name in enumerate(("observation.state", "action")):
            for kind, values in (("min", low), ("max", high), ("q01", low), ("q99", high)):
                stats[f"{name}.{kind}"] = torch.tensor(values[key])
        stats["action.mean"][7], stats["action.std"][7] = 0, 1  # what pads has these
        save_file(stats, path)
    found = read_checkpoint(foreign, robot=robot, rate_hz=30, end_effector="libero")
    assert found.stats.action_space == "ee_delta"
    assert (found.stats.state.shape, found.stats.action.shape) == ((8,), (7,))
    with pytest.raises(CheckpointError, match=r"data beyond the 7 of xarm6 .*--end-effector"):
        read_checkpoint(foreign, robot=robot, rate_hz=30)
