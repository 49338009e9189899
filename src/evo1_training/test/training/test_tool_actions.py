"""A recording of joints trains a policy of the tool's poses or deltas, which moves the joints."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from evo1_policy.kinematics.inverse import ToolSpace
from evo1_policy.normalization import read_norm_stats, write_norm_stats
from evo1_policy.policy import Policy
from evo1_policy.robot_config import load_robot
from evo1_training.cli.norm_stats import main as norm_stats
from evo1_training.datasets.reader import DatasetError
from evo1_training.datasets.reader.tool_actions import ToolActions, tool_meaning
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.data_selection import open_data
from evo1_training.training.presets import preset
from evo1_training.training.session import train
from evo1_training.training.starting_point import choose_stats
from evo1_training.training.train_config import DataConfig, NormalizationConfig
from evo1_training.training.training_data import compute_stats

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets" / "reader"))
import small_dataset
from swaying_arm import MODEL, infer

WIDE = dataclasses.replace(MODEL, action_width=12)
LENGTHS = (12, 14, 10)


def joints_at(row, robot):
    swayed = np.array(robot.home) + 0.2 * np.sin(row / 5 + np.arange(robot.width))
    swayed[robot.joint_names.index(robot.gripper.joint)] = 0.425 * (1 - np.cos(row / 5))
    return np.clip(swayed, robot.position_min, robot.position_max).astype(np.float32)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, robot):
    """Joints that lag behind their targets by half a step."""
    root = tmp_path_factory.mktemp("joints") / "sway"
    what = small_dataset.SmallDataset(lengths=LENGTHS, joints=robot.joint_names, dtype="image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_dataset, "state_of", lambda row, _=0: joints_at(row - 0.5, robot))
        patch.setattr(small_dataset, "action_of", lambda row, _=0: joints_at(row + 1, robot))
        small_dataset.write(root, what)
    (root / "meta" / "evo1").mkdir()
    (root / "meta" / "evo1" / "robot.yaml").write_text(robot.text)
    return root


@pytest.mark.parametrize(("space", "width"), [("ee_pose", 10), ("ee_delta", 7)])
def test_recorded_joints_that_training_learns_as_the_tools_come_back_as_joints(
    recorded, robot, space, width
):
    config = DataConfig(datasets=(str(recorded),))
    (joints,) = open_data(config, WIDE, seed=0).train
    data = open_data(config, WIDE, seed=0, action_space=space)
    stats = compute_stats(data, NormalizationConfig(), action_space=space)[robot.embodiment]
    assert stats.end_effector == tool_meaning(space, robot)
    policys = ToolSpace(stats.end_effector, robot)
    for number in (0, 5, 11, 12, len(joints) - 1):  # 11 ends an episode
        learnt, wanted = data.train[0][number], joints[number]
        assert learnt.actions.shape == (MODEL.horizon, width)
        np.testing.assert_array_equal(learnt.state, wanted.state)
        assert not learnt.milestone_mask.any()
        answered = stats.normalise_actions(learnt.actions, learnt.state)
        assert np.abs(answered[learnt.action_mask]).max() <= 1.0
        numbers = stats.unnormalise_actions(answered, learnt.state)
        found, error = policys.joints(numbers, learnt.state)
        np.testing.assert_allclose(found, wanted.actions, atol=1e-3)
        assert error.position_m < 1e-4


@pytest.mark.parametrize("space", ["ee_pose", "ee_delta"])
def test_two_steps_on_recorded_joints_save_a_policy_of_the_tool(recorded, config, robot, space):
    chosen = dataclasses.replace(
        config,
        data=DataConfig(datasets=(str(recorded),), workers=0),
        stage1=dataclasses.replace(config.stage1, steps=2, milestone_weight=0.1),
        model=WIDE,
        action_space=space,
    )
    policy = train(chosen, "stage1").folder.path / "last"
    stats = read_norm_stats(policy / "norm_stats.json")
    assert (stats.action_space, stats.end_effector) == (space, tool_meaning(space, robot))
    assert stats.state.shape == (robot.width,)
    assert f"action space: {space}" in (policy / "README.md").read_text()
    targets = infer(policy, robot)
    assert targets.shape == (MODEL.horizon, robot.width)
    assert (targets >= robot.position_min).all()
    assert (targets <= robot.position_max).all()
    assert Policy.load(policy, robot=robot, device="cpu").interface == robot.interface


def test_a_robot_whose_tool_nothing_knows_is_refused_by_name(robot, robots_dir, tmp_path):
    bare = dataclasses.replace(
        robot, urdf="", safety=dataclasses.replace(robot.safety, collision=None)
    )
    pair = load_robot(robots_dir / "xarm6_bimanual.yaml")
    for unfit, message in (
        (bare, f"sway: action_space ee_delta: the robot file of '{robot.name}' names no model"),
        (pair, "sway: action_space ee_delta: .*has 2 grippers.*several arms want a policy of joi"),
    ):
        rows = np.array([unfit.home], np.float32)
        with pytest.raises(DatasetError, match=message):
            ToolActions(
                tool_meaning("ee_delta", unfit), unfit, rows, rows, source=tmp_path / "sway"
            )


def test_a_joint_that_no_number_of_the_tool_moves_is_refused(robot, tmp_path, monkeypatch):
    from evo1_policy.kinematics.model import ArmModel

    monkeypatch.setattr(ArmModel, "tool_joints", frozenset(range(5)))  # a tool on the fifth link
    rows = np.array([robot.home], np.float32)
    with pytest.raises(
        DatasetError, match=r"joint6 of '.*' neither move its tool nor are its gri"
    ):
        ToolActions(tool_meaning("ee_pose", robot), robot, rows, rows, source=tmp_path)


@pytest.mark.parametrize("order", [("other", "xarm6"), ("xarm6", "other")])
def test_joints_of_several_robots_do_not_become_a_tools(
    recorded, config, robots_dir, tmp_path, order
):
    groups = "".join(f"  {name}: {{sway: {{path: {recorded}}}}}\n" for name in order)
    (tmp_path / "groups.yaml").write_text(f"data_groups:\n{groups}")
    robot = str(robots_dir / "xarm6.yaml")
    chosen = DataConfig(groups=str(tmp_path / "groups.yaml"), robot=robot, workers=0)
    data = open_data(chosen, WIDE, seed=0, action_space="ee_delta")
    both = dataclasses.replace(config, data=chosen, action_space="ee_delta")
    with pytest.raises(
        TrainConfigError, match=r"ee_delta: for one robot at a time; .* other, xarm6"
    ):
        choose_stats(both, data, None, None)


@pytest.mark.parametrize("space", ["ee_pose", "ee_delta"])
def test_norm_stats_of_the_tool_are_those_that_training_makes(recorded, robot, space, tmp_path):
    out = tmp_path / "stats.json"
    asked = [str(recorded), "--out", str(out), "--action-space", space, "--range-floor", "0.2"]
    assert norm_stats(asked) == 0
    chosen = preset("tiny")
    data = dataclasses.replace(chosen.data, datasets=(str(recorded),), holdout=0.0, cache_dir="")
    chosen = dataclasses.replace(chosen, action_space=space, data=data)
    opened = open_data(data, chosen.model, seed=0, action_space=space)
    made = choose_stats(chosen, opened, None, None)[robot.embodiment]
    write_norm_stats(made, tmp_path / "made.json")
    assert out.read_text() == (tmp_path / "made.json").read_text()
    assert made.action_space == space
    given = dataclasses.replace(chosen.normalization, stats=str(out))  # train --norm-stats
    given = dataclasses.replace(chosen, normalization=given)
    read = choose_stats(given, opened, None, None)[robot.embodiment]
    np.testing.assert_allclose(read.action.min, made.action.min)
