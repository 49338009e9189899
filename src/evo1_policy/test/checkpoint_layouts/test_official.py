"""Folders of the authors' code, without the files that our own exports add."""

import json

import numpy as np
import pytest
import torch
from tiny import stats_of

from evo1_policy.checkpoint import CheckpointError, load_model, read_checkpoint
from evo1_policy.checkpoint_layouts.official import choose_stats
from evo1_policy.kinematics.end_effector import KNOWN
from evo1_policy.model.config import preset
from evo1_policy.normalization import NormStatsError

FULL = {"min": [-1], "max": [1], "mean": [0], "std": [0.5], "q01": [-0.9], "q99": [0.8]}
BOTH = {"observation.state": FULL, "action": FULL}


def folder(path, robot, *, weights="mp_rank_00_model_states.pt", nested=False, **config):
    """An official folder at the paper's size whose weights cannot be used."""
    features = stats_of(robot).to_dict()["stats"]["xarm6"]
    arm = {"xarm6_data": features} if nested else features
    path.mkdir()
    (path / "config.json").write_text(
        json.dumps({"horizon": 50, "per_action_dim": 24, "state_dim": 24} | config)
    )
    (path / "norm_stats.json").write_text(json.dumps({"xarm6": arm}))
    torch.save({"module": {}, "model_state_dict": {}}, path / weights)
    return path


def test_a_deepspeed_folder_means_the_main_branchs_semantics(tmp_path, robot):
    found = read_checkpoint(folder(tmp_path / "a", robot), robot=robot, rate_hz=30)
    assert found.layout == "official_deepspeed"
    assert found.config.semantics.time_scale == 1000
    assert found.config.semantics.state_pad == -1.0
    assert found.config.semantics.context_mode == "official_fa2"
    assert found.config.semantics.image_dtype == "float32"
    assert found.config.num_inference_steps == 32
    assert found.stats.clamp is True
    assert found.config.language == preset("evo1").language


@pytest.mark.parametrize(
    "changes",
    [{"weights": "checkpoint.pt"}, {"nested": True}, {"normalization_type": "bounds_q99"}],
)
def test_traces_of_evo1_flash_mean_its_semantics(tmp_path, robot, changes):
    found = read_checkpoint(folder(tmp_path / "a", robot, **changes), robot=robot, rate_hz=30)
    assert found.config.semantics.time_scale == 999
    assert found.config.semantics.state_pad == 0.0
    assert found.config.semantics.image_dtype == "bfloat16"
    assert found.config.num_inference_steps == 50
    expected = "quantiles" if "normalization_type" in changes else "bounds"
    assert found.stats.mode == expected


def test_semantics_can_be_chosen(tmp_path, robot):
    directory = folder(tmp_path / "a", robot)
    found = read_checkpoint(
        directory, robot=robot, rate_hz=30, semantics="lerobot", norm_mode="mean_std"
    )
    assert found.config.semantics.context_mode == "masked"
    assert found.stats.clamp is False
    assert found.stats.mode == "mean_std"
    with pytest.raises(CheckpointError, match="no semantics 'x'; known: authors_main"):
        read_checkpoint(directory, robot=robot, rate_hz=30, semantics="x")


def test_the_so100_release_has_its_config_under_another_name(tmp_path, robot):
    directory = folder(tmp_path / "a", robot, num_layers=6)
    (directory / "config.json").rename(directory / "model_config.json")
    (directory / "config.json").write_text(json.dumps({"type": "evo1"}))
    found = read_checkpoint(directory, robot=robot, rate_hz=30)
    assert found.layout == "official_deepspeed"
    assert found.config.head.layers == 6


def test_keys_that_a_config_lacks_are_the_authors_defaults(tmp_path, robot):
    directory = folder(tmp_path / "a", robot)
    (directory / "config.json").write_text("{}")
    config = read_checkpoint(directory, robot=robot, rate_hz=30).config
    assert (config.horizon, config.action_width, config.state_width) == (16, 7, 7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_categories": 0}, r"config\.json: num_categories: expected 1 or more, got 0"),
        (
            {"num_categories": "4"},
            r"config\.json: num_categories: expected a whole number, got '4'",
        ),
        ({"horizon": 1}, r"config\.json: horizon: expected 2 or more, got 1; the published head"),
        ({"return_cls_only": True}, "return_cls_only: only False"),
        ({"embed_dim": 1536}, "embed_dim: only 896"),
        ({"horizon": "50"}, "horizon: expected a whole number, got '50'"),
        ({"normalization_type": "x"}, "normalization_type: expected one of bounds"),
    ],
)
def test_a_config_that_is_not_supported_is_named(tmp_path, robot, config, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder(tmp_path / "a", robot, **config), robot=robot, rate_hz=30)


