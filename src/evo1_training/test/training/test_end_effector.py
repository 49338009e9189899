"""A dataset of end-effector deltas, as LIBERO's, trains to a policy that moves the joints."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from evo1_policy.action_chunk import ActionChunk, Guidance
from evo1_policy.checkpoint import CheckpointError, save_checkpoint, shipped_checkpoint
from evo1_policy.checkpoint_layouts.training_facts import UNKNOWN
from evo1_policy.conversion import convert_checkpoint
from evo1_policy.kinematics.end_effector import KNOWN, EndEffector, PoseForm
from evo1_policy.kinematics.inverse import ToolSpace
from evo1_policy.model.evo1 import new_model
from evo1_policy.model.preprocessing import load_tokenizer
from evo1_policy.normalization import read_norm_stats
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_sim.experts import STEP_NS, Expert
from evo1_sim.world import World
from evo1_training.cli import adopt
from evo1_training.datasets.checker.checking import check_dataset as check
from evo1_training.datasets.reader import DatasetError
from evo1_training.datasets.reader.adoption import adoption_path
from evo1_training.evaluation.pilots import PolicyPilot
from evo1_training.evaluation.rollouts import START_NS
from evo1_training.training.batch import Collator
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.data_selection import open_data
from evo1_training.training.session import train
from evo1_training.training.train_config import DataConfig, NormalizationConfig
from evo1_training.training.training_data import compute_stats
from evo1_training.viewing.in_dataset import view_dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets" / "reader"))
import small_dataset
from swaying_arm import MODEL

GROUPS = """
data_groups:
  xarm6:
    cubes:
      path: cubes
      end_effector: {meaning}
