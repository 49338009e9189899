"""adopt as a person runs it, and what comes of it."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
sys.path.insert(0, str(Path(__file__).parents[1] / "datasets" / "reader"))
from foreign_dataset import KINDS, Foreign, write
from huggingface_hub import constants
from swaying_arm import MODEL, choices

from evo1_policy.normalization import read_norm_stats
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_policy.robot_config import load_robot
from evo1_training.cli import adopt, check_dataset, norm_stats, view
from evo1_training.cli.train import main as train
from evo1_training.datasets.reader.adoption import adoption_path
from evo1_training.training.config_values import plain, to_yaml
from evo1_training.training.data_selection import open_data
from evo1_training.training.train_config import DataConfig

DEGREES = Foreign(scale=45.0, middle=(0.0, 0.0, 0.0, 0.0, 0.0, 50.0))
ANSWERS = ["--units", "deg", "--camera", "image_1=front", "--camera", "image_2=top"]


@pytest.fixture
def dataset(tmp_path, installed_robots):
    return write(tmp_path / "so101 pick", DEGREES)


def test_from_degrees_under_other_names_to_a_policy_in_radians(
    dataset, tmp_path, robots_dir, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert adopt.main([str(dataset), "--robot", "so100", *ANSWERS]) == 0
    assert check_dataset.main([str(dataset), "--quick"]) == 0
    assert view.main([str(dataset), "--out", str(tmp_path / "pictures")]) == 0
    stats = tmp_path / "stats.json"
    assert norm_stats.main([str(dataset), "--out", str(stats)]) == 0
    assert "gripper_joint  action" in capsys.readouterr().out

    config = choices(tmp_path / "runs", dataset)
    single = dataclasses.replace(config.single, steps=2)
    file = tmp_path / "choices.yaml"
    file.write_text(to_yaml(plain(dataclasses.replace(config, single=single))))
    assert train(["--single-stage", "--config", str(file)]) == 0

    robot = load_robot(robots_dir / "so100.yaml")
    best = tmp_path / "runs/sway/single/best"
    found = read_norm_stats(best / "norm_stats.json")
    # Up to 45 degrees of LeRobot to either side of the middle of the elbow, and of the wrist.
    assert (found.action.min[3], found.action.max[2]) == pytest.approx((-2.43, 0.7), abs=0.1)
    policy = Policy.load(best, robot=robot, device="cpu")
    chunk = policy.infer(
        Observation(
            images={camera.name: np.zeros((24, 32, 3), np.uint8) for camera in robot.cameras},
            state=np.array(robot.home),
            instruction="pick up the block",
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )
    )
    assert chunk.actions.shape == (5, 6)
    assert np.abs(chunk.actions).max() < 10  # degrees would reach 45 and more


def test_a_run_whose_dataset_was_adopted_anew_does_not_go_on(dataset, tmp_path, capsys):
    assert adopt.main([str(dataset), "--robot", "so100", *ANSWERS]) == 0
    config = choices(tmp_path / "runs", dataset)
    single = dataclasses.replace(config.single, steps=1)
    file = tmp_path / "choices.yaml"
    file.write_text(to_yaml(plain(dataclasses.replace(config, single=single))))
    words = ["--single-stage", "--config", str(file)]
    assert train(words) == 0
    path = adoption_path(dataset)
    text = path.read_text()
    path.write_text(text + "# by hand, since\n")
    capsys.readouterr()
    assert train(words) == 1
    told = capsys.readouterr().err
    assert "so101 pick was adopted anew since" in told
    assert "--restart" in told


def test_twice_is_the_same_as_once(dataset, capsys):
    command = [str(dataset), "--robot", "so100", *ANSWERS]
    assert adopt.main(command) == 0
    said = capsys.readouterr().out
    file = dataset.parent / "so101 pick.evo1.yaml"
    assert f"{file}: written" in said
    assert f"check_dataset '{dataset}'" in said or f"check-dataset '{dataset}'" in said
    assert (dataset.parent / "so101 pick.evo1.png").stat().st_size > 1000
    before, when = file.read_bytes(), file.stat().st_mtime_ns
    assert adopt.main(command) == 0
    assert f"{file}: as it was" in capsys.readouterr().out
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, when)
    assert sorted(path.name for path in dataset.parent.iterdir() if "pick" in path.name) == [
        "so101 pick",
        "so101 pick.evo1.png",
        "so101 pick.evo1.yaml",
    ]


def test_the_table_says_where_limits_are_left(tmp_path, installed_robots, robots_dir, capsys):
    root = write(tmp_path / "d", dataclasses.replace(KINDS["radians"], scale=1.7))
    robot = yaml.safe_load((robots_dir / "so100.yaml").read_text())
    robot["joints"][3]["position"] = robot["joints"][5]["position"] = [-3.5, 3.5]
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(robot))
    assert adopt.main([str(root), "--robot", str(tmp_path / "wide.yaml")]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "beyond in" in rows["elbow_flex_joint"]
    assert "-1.70 .. 1.55" in rows["elbow_flex_joint"]
    assert "beyond" not in rows["gripper_joint"]
    assert yaml.safe_load((tmp_path / "d.evo1.yaml").read_text())["robot"] == str(
        tmp_path / "wide.yaml"
    )


def test_a_dataset_in_the_cache_of_the_hub_is_adopted_and_trained_by_its_name(
    tmp_path, installed_robots, capsys, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    place, commit = tmp_path / "hub/datasets--user--pick", "1" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text(commit)
    root = write(place / "snapshots" / commit, DEGREES)
    assert adopt.main(["hub:user/pick", "--robot", "so100", *ANSWERS]) == 0
    assert f"{place / commit}.evo1.yaml: written" in capsys.readouterr().out
    assert [path.name for path in root.parent.iterdir()] == [commit]  # the hub's own folder
    config = DataConfig(datasets=("hub:user/pick",), holdout=0.0)
    data = open_data(config, MODEL, seed=0)
    assert (data.interface.name, data.train[0].samples.spec.name) == ("so100", "pick")
    assert adopt.main(["hub:user/other", "--robot", "so100"]) == 1
    assert "hf download user/other --repo-type dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--robot", "so99"], "no robot file 'so99'"),
        (["--robot", "so100"], "in which unit"),
        (["--robot", "so100", "--units", "inch"], "--units inch: no such unit; known: rad"),
        (["--robot", "so100", "--units", "thumb=deg"], "--units thumb: not in the robot file"),
        (["--robot", "so100", "--joint", "elbow_flex_joint"], "expected NAME=VALUE"),
        (["--robot", "so100", "--joint", "elbow_flex_joint=9"], "--joint elbow_flex_joint=9"),
        (["--robot", "so100", "--units", "rad"], "beyond what the robot file's joints can mean"),
        (["--robot", "so100", "--units", "deg", "--camera", "image_1=nose"], "has front, top"),
        (["--robot", "so100", "--state", "observation.states"], "no 'observation.states'"),
        (["--robot", "so100", "--calibration", "/nowhere.json"], "/nowhere.json"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(dataset, options, message, capsys):
    cameras = [] if "--camera" in options else ANSWERS[2:]
    assert adopt.main([str(dataset), *options, *cameras]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(dataset.parent.glob("*.evo1.*"))


def test_everything_that_must_be_said_is_told_at_once(dataset, capsys):
    assert adopt.main([str(dataset), "--robot", "so100"]) == 1
    said = capsys.readouterr().err
    for option in ("--units UNIT", "--camera image_1=NAME", "--camera image_2=NAME"):
        assert f"say it with {option}" in said


def test_a_person_at_a_terminal_is_asked(dataset, monkeypatch, capsys):
    answers = iter(["7", "1", "front", "top"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert adopt.main([str(dataset), "--robot", "so100"]) == 0
    said = capsys.readouterr().out
    assert "in which unit" in said
    assert "  1  deg\n  2  range_m100_100" in said
    joints = yaml.safe_load((dataset.parent / "so101 pick.evo1.yaml").read_text())["joints"]
    assert joints["elbow_flex_joint"]["unit"] == "deg"

    def hang_up(_):
        raise EOFError

    monkeypatch.setattr("builtins.input", hang_up)
    assert adopt.main([str(dataset), "--robot", "so100"]) == 1
    assert capsys.readouterr().err == "adopt: no answer; say it with --units UNIT\n"
