import dataclasses
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_training.datasets.reader.dataset_config import read_dataset_groups
from evo1_training.training.config_values import TrainConfigError, build, plain, to_yaml, weighted
from evo1_training.training.optimizer import learning_rate
from evo1_training.training.presets import PRESETS, preset
from evo1_training.training.train_config import StageConfig, TrainConfig, config_from, read_yaml


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_from_its_yaml(tmp_path, name):
    file = tmp_path / "train.yaml"
    file.write_text(to_yaml(plain(preset(name))))
    assert build(TrainConfig, read_yaml(file), source="file") == preset(name)


def test_the_paper_preset_is_the_papers_recipe():
    paper = preset("paper")
    assert (paper.stage1.steps, paper.stage2.steps) == (10_000, 65_000)
    assert (paper.stage1.freeze_backbone, paper.stage2.freeze_backbone) == (True, False)
    for stage in (paper.stage1, paper.stage2):
        assert (stage.lr, stage.weight_decay, stage.warmup_steps, stage.clip) == (
            1e-5,
            1e-3,
            1000,
            1.0,
        )
        assert stage.batch_size == 16
    assert paper.model.head.dropout == 0.2
    assert (paper.model.horizon, paper.model.action_width) == (50, 24)
    assert paper.model.semantics.prediction == "velocity"


def test_the_file_replaces_the_preset_and_the_command_line_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 3\nstage1: {lr: 1e-4, steps: 7}\nmodel: {horizon: 10}\n")
    config = config_from(preset("tiny"), file=file, overrides=["stage1.lr=2e-4"])
    assert (config.seed, config.stage1.lr, config.stage1.steps) == (3, 2e-4, 7)
    assert config.model.horizon == 10
    assert config.stage2 == preset("tiny").stage2


def test_a_key_without_its_section_means_the_stage_that_is_run():
    config = config_from(preset("tiny"), overrides=["steps=5", "seed=1"], stage="stage2")
    assert (config.stage2.steps, config.stage1.steps) == (5, preset("tiny").stage1.steps)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage1.learning=1", r"command line: stage1\.learning: unknown key"),
        ("warmup=1", r"command line: warmup: unknown key; did you mean|unknown key"),
        ("stage1.lr=fast", r"stage1\.lr: expected float, got 'fast'"),
        ("stage1.lr=0", r"stage1\.lr: expected more than 0"),
        ("stage1.ema=1", r"stage1\.ema: expected less than 1, got 1"),
        ("hue=0.7", r"hue: unknown key"),
        ("augmentation.hue=0.7", r"augmentation\.hue: expected 0\.5 at most, got 0\.7"),
        ("rollouts.every=-1", r"rollouts\.every: expected 0 or more"),
        ("stage1.lora=[backbone]", r"stage1\.lora: the backbone is frozen here"),
        ("stage2.lora=[eyes]", r"stage2\.lora\[0\]: expected one of backbone, head"),
        ("lr_scales=[fast]", r"stage1\.lr_scales: expected PATTERN:FACTOR, got 'fast'"),
        ("stage1=4", r"stage1: expected a section"),
        ("stage1.steps=1.5", r"stage1\.steps: expected int"),
        ("model.semantics.prediction=noise", r"prediction: expected one of velocity, sample"),
        ("model.vision.image_size=100", r"model\.vision\.image_size: expected a multiple"),
        ("model.horizon=1", r"model\.horizon: expected 2 or more, got 1; the published head"),
        ("precision=fp8", r"precision: expected one of auto, fp32, bf16"),
        ("steps", r"'steps': expected key=value"),
        ("name=a/b", r"name: expected the name of a folder"),
    ],
)
def test_a_wrong_choice_is_named(override, message):
    with pytest.raises(TrainConfigError, match=message):
        config_from(preset("tiny"), overrides=[override])


def test_an_unknown_key_of_a_file_names_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: {worker: 3}\n")
    with pytest.raises(
        TrainConfigError, match=r"mine\.yaml: data\.worker: unknown key; did you mean 'workers'"
    ):
        config_from(preset("tiny"), file=file)


def test_a_file_that_would_not_end_or_is_a_bomb_is_refused(tmp_path):
    pipe, bomb = tmp_path / "pipe.yaml", tmp_path / "bomb.yaml"
    os.mkfifo(pipe)
    with pytest.raises(TrainConfigError, match=r"pipe\.yaml: .* no regular file"):
        config_from(preset("tiny"), file=pipe)
    bomb.write_text("[" * 1000)
    with pytest.raises(TrainConfigError, match=r"bomb\.yaml: not valid YAML: nested deeper"):
        config_from(preset("tiny"), file=bomb)
    bomb.write_text("7\n")
    with pytest.raises(TrainConfigError, match=r"bomb\.yaml: expected keys with values, got int"):
        config_from(preset("tiny"), file=bomb)
    with pytest.raises(TrainConfigError, match="name: not valid YAML: nested deeper"):
        config_from(preset("tiny"), overrides=["name=" + "[" * 1000])


@given(st.text(), st.floats(1e-3, 1e3))
def test_a_number_behind_a_name_is_its_weight(name, weight):
    assert weighted(f"{name}:{weight!r}") == (name, weight)
    assert weighted(f"{name}:{weight!r}:") == (f"{name}:{weight!r}:", None)


def test_a_name_without_a_number_has_no_weight():
    for name in ("~/data", "hub:user/name", "a:0", "a:-1", "a:inf", "a:nan"):
        assert weighted(name) == (name, None)


def test_several_datasets_are_a_list():
    config = config_from(preset("tiny"), overrides=["data.datasets=[a, b]"])
    assert config.data.datasets == ("a", "b")


def test_the_rate_rises_linearly_stays_and_falls_to_nothing():
    stage = StageConfig(steps=110, warmup_steps=10, lr=1.0, flat_share=0.5)
    assert learning_rate(0, stage) == pytest.approx(0.1)
    assert learning_rate(9, stage) == pytest.approx(1.0)
    assert learning_rate(59, stage) == 1.0
    assert learning_rate(85, stage) == pytest.approx(0.5)
    assert learning_rate(110, stage) == pytest.approx(0.0)
    plainly = dataclasses.replace(stage, flat_share=0.0, warmup_steps=0)
    assert learning_rate(55, plainly) == pytest.approx(0.5)


@pytest.mark.parametrize("read", [read_yaml, read_dataset_groups])
def test_a_config_that_never_ends_is_refused(tmp_path, read):
    path = tmp_path / "config.yaml"
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"config\.yaml: .*no regular file"):
        read(path)
