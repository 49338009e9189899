"""From demonstrations of a benchmark, which has no robot, to a policy of it: widths 8 and 4."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from evo1_policy.checkpoint import Checkpoint, Weights, read_checkpoint, save_checkpoint
from evo1_policy.checkpoint import load_model as load_weights
from evo1_policy.interface import load_interface, parse_interface
from evo1_policy.policy import Policy
from evo1_training.cli import train as cli
from evo1_training.cli.edit_dataset import main as edit
from evo1_training.cli.norm_stats import main as norm_stats
from evo1_training.cli.view import main as view
from evo1_training.datasets.checker.checking import check_dataset
from evo1_training.datasets.lerobot.encoding import encode_episode
from evo1_training.datasets.lerobot.schema import AlignedFrame, DatasetSchema
from evo1_training.datasets.lerobot.writing import open_dataset
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.recording.episode import EpisodeError
from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.data_selection import open_data, selected_subject
from evo1_training.training.session import train
from evo1_training.training.starting_point import open_start
from evo1_training.training.train_config import DataConfig, RolloutConfig

sys.path.insert(0, str(Path(__file__).parent))
from swaying_arm import MODEL, terminate_at_step

METAWORLD = load_interface("metaworld")
SIZE = 32


def demonstration(episode, length):
    generator = np.random.default_rng(episode)
    for k in range(length):
        yield AlignedFrame(
            tick_ns=k * METAWORLD.step_ns,
            images={"image_1": generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8)},
            state=np.sin(k / 5 + np.arange(8)),
            action=np.cos(k / 5 + np.arange(4)),
        )


def write(root, version="v3.0", *, interface=METAWORLD, frames=demonstration):
    schema = DatasetSchema(
        interface=interface, fps=80, image_sizes={"image_1": (SIZE, SIZE)}, storage="png"
    )
    writer = open_dataset(root, schema, version=version, append=False)
    for episode, task in enumerate(("press the button", "close the door", "press the button")):
        writer.add(
            encode_episode(
                frames(episode, 10 + episode),
                schema=schema,
                instruction=task,
                source=f"{task} {episode}",
                folder=root.parent / f".encoded_{root.name}_{episode}",
            )
        )
    writer.close()
    return root


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "mt")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The same as somebody else keeps it: other names, and no word of an interface."""
    root = write(tmp_path_factory.mktemp("data") / "theirs", "v2.1")
    (root / "meta/evo1/interface.yaml").unlink()
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.state"]["names"] = None
    info["features"]["action"]["names"] = {"motors": ["a", "b", "c", "d"]}
    path.write_text(json.dumps(info))
    return root


@pytest.fixture(scope="module")
def trained(make_config, demonstrations, tmp_path_factory):
    """A policy of a few steps, with every part of a run."""
    return train(of_data(make_config(tmp_path_factory.mktemp("runs")), demonstrations), "single")


def of_data(config, *paths, **more):
    data = dataclasses.replace(config.data, datasets=tuple(map(str, paths)), **more)
    return dataclasses.replace(config, data=data)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_demonstrations_of_a_benchmark_are_a_dataset_that_our_tools_read(
    tmp_path, version, capsys
):
    root = write(tmp_path / "mt", version)
    assert (root / "meta/evo1/interface.yaml").read_text() == METAWORLD.text
    features = json.loads((root / "meta/info.json").read_text())["features"]
    assert features["observation.state"]["names"] == list(METAWORLD.state)
    assert (features["action"]["shape"], features["action"]["names"]) == (
        [4],
        ["x", "y", "z", "gripper"],
    )
    assert not [name for name in features if name.startswith("evo1.")]
    report = check_dataset(root)
    assert not [finding for finding in report.findings if finding.severity == "error"]
    assert view([str(root), "--out", str(tmp_path / "view"), "--columns", "2"]) == 0
    assert norm_stats([str(root), "--out", str(tmp_path / "stats.json")]) == 0
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert stats["action_space"] == "raw"
    assert len(stats["stats"]["metaworld_robot"]["observation.state"]["min"]) == 8
    assert "gripper" in capsys.readouterr().out


def test_an_edited_dataset_keeps_its_interface(demonstrations, tmp_path):
    assert edit([str(demonstrations), "--delete", "0", "--to", str(tmp_path / "two")]) == 0
    config = DataConfig(datasets=(str(tmp_path / "two"),))
    assert selected_subject(config) == (METAWORLD, None)
    assert len(open_data(config, MODEL, seed=0).train[0].samples.folder.episodes) == 2


def test_a_frame_of_other_widths_is_refused(tmp_path):
    def narrow(episode, length):
        for frame in demonstration(episode, length):
            yield dataclasses.replace(frame, action=frame.action[:3])

    with pytest.raises(EpisodeError, match=r"action: expected 4 numbers, got \(3,\)"):
        write(tmp_path / "mt", frames=narrow)


