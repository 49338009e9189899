import json

import pytest

from evo1_training.cli.evaluate import main

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


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--expert", "--trials", "0"], 2, "--trials 0"),
        (["--expert", "--disturb", "fog"], 2, "of none, distractor"),
        (["--expert", "--robot", "ur5"], 2, "no simulated arm 'ur5'"),
        (["--expert", "--task", "pouring"], 2, "known: can_into_box, can_stacking"),
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
