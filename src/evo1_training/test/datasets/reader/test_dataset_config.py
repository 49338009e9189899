"""The authors' dataset file, and our keys in it."""

from pathlib import Path

import pytest

from evo1_training.datasets.reader import DatasetError, read_dataset_groups
from evo1_training.datasets.reader.suites import Suite, official_suite

OFFICIAL = """
# do not change max_action_dim, max_state_dim, max_views
max_action_dim: 24
max_state_dim: 24
max_views: 3
normalization_type: bounds_q99
datasets_manifest: some_name.pkl
decoder_cache_size: 16
cache_shard_size_bytes: 268435456

data_groups:
  franka_ee_pose_delta:
    libero_10_no_noops_1.0.0_lerobot:
      path: /data/libero_10
      view_map:
        image_1: observation.images.image
        image_2: observation.images.wrist_image
      use_delta_action: False
      process_suite: franka_ee_pose
      suite_config:
        state_key: observation.state
        action_key: action
        gripper_indices: [6]
        ee_pose_dims: [0, 6]
  metaworld_sawyer:
    Evo1_MetaWorld:
      path: sets/metaworld
      weight: 2
      frames_per_episode: 100
"""


def read(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return read_dataset_groups(path)


def test_official_file_is_understood(tmp_path):
    groups = read(tmp_path, OFFICIAL)
    libero, metaworld = groups.specs
    assert groups.choices == {
        "normalization.mode": "quantiles",
        "model.views": 3,
        "model.state_width": 24,
        "model.action_width": 24,
    }
    groups.check(model__views=3, normalization__mode="quantiles")
    with pytest.raises(DatasetError, match=r"max_state_dim: means .*_width=24, .* run has 16; tr"):
        groups.check(model__state_width=16)
    assert (libero.embodiment, libero.name) == (
        "franka_ee_pose_delta",
        "libero_10_no_noops_1.0.0_lerobot",
    )
    assert libero.path == Path("/data/libero_10")
    assert libero.view_map == {
        "image_1": "observation.images.image",
        "image_2": "observation.images.wrist_image",
    }
    assert libero.suite == Suite(name="franka_ee_pose", poses=True)
    assert metaworld.path == tmp_path / "sets/metaworld"
    assert (metaworld.weight, metaworld.frames_per_episode) == (2.0, 100)
    assert metaworld.view_map == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path: /data/libero_10", "paths: /data/libero_10", r"lerobot\.path: missing"),
        ("weight: 2", "weight: -1", r"MetaWorld\.weight: expected a number above 0"),
        ("weight: 2", "wieght: 2", r"wieght: unknown key"),
        ("bounds_q99", "minmax", "normalization_type: expected one of bounds"),
        ("max_views: 3", "max_views: 1", r"view_map: 2 views, but max_views is 1"),
        ("franka_ee_pose\n", "franka\n", "unknown suite 'franka'; known: default"),
        ("[0, 6]", "[6]", r"ee_pose_dims: expected \[start, end\]"),
        ("gripper_indices", "gripper", "'franka_ee_pose' knows no key 'gripper'"),
        ("action: False", "action: maybe", "use_delta_action: expected true or false"),
        ("data_groups:", "groups:", "data_groups: missing"),
    ],
)
def test_wrong_keys_are_named(tmp_path, old, new, message):
    assert old in OFFICIAL
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, OFFICIAL.replace(old, new, 1))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere\.yaml: cannot read the dataset file"):
        read_dataset_groups(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("default", {}, Suite()),
        ("franka_joint_angle", {"joint_dims": 5}, Suite(name="franka_joint_angle")),
        ("aloha_joint_angle", {"arm_dims": 7}, Suite(name="aloha_joint_angle")),
        (
            "metaworld",
            {"action_key": "a"},
            Suite(name="metaworld", action=("a",), poses=True),
        ),
        (
            "custom",
            {"action_concat_keys": ["a", "b"], "relative_dims": [[0, 2], [3, 4]]},
            Suite(name="custom", action=("a", "b")),
        ),
        (
            "droid_eef",
            {"state_gripper_key": "s.g"},
            Suite(
                name="droid_eef",
                state=("observation.state.cartesian_position", "s.g"),
                action=("action.cartesian_position", "action.gripper_position"),
                inverted=frozenset({"s.g", "action.gripper_position"}),
                poses=True,
            ),
        ),
    ],
)
def test_suites_become_columns(name, config, expected):
    assert official_suite(name, config) == expected