def test_training_on_a_benchmark_gives_a_policy_that_answers(trained):
    folder = trained.folder.path / "best"
    assert "held-out error" in trained.summary
    assert "as in the data: x " in trained.summary
    assert "--suite metaworld --checkpoint" in trained.summary
    assert (folder / "interface.yaml").read_text() == METAWORLD.text
    assert not (folder / "robot.yaml").exists()
    policy = Policy.load(folder, device="cpu")
    assert policy.interface == METAWORLD
    answer = policy.predict([np.zeros((SIZE, SIZE, 3), np.uint8)], np.zeros(8), "press the button")
    assert answer.shape == (MODEL.horizon, policy.action_width)
    assert np.isfinite(answer).all()
    assert (answer[:, :4] != 0).all()
    assert (answer[:, 4:] == 0).all()


def test_a_run_on_a_benchmark_goes_on_where_it_was_cut_off(
    make_config, demonstrations, tmp_path, monkeypatch
):
    config = of_data(make_config(tmp_path), demonstrations)
    with monkeypatch.context() as cut:
        terminate_at_step(2, cut)
        cut_off = train(config, "single")
    assert cut_off.outcome.interrupted
    tries = f"--suite metaworld --checkpoint {cut_off.folder.path / 'last'}"
    assert re.search(rf"What it learnt so far:\n  .*evaluate {re.escape(tries)}", cut_off.summary)
    assert train(config, "single").outcome.step == 6


def test_a_policy_of_the_same_benchmark_starts_with_its_stats_and_of_another_without(
    trained, make_config, demonstrations, tmp_path, robot
):
    config = of_data(make_config(tmp_path), demonstrations)
    config = dataclasses.replace(config, start_from=str(trained.folder.path / "last"))
    assert isinstance(open_start(config, METAWORLD, None), Checkpoint)
    other = dataclasses.replace(METAWORLD, embodiment="other")
    assert type(open_start(config, other, None)) is Weights
    assert type(open_start(config, robot.interface, robot)) is Weights


@pytest.mark.parametrize("layout", ["official", "lerobot"])
def test_a_benchmarks_policy_is_exported_and_comes_back(trained, tmp_path, layout):
    checkpoint = read_checkpoint(trained.folder.path / "best")
    save_checkpoint(
        tmp_path / layout,
        model=load_weights(checkpoint, dtype=None),
        stats=checkpoint.stats,
        interface=checkpoint.interface,
        tokenizer_dir=checkpoint.tokenizer,
        layout=layout,
    )
    request = ([np.zeros((SIZE, SIZE, 3), np.uint8)], np.zeros(8), "press the button")
    answers = [
        Policy.load(path, device="cpu").predict(*request)
        for path in (trained.folder.path / "best", tmp_path / layout)
    ]
    np.testing.assert_array_equal(*answers)


def test_a_dataset_of_others_is_taken_where_it_is_said_of_which_benchmark(foreign):
    with pytest.raises(DatasetError, match=r"no meta/evo1/robot\.yaml.*--interface metaworld"):
        selected_subject(DataConfig(datasets=(str(foreign),)))
    options = cli.build_parser().parse_intermixed_args(
        ["--single-stage", "--dataset", str(foreign), "--interface", "metaworld"]
    )
    config = cli.choose_config(options, "single")
    data = open_data(config.data, MODEL, seed=0)
    assert (data.interface, data.robot) == (METAWORLD, None)
    sample = data.train[0][0]
    assert (sample.state.shape, sample.actions.shape) == ((8,), (MODEL.horizon, 4))
    assert sample.view_mask.tolist() == [True, False]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("rate_hz: 80", "rate_hz: 20", "fps: 80, but metaworld has rate_hz 20"),
        ("[x, y, z, gripper]", "[x, y, z]", r"4 numbers; the action of metaworld has 3 \(x, y, z"),
        ("[image_1]", "[image_1, image_2]", r"observation\.images\.image_2"),
    ],
)
def test_data_that_are_not_of_the_interface_are_refused(foreign, tmp_path, old, new, says):
    parse_interface(METAWORLD.text.replace(old, new))
    file = tmp_path / "mine.yaml"
    file.write_text(METAWORLD.text.replace(old, new))
    config = DataConfig(datasets=(str(foreign),), interface=str(file))
    with pytest.raises(DatasetError, match=says):
        open_data(config, MODEL, seed=0)


def test_a_dataset_of_one_benchmark_is_not_that_of_another_or_of_a_robot(
    demonstrations, dataset, robots_dir
):
    config = DataConfig(datasets=(str(demonstrations),), robot=str(robots_dir / "xarm6.yaml"))
    with pytest.raises(DatasetError, match="fps"):
        open_data(config, MODEL, seed=0)
    config = DataConfig(datasets=(str(dataset),), interface="libero")
    with pytest.raises(DatasetError, match="fps: 30, but libero has rate_hz 20"):
        open_data(config, MODEL, seed=0)
    with pytest.raises(DatasetError, match="give one of them"):
        selected_subject(dataclasses.replace(config, robot="xarm6"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rollouts": RolloutConfig(every=2)}, "a benchmark is not tried while training"),
        ({"action_space": "joint_relative"}, "metaworld has no arm, its numbers are learnt"),
    ],
)
def test_what_needs_an_arm_is_refused_for_a_benchmark(
    make_config, demonstrations, tmp_path, changes, says
):
    config = dataclasses.replace(of_data(make_config(tmp_path), demonstrations), **changes)
    with pytest.raises(TrainConfigError, match=says):
        train(config, "single")