def test_a_folder_without_robot_needs_one(tmp_path, robot):
    with pytest.raises(CheckpointError, match=r"no robot\.yaml.*--robot FILE"):
        read_checkpoint(folder(tmp_path / "a", robot))


def test_a_folder_without_tokenizer_says_where_to_put_one(tmp_path, robot):
    found = read_checkpoint(folder(tmp_path / "a", robot), robot=robot, rate_hz=30)
    with pytest.raises(CheckpointError, match="no tokenizer; official_deepspeed"):
        _ = found.tokenizer_dir
    (found.directory / "tokenizer.json").write_text("{}")
    assert (
        read_checkpoint(found.directory, robot=robot, rate_hz=30).tokenizer_dir == found.directory
    )


def test_a_robot_of_another_width_or_in_degrees_is_refused(tmp_path, robot):
    directory = folder(tmp_path / "a", robot)
    path = directory / "norm_stats.json"
    stats = json.loads(path.read_text())
    lists = stats["xarm6"]["action"]
    lists["min"], lists["max"] = [-180.0] * 7, [180.0] * 7
    path.write_text(json.dumps(stats))
    with pytest.raises(CheckpointError, match=r"action\[0\] spans \[-180, 180\].*joint1.*degrees"):
        read_checkpoint(directory, robot=robot, rate_hz=30)
    for key in lists:
        lists[key] = lists[key][:6]
    path.write_text(json.dumps(stats))
    with pytest.raises(CheckpointError, match=r"action has 6 entries, xarm6 has 7 .joint1"):
        read_checkpoint(directory, robot=robot, rate_hz=30)


def test_weights_of_another_size_are_named(tmp_path, robot):
    with pytest.raises(
        CheckpointError, match=r"632 missing tensors: embedder\.model\.vision_model"
    ):
        load_model(read_checkpoint(folder(tmp_path / "a", robot), robot=robot, rate_hz=30))


def choose(data, key=None, embodiment="xarm6", mode="bounds"):
    return choose_stats(data, key=key, embodiment=embodiment, mode=mode, source="f")


def test_the_only_arm_serves_another_embodiment_when_it_is_named():
    with pytest.raises(NormStatsError, match=r"none is for 'xarm6'.*--embodiment.*: libero_robot"):
        choose({"libero_robot": BOTH})
    assert choose({"libero_robot": BOTH}, key="libero_robot").embodiment == "xarm6"
    found = choose({"franka": {"libero_10": BOTH}}, key="libero_10")
    assert found.action.q99 == pytest.approx([0.8])


def test_older_files_have_bounds_only():
    old = {"observation.state": {"min": [0], "max": [1]}, "action": {"min": [0], "max": [2]}}
    stats = choose({"xarm6": old})
    np.testing.assert_array_equal(stats.action.max, [2.0])
    assert stats.action.mean is None
    assert choose({"xarm6": old}, mode="quantiles").mode == "bounds"
    with pytest.raises(NormStatsError, match=r"xarm6\.observation\.state: missing key 'mean'"):
        choose({"xarm6": old}, mode="mean_std")


@pytest.mark.parametrize("key", ["task_b", "aloha/task_b"])
def test_one_dataset_of_many_is_chosen_by_key(key):
    other = json.loads(json.dumps(BOTH))
    other["action"]["max"] = [9]
    found = choose({"aloha": {"task_a": BOTH, "task_b": other}}, key=key)
    np.testing.assert_array_equal(found.action.max, [9.0])


def test_the_robots_embodiment_is_chosen_by_itself():
    assert choose({"xarm6": BOTH, "so100": BOTH}).embodiment == "xarm6"


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ({"a": BOTH, "b": BOTH}, None, r"none is for 'xarm6'; choose one .*: a, b"),
        ({"a": {"s": BOTH, "t": BOTH}}, "u", r"none is for 'u'; choose one .*: a/s, a/t"),
        ({"a": {"s": BOTH, "t": BOTH}}, "a", r"several match 'a'; choose one .*: a/s, a/t"),
        ({}, None, "choose one .* of: none"),
        ({"xarm6": {"action": FULL}}, None, "xarm6: missing key 'observation.state'"),
    ],
)
def test_an_unclear_choice_lists_the_keys(data, key, message):
    with pytest.raises(NormStatsError, match=message):
        choose(data, key=key)