"""


def joints_at(row, robot):
    """(D,) of the demonstration, which the arm follows without lag."""
    swayed = np.array(robot.home) + 0.2 * np.sin(row / 5 + np.arange(robot.width))
    swayed[6] = 0.425 * (1 - np.cos(row / 5))  # from open to closed and back
    return np.clip(swayed, robot.position_min, robot.position_max)


def write_cubes(root, robot, meaning):
    """The demonstration as LIBERO would have recorded it, from this arm."""
    space = ToolSpace(meaning, robot)

    def state_of(row, width=0):
        return space.state(joints_at(row, robot)).astype(np.float32)

    def action_of(row, width=0):
        numbers = space.numbers([joints_at(row + 1, robot)], joints_at(row, robot))
        return numbers[0].astype(np.float32)

    names = meaning.state.names if meaning.state else robot.joint_names
    what = small_dataset.SmallDataset(lengths=(12, 14, 10), joints=names, dtype="image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_dataset, "state_of", state_of)
        patch.setattr(small_dataset, "action_of", action_of)
        small_dataset.write(root, what)
    (root / "meta" / "evo1").mkdir()
    (root / "meta" / "evo1" / "robot.yaml").write_text(robot.text)
    info = json.loads((root / "meta" / "info.json").read_text())
    count = len(meaning.action.names)
    info["features"]["action"] = {"dtype": "float32", "shape": [count], "names": None}
    small_dataset.edit_info(root, **info)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory, robot):
    root = tmp_path_factory.mktemp("libero")
    write_cubes(root / "cubes", robot, KNOWN["libero"])
    return root


def selection(root, meaning, robots_dir):
    path = root / "groups.yaml"
    path.write_text(GROUPS.format(meaning=meaning))
    return DataConfig(groups=str(path), robot=str(robots_dir / "xarm6.yaml"), workers=0)


def seen_in(sample, robot, joints):
    return Observation(
        images={camera.name: sample.images[k] for k, camera in enumerate(robot.cameras)},
        state=joints,
        instruction=sample.instruction,
        stamp_ns=0,
        received_ns=0,
        skew_ns=0,
    )


@pytest.mark.parametrize(
    "meaning",
    [
        KNOWN["libero"],
        EndEffector(action=PoseForm(rotation="rotation_6d", grippers=((1, 0),))),
    ],
    ids=["libero", "poses_with_joints_as_state"],
)
def test_what_training_learns_is_what_the_policy_integrates(tmp_path, robot, robots_dir, meaning):
    write_cubes(tmp_path / "cubes", robot, meaning)
    config = selection(tmp_path, json.dumps(meaning.to_dict()), robots_dir)
    data = open_data(config, dataclasses.replace(MODEL, action_width=12), seed=0)
    stats = compute_stats(data, NormalizationConfig(), action_space=meaning.action_space)
    assert stats["xarm6"].end_effector == meaning
    model = dataclasses.replace(MODEL, action_width=12)
    tokenizer = shipped_checkpoint("xarm6") / "tokenizer"
    save_checkpoint(
        tmp_path / "policy",
        model=new_model(model, seed=0),
        stats=stats["xarm6"],
        interface=robot.interface,
        tokenizer_dir=tokenizer,
        training=UNKNOWN,
    )
    policy = Policy.load(tmp_path / "policy", robot=robot, device="cpu")
    collator, (train_part,) = Collator(model, load_tokenizer(tokenizer), stats), data.train
    for number in (2, 13):  # of the first and the last episode; their chunks are whole
        sample = train_part[number]
        row = sample.frame + (0, 12, 26)[sample.episode]
        seen = seen_in(sample, robot, joints_at(row, robot))
        batch = collator([sample])
        torch.testing.assert_close(policy._inputs(seen).state, batch.state, atol=1e-4, rtol=0)
        policy._engine.sample_actions = lambda *_, actions=batch.actions, **__: actions
        chunk = policy.infer(seen)
        demonstrated = [joints_at(row + k, robot) for k in range(1, 6)]
        np.testing.assert_allclose(chunk.actions, demonstrated, atol=5e-3)
        assert chunk.tool_error.position_m < 1e-3
        assert chunk.tool_error.rotation_rad < 5e-3
        prefix = policy._prefix(_guided(chunk.actions), seen.state).actions
        torch.testing.assert_close(prefix, batch.actions, atol=2e-3, rtol=0)


def _guided(actions):
    return Guidance(actions=actions, weights=np.ones(len(actions)))


def test_beyond_an_episodes_end_a_delta_moves_nothing(cubes, robots_dir):
    data = open_data(selection(cubes, "libero", robots_dir), MODEL, seed=0)
    last = data.train[0][11]  # of the first episode
    assert last.action_mask.tolist() == [True, False, False, False, False]
    assert not last.actions[1:, :6].any()
    np.testing.assert_array_equal(last.actions[1:, 6], last.actions[[0] * 4, 6])
    assert not last.milestone_mask.any()


def test_a_policy_of_deltas_is_trained_goes_on_and_drives_the_simulated_arm(
    cubes, config, robot, robots_dir
):
    data = selection(cubes, "libero", robots_dir)
    short = dataclasses.replace(config.stage1, steps=2)
    deltas = dataclasses.replace(config, data=data, stage1=short)
    first = train(deltas, "stage1").folder.path / "last"
    stats = read_norm_stats(first / "norm_stats.json")
    assert (stats.action_space, stats.end_effector) == ("ee_delta", KNOWN["libero"])
    assert (stats.state.shape, stats.action.shape) == ((8,), (7,))
    assert "action space: ee_delta" in (first / "README.md").read_text()
    again = dataclasses.replace(deltas, name="again", start_from=str(first))
    second = train(again, "stage1").folder.path
    kept = (second / "last" / "norm_stats.json").read_text()
    assert kept == (first / "norm_stats.json").read_text()
    with pytest.raises(CheckpointError, match="lerobot layout has no word for action_space ee"):
        convert_checkpoint(second / "last", first.parent / "out", "lerobot")

    world = World("xarm6", seed=1_000_000)
    policy = Policy.load(second / "last", robot=robot, device="cpu")
    pilot = PolicyPilot(policy, robot, latency_ns=50_000_000)
    pilot.begin(world, "pour")
    images = {camera.name: np.zeros((48, 64, 3), np.uint8) for camera in robot.cameras}
    start = world.joint_positions()
    for k in range(30):
        target = pilot.act(images, world.joint_positions(), START_NS + k * STEP_NS)
        world.move(target, STEP_NS)
    assert pilot.stopped == ("", "")
    assert pilot.status.chunks_accepted > 0
    assert pilot.status.tool_error.position_m < 1e-3
    assert np.abs(world.joint_positions() - start).max() > 1e-3


def test_the_simulations_demonstration_as_deltas_solves_the_task_behind_the_gate(robot):
    world, space = World("xarm6", seed=1_000_000), ToolSpace(KNOWN["libero"], robot)
    plan = Expert(world).plan()
    demonstrated, returned = [], []

    class Deltas:
        """The expert's plan, as a policy that was trained on deltas answers it."""

        horizon = 50

        def infer(self, observation, guidance=None):
            first = (observation.stamp_ns - START_NS) // STEP_NS
            wanted = plan[np.minimum(np.arange(first, first + 50), len(plan) - 1)]
            numbers = space.numbers(wanted, observation.state)
            joints, error = space.joints(numbers, observation.state)
            demonstrated.append(wanted)
            returned.append(joints)
            return ActionChunk(
                actions=joints,
                tool_error=error,
                start_ns=observation.stamp_ns + STEP_NS,
                step_ns=STEP_NS,
                observation_stamp_ns=observation.stamp_ns,
                instruction=observation.instruction,
            )

    pilot = PolicyPilot(Deltas(), robot, latency_ns=100_000_000)
    pilot.begin(world, "put the can into the box")
    for k in range(len(plan) + 30):
        target = pilot.act({}, world.joint_positions(), START_NS + k * STEP_NS)
        world.move(target, STEP_NS)
    assert world.task_status().success, world.task_status().detail
    assert pilot.status.holds == 0
    np.testing.assert_allclose(np.array(returned), np.array(demonstrated), atol=5e-3)


