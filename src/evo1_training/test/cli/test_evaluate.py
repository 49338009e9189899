import json
import shutil
import sys
from pathlib import Path

import pytest

from evo1_policy.checkpoint import read_checkpoint, save_checkpoint
from evo1_policy.checkpoint_layouts import lerobot, official
from evo1_policy.model.evo1 import new_model
from evo1_training.cli.evaluate import main

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from swaying_arm import PUBLISHED

pytestmark = pytest.mark.gl


@pytest.fixture(scope="module")
def shipped(robots_dir):
    return robots_dir.parents[1] / "evo1_policy" / "checkpoints" / "xarm6_tiny"


def test_a_checkpoint_is_evaluated_with_report_and_numbers(tmp_path, capsys, shipped):
    arguments = ["--checkpoint", str(shipped), "--trials", "1", "--limit-s", "1"]
    arguments += ["--disturb", "distractor", "--workers", "1", "--device", "cpu"]
    written = ["--report", str(tmp_path / "report"), "--json", str(tmp_path / "new" / "it.json")]
    assert main([*arguments, *written]) == 0
    data = json.loads((tmp_path / "new" / "it.json").read_text())
    assert (data["robot"], data["task"], data["latency_ms"]) == ("xarm6", "can_into_box", 100.0)
    assert data["conditions"][0]["success_rate"] == 0.0
    trial = data["trials"][0]
    words = "pick up the can and put it into the white box"
    assert data["instruction"] == trial["instruction"] == words
    assert trial["chunks"] >= 1
    assert (tmp_path / "report" / trial["video"]).is_file()
    assert "distractor" in capsys.readouterr().out


def test_the_numbers_say_what_the_policy_was_told(tmp_path, shipped):
    arguments = ["--checkpoint", str(shipped), "--trials", "1", "--limit-s", "1"]
    arguments += ["--workers", "1", "--device", "cpu", "--instruction", "wait"]
    assert main([*arguments, "--json", str(tmp_path / "it.json")]) == 0
    data = json.loads((tmp_path / "it.json").read_text())
    assert data["instruction"] == data["trials"][0]["instruction"] == "wait"


def test_the_expert_needs_no_checkpoint(capsys):
    assert main(["--expert", "--robot", "so100", "--trials", "1", "--workers", "1"]) == 0
    assert "1/1" in capsys.readouterr().out


def test_all_tasks_are_one_table_with_the_papers_average(tmp_path, capsys):
    arguments = ["--expert", "--task", "all", "--trials", "1", "--limit-s", "1", "--workers", "1"]
    assert main([*arguments, "--json", str(tmp_path / "it.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    tasks = ["can_into_box", "pour", "hand_delivery", "can_stacking"]
    assert [line.split()[:2] for line in lines[1:6]] == [
        *([task, "0/1"] for task in tasks),
        ["average", "0/4"],
    ]
    assert "78%" in lines[5]
    policies = json.loads((tmp_path / "it.json").read_text())["policies"]
    assert [one["task"] for one in policies] == tasks
    assert policies[2]["instruction"] == "put the can into the hand"


def test_policies_are_compared_scene_by_scene(tmp_path, capsys, shipped):
    other = tmp_path / "second"
    shutil.copytree(shipped, other)
    arguments = [str(shipped), str(other), "--trials", "1", "--limit-s", "1", "--workers", "1"]
    assert main([*arguments, "--device", "cpu", "--json", str(tmp_path / "it.json")]) == 0
    said = capsys.readouterr().out
    assert f"none: {other} against {shipped}: +0%" in said
    assert "McNemar's exact p 1.000" in said
    data = json.loads((tmp_path / "it.json").read_text())
    assert [one["policy"] for one in data["policies"]] == [str(shipped), str(other)]
    assert data["comparisons"][0]["p_value"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([], 2, "say who shall be evaluated"),
        (["a", "--expert"], 2, "say who shall be evaluated"),
        (["hub:nobody"], 1, "hub:nobody: expected hub:user/name"),
        (["--expert", "--trials", "0"], 2, "--trials 0"),
        (["--expert", "--disturb", "fog"], 2, "of none, distractor"),
        (["--expert", "--robot", "ur5"], 2, "no simulated arm 'ur5'"),
        (["--expert", "--task", "pouring"], 2, "known: can_into_box, can_stacking"),
        (["--expert", "--task", "all", "--instruction", "go"], 2, "each task has its own words"),
        (["--ros", "--task", "all"], 2, "not with --ros"),
        (["--expert", "--workers", "-1"], 2, "--workers -1"),
        (["--expert", "--smoothing-rad", "0.2"], 2, "--smoothing-rad 0.2: expected 0 to 0.1"),
        (["--checkpoint", "nowhere"], 1, "nowhere: no such checkpoint"),
        (["--checkpoint", "nowhere", "--robot", "no.yaml"], 1, "no.yaml: cannot read"),
    ],
)
def test_a_wrong_choice_is_one_line_that_names_it(arguments, code, named, capsys):
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("evaluate: ")
    assert named in error


def test_a_checkpoint_of_another_robot_is_refused(shipped, capsys):
    assert main(["--checkpoint", str(shipped), "--robot", "so100"]) == 2
    assert "is for the robot 'xarm6'" in capsys.readouterr().err


def test_all_tasks_take_one_checkpoint_or_one_each(shipped, capsys):
    assert main([str(shipped), str(shipped), "--task", "all"]) == 2
    wanted = "expected one, or one for each of can_into_box, pour, hand_delivery, can_stacking"
    assert wanted in capsys.readouterr().err


def test_a_folder_of_others_is_told_what_it_does_not_say(
    tmp_path, shipped, robots_dir, capsys, monkeypatch
):
    monkeypatch.setattr(lerobot, "preset", lambda name: PUBLISHED)
    monkeypatch.setattr(official, "_DEFAULTS", PUBLISHED)
    robot, folder = robots_dir / "xarm6.yaml", tmp_path / "theirs"
    save_checkpoint(
        folder,
        model=new_model(PUBLISHED, seed=0),
        stats=read_checkpoint(shipped).stats,
        interface=read_checkpoint(shipped).interface,
        tokenizer_dir=None,
        layout="official",
    )
    for name in ("evo1_ros2.json", "robot.yaml"):
        (folder / name).unlink()
    arguments = [str(folder), "--robot", str(robot), "--trials", "1", "--limit-s", "1"]
    assert main(arguments) == 1
    assert "--rate HZ" in capsys.readouterr().err
    told = ["--rate", "30", "--tokenizer", str(shipped / "tokenizer"), "--workers", "1"]
    assert main([*arguments, *told, "--device", "cpu"]) == 0
    assert "0/1" in capsys.readouterr().out
    assert main([str(shipped), str(shipped)]) == 2
    assert "only different policies" in capsys.readouterr().err