def test_statistics_in_degrees_want_their_units(tmp_path, robot, robots_dir):
    directory = folder(tmp_path / "a", robot)
    low, high = [-170.0] * 6 + [0.0], [170.0] * 6 + [850.0]
    degrees = {"min": low, "max": high}
    arm = {"observation.state": degrees, "action": degrees}
    (directory / "norm_stats.json").write_text(json.dumps({"xarm6": arm}))
    with pytest.raises(CheckpointError, match="want a file of units"):
        read_checkpoint(directory, robot=robot, rate_hz=30)
    units = robots_dir / "units" / "xarm6_authors.yaml"
    found = read_checkpoint(directory, robot=robot, rate_hz=30, units=units)
    quarter = [*np.deg2rad([85.0] * 6), 0.425]  # half of the range up; half open
    np.testing.assert_allclose(
        found.stats.state_normalizer.normalise(quarter), [0.5] * 6 + [0.0], atol=1e-6
    )
    assert found.overridden


@pytest.mark.parametrize(
    ("rate_hz", "message"),
    [
        (None, "nothing in it says at which rate its actions were recorded. Say it"),
        (10.0, "its actions are 10 a second, the rate_hz of xarm6 is 30"),
    ],
)
def test_the_rate_of_its_actions_is_asked_for_and_held_against_the_robots(
    tmp_path, robot, rate_hz, message
):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder(tmp_path / "a", robot), robot=robot, rate_hz=rate_hz)


def test_quantiles_that_coincide_where_a_joint_moves_are_refused(tmp_path, robot):
    directory = folder(tmp_path / "a", robot, normalization_type="bounds_q99")
    path = directory / "norm_stats.json"
    stats = json.loads(path.read_text())
    action = stats["xarm6"]["action"]
    action["q01"][6] = action["q99"][6] = 0.2
    path.write_text(json.dumps(stats))
    message = r"action\[6\]: q01 and q99 are both about 0\.2 while drive_joint of xarm6 moves in"
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(directory, robot=robot, rate_hz=30)
    read_checkpoint(directory, robot=robot, rate_hz=30, norm_mode="bounds")


def libero(path, robot, *, gripper=(0.0, 1.0)):
    """The authors' LIBERO folder: a state of 8, an action of 7, the gripper's 1 opens."""
    directory = folder(path, robot)
    state = {"min": [-0.4, -0.3, 0.0, -3.1, -3.1, -3.1, 0.0, -0.04]}
    state["max"] = [0.2, 0.3, 1.3, 3.1, 3.1, 3.1, 0.04, 0.0]
    action = {"min": [-0.9] * 6 + [gripper[0]], "max": [0.9] * 6 + [gripper[1]]}
    arm = {"observation.state": state, "action": action}
    (directory / "norm_stats.json").write_text(json.dumps({"franka": arm}))
    return directory


def test_the_authors_libero_weights_are_deltas_of_the_tool_where_that_is_said(tmp_path, robot):
    directory = libero(tmp_path / "a", robot)
    said = {"robot": robot, "rate_hz": 30, "embodiment": "franka"}
    found = read_checkpoint(directory, **said, end_effector="libero_authors")
    assert found.stats.action_space == "ee_delta"
    assert found.stats.end_effector == KNOWN["libero_authors"]
    assert (found.stats.state.shape, found.stats.action.shape) == ((8,), (7,))
    assert found.overridden
    for wrong, message in (
        ({}, "state has 8 entries, xarm6 has 7 .* say what they mean with --end-effector"),
        ({"action_space": "ee_delta"}, r"--end-effector libero\|libero_authors\|bridge or a YA"),
        ({"end_effector": "libero"}, "gripper's numbers go from 0 to 1, but .* says -1 when open"),
        ({"end_effector": "liberty"}, "expected libero, libero_authors, bridge, or a YAML file"),
        ({"end_effector": "libero", "action_space": "ee_pose"}, "libero is of ee_delta; leave"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(directory, **said, **wrong)


def test_a_yaml_file_says_what_a_folders_numbers_mean(tmp_path, robot):
    directory = libero(tmp_path / "a", robot, gripper=(0, 100))
    tool = tmp_path / "tool.yaml"
    tool.write_text(
        "action: {position_scale: 0.05, rotation_scale: 0.5, grippers: [[100, 0]]}\n"
        "reference: previous\nstate: {grippers: [[0.04, 0], [-0.04, 0]]}\n"
    )
    said = {"robot": robot, "rate_hz": 30, "embodiment": "franka", "end_effector": str(tool)}
    found = read_checkpoint(directory, **said)
    assert found.stats.end_effector.action.grippers == ((100, 0),)
    tool.write_text("action: {rotation: quaternion}")
    with pytest.raises(CheckpointError, match=r"tool\.yaml: action\.rotation: expected one of"):
        read_checkpoint(directory, **said)
