import dataclasses
import sys
from pathlib import Path

import pytest
import yaml

from evo1_training.cli.train import build_parser, choose_config, main
from evo1_training.training.config_values import described, plain, to_yaml
from evo1_training.training.presets import preset
from evo1_training.training.run_folder import STAGES, RunFolder
from evo1_training.training.train_config import (
    SavingConfig,
    StageConfig,
    TrainConfig,
    WatchingConfig,
    config_from,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from swaying_arm import MODEL, write_dataset

from evo1_policy.robot_config import load_robot


@pytest.fixture
def choices(tmp_path, robots_dir, monkeypatch):
    """A config file of the tiny preset with a micro model, and the data that it names."""
    monkeypatch.setattr("small_dataset.TASKS", ("pick up the can and put it into the white box",))
    robot = load_robot(robots_dir / "xarm6.yaml")
    root = write_dataset(tmp_path / "data" / "sway", robot)
    tiny = preset("tiny")
    stage = dataclasses.replace(tiny.stage2, steps=2, batch_size=2, warmup_steps=0)
    config = dataclasses.replace(
        tiny,
        runs=str(tmp_path / "runs"),
        device="cpu",
        precision="fp32",
        stage1=dataclasses.replace(stage, freeze_backbone=True),
        stage2=stage,
        single=stage,
        data=dataclasses.replace(
            tiny.data, datasets=(), root=str(root.parent), cache_dir=str(tmp_path / "frames")
        ),
        saving=SavingConfig(every=2),
        watching=WatchingConfig(open_loop_frames=2, plots=False),
        model=MODEL,
    )
    file = tmp_path / "choices.yaml"
    file.write_text(to_yaml(plain(config)))
    return file


def test_both_stages_by_their_commands_lead_to_a_policy(choices, tmp_path, capsys, monkeypatch):
    (tmp_path / "ros2").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--stage", "1", "--config", str(choices), "data.workers=0"]) == 0
    said = capsys.readouterr().out
    runs = tmp_path / "runs"
    assert f"ros2 run evo1_training train --stage 2 --name sway --runs {runs}" in said
    assert main(["--stage", "2", "--runs", str(runs), "data.workers=0"]) == 0
    said = capsys.readouterr().out
    best = runs / "sway" / "stage2" / "best"
    assert f"evaluate --checkpoint {best} --task can_into_box" in said
    assert f"xarm6.launch.py task:=can_into_box checkpoint:={best}" in said
    assert (runs / "sway" / "stage2" / "best" / "model.safetensors").is_file()
    assert list((runs / "sway" / "stage2" / "tensorboard").iterdir())
    written = yaml.safe_load((runs / "sway" / "stage2" / "train.yaml").read_text())
    assert written["start_from"] == str(runs / "sway" / "stage1" / "last")
    assert written["data"]["datasets"] == [str(tmp_path / "data" / "sway")]
    assert main(["--stage", "2", "--runs", str(runs), "data.workers=0"]) == 0
    assert "stage2 is finished" in capsys.readouterr().out


def test_help_explains_every_key(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    for key, default, about in (*described(StageConfig), *described(TrainConfig)):
        if not key.startswith(STAGES):
            assert f"  {key} [{default!r}]: {about.split()[0]}" in said


def test_stage2_goes_on_with_what_it_began_from(tmp_path, choices):
    config = config_from(preset("tiny"), file=choices)
    for stage, start in (("stage1", ""), ("stage2", "/before/best")):
        folder = RunFolder(tmp_path / "runs" / "sway" / stage)
        folder.begin(dataclasses.replace(config, name="sway", start_from=start), {})
        folder.end()
    (tmp_path / "runs" / "sway" / "stage1" / "checkpoints" / "step_000002").mkdir(parents=True)
    for words, start in (([], "/before/best"), (["--restart"], "stage1/last")):
        options = build_parser().parse_args(
            ["--stage", "2", "--runs", str(tmp_path / "runs"), *words]
        )
        assert choose_config(options, "stage2").start_from.endswith(start)


def test_stage2_without_a_stage1_says_what_to_do(tmp_path, capsys):
    assert main(["--stage", "2", "--runs", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "no checkpoint of a stage 1; train it first" in said
    assert "--from" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --stage 1, --stage 2 or --single-stage"),
        (["--stage", "1", "--single-stage"], "give either"),
        (["--stage", "1", "stage1.stepz=4"], "stage1.stepz: unknown key; did you mean 'steps'?"),
        (["--stage", "1", "--config", "/nowhere.yaml"], "/nowhere.yaml: cannot read"),
        (["--stage", "1", "--dataset", "/nowhere"], "/nowhere: no such dataset folder"),
        (["--stage", "1", "data.root=/nowhere"], "/nowhere: no dataset below this folder"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_status_1(arguments, message, capsys):
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_printed_config_is_a_config_file(tmp_path, capsys):
    assert main(["--stage", "1", "--preset", "paper", "--print-config", "seed=7"]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "mine.yaml"
    file.write_text(printed)
    assert main(["--stage", "1", "--config", str(file), "--print-config"]) == 0
    assert capsys.readouterr().out == printed