@pytest.fixture
def foreign(tmp_path, robot, robots_dir, installed_robots):
    """The same without our robot file and names, as the hub has it."""
    meaning = dataclasses.replace(
        KNOWN["libero"],
        action=dataclasses.replace(KNOWN["libero"].action, grippers=((1.0, 0.0),)),
    )
    write_cubes(tmp_path / "cubes", robot, meaning)
    shutil.rmtree(tmp_path / "cubes" / "meta" / "evo1")
    return tmp_path / "cubes"


def test_from_a_libero_dataset_of_others_to_a_policy_that_moves_the_joints(
    foreign, config, robot, capsys
):
    words = [str(foreign), "--robot", "xarm6", "--end-effector", "libero"]
    assert adopt.main(words) == 1
    told = capsys.readouterr().err
    assert "the gripper goes from 0.0008" in told
    assert "say it with --gripper=OPEN,CLOSED" in told
    assert adopt.main([*words, "--gripper=1,0"]) == 0
    rows = {tuple(line.split()[:2]): line for line in capsys.readouterr().out.splitlines()}
    assert "(0 open, 1 closed)" in rows["action", "gripper"]
    assert rows["state", "x"].endswith(" m")
    file = adoption_path(foreign)
    assert yaml.safe_load(file.read_text())["end_effector"]["action"]["grippers"] == [[1, 0]]

    report = check(foreign, quick=True)
    assert not [finding for finding in report.findings if finding.code == "adoption"]
    view = view_dataset(foreign, 0)
    assert (view.joints[:1], view.joints[8:9]) == (("state x",), ("action x",))
    assert view.state.values.shape == view.action.values.shape == (12, 15)

    data = DataConfig(datasets=(str(foreign),), holdout=0.0, workers=0)
    short = dataclasses.replace(config.stage1, steps=2)
    folder = train(dataclasses.replace(config, data=data, stage1=short), "stage1").folder.path
    stats = read_norm_stats(folder / "last" / "norm_stats.json")
    assert stats.end_effector.action.grippers == ((1, 0),)
    policy = Policy.load(folder / "last", robot=robot, device="cpu")
    image = np.zeros((24, 32, 3), np.uint8)
    chunk = policy.infer(
        Observation(
            images={camera.name: image for camera in robot.cameras},
            state=np.array(robot.home),
            instruction="pour",
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )
    )
    assert chunk.actions.shape == (5, 7)
    assert chunk.tool_error is not None

    said = yaml.safe_load(file.read_text())
    said["end_effector"]["action"]["grippers"] = [[-1, 1]]
    file.write_text(yaml.safe_dump(said))
    (found,) = [one for one in check(foreign, quick=True).findings if one.code == "adoption"]
    assert "end_effector says -1 when open and 1 when closed" in found.what
    file.write_text(yaml.safe_dump(said | {"state": "elsewhere"}))
    with pytest.raises(DatasetError, match="columns: no elsewhere"):
        open_data(data, MODEL, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--end-effector", "liberty"], "expected libero, libero_authors, bridge, or a YAML file"),
        (["--end-effector", "bridge"], "state: the gripper's numbers go from"),
        (["--end-effector", "libero", "--units", "deg"], "--units: is of joints"),
        (["--gripper", "1,0"], "--gripper says what --end-effector means"),
        (["--end-effector", "libero", "--gripper", "1,1"], "open and closed being two numbers"),
    ],
)
def test_what_adopting_a_tool_cannot_be_told_is_one_line(foreign, options, message, capsys):
    assert adopt.main([str(foreign), "--robot", "xarm6", *options]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not adoption_path(foreign).exists()


@pytest.mark.parametrize(
    ("meaning", "message"),
    [
        ("{action: {}, state: {}}", r"end_effector: action: x, y, z, .*: 6 numbers, but action"),
        (
            "{action: {grippers: [[0, 1]]}, state: {grippers: [[0, 1], [0, 1]]}}",
            r"gripper's numbers go from -?[\d.e-]+ to [\d.]+, but end_effector says 0 when open",
        ),
        (
            "{action: {grippers: [[-3, 1]]}, state: {grippers: [[0.04, 0], [-0.04, 0]]}}",
            r"action: the gripper's numbers go from -0.9965 to 0.9983, but .* says -3 when open",
        ),
        ("{action: {}}", r"state\.shape: 8 numbers .*expected the joints of the robot file"),
        ("{action: {rotation: 3}}", r"cubes\.end_effector\.action\.rotation: expected a"),
        (
            "{action: {grippers: [[0, 1]]}, reference: start}",
            "reference: 'start' counts from the first frame of a chunk",
        ),
        (
            "{action: {grippers: [[0, 1]]}, state: {position_scale: 100, grippers: [[0, 1], "
            "[0, 1]]}}",
            r"state: the tool would be, or move, \d+\.\d+ m .*are these millimetres",
        ),
    ],
)
def test_a_dataset_that_does_not_hold_what_is_said_is_refused(
    cubes, tmp_path, robots_dir, meaning, message
):
    (tmp_path / "cubes").symlink_to(cubes / "cubes")
    with pytest.raises(DatasetError, match=message):
        open_data(selection(tmp_path, meaning, robots_dir), MODEL, seed=0)


def test_choices_that_contradict_the_data_are_refused(cubes, config, robots_dir):
    data = selection(cubes, "libero", robots_dir)
    joint = dataclasses.replace(config, data=data, action_space="joint_relative")
    with pytest.raises(TrainConfigError, match="joint_relative: the data are of ee_delta already"):
        train(joint, "stage1")
    poses = dataclasses.replace(config, data=data, name="poses", action_space="ee_pose")
    with pytest.raises(TrainConfigError, match="ee_pose: the data are of ee_delta already"):
        train(poses, "stage1")
