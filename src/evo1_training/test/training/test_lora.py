"""Low-rank adapters, partial freezing and rates by group."""

import copy
import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from torch import nn

from evo1_training.training.config_values import TrainConfigError
from evo1_training.training.lora import SCALE, adapted_weights, add_adapters, merged_weights
from evo1_training.training.optimizer import freeze, parameter_groups, set_modes
from evo1_training.training.session import train
from evo1_training.training.train_config import StageConfig

sys.path.insert(0, str(Path(__file__).parent))
from swaying_arm import MODEL, infer, terminate_at_step

VISION = "embedder.model.vision_tower.*"


def learning(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_merged_weights_are_what_peft_itself_merges():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    config = LoraConfig(r=2, lora_alpha=round(SCALE * 2), target_modules=["0", "2"])
    inject_adapter_in_model(config, module)
    for weight in module.parameters():
        nn.init.normal_(weight)
    merged = merged_weights(module.state_dict())
    for name in ("0", "2"):
        layer = module.get_submodule(name)
        layer.merge()
        assert torch.allclose(merged[f"{name}.weight"], layer.base_layer.weight, atol=1e-6)
        assert torch.equal(merged[f"{name}.bias"], layer.base_layer.bias)
    assert set(merged) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_adapters_learn_in_the_parts_asked_for_and_begin_as_nothing(model, fresh):
    before = torch.get_rng_state()
    freeze(model, StageConfig(lora=("backbone",), lora_rank=2, freeze=(VISION,)), seed=3)
    assert torch.equal(before, torch.get_rng_state())
    found = learning(model)
    assert {name for name in found if name.startswith("action_head.")} == {
        f"action_head.{name}" for name, _ in fresh.action_head.named_parameters()
    }
    backbone = {name for name in found if name.startswith("embedder.")}
    assert backbone
    assert all(".lora_" in name and "vision_tower" not in name for name in backbone)
    plain = merged_weights(model.state_dict())
    assert all(torch.equal(plain[name], weight) for name, weight in fresh.state_dict().items())
    assert set(adapted_weights(model.state_dict())) & found == backbone


def test_the_projections_of_the_heads_attention_learn_in_whole_beside_adapters(model):
    frozen = "action_head.transformer_blocks.0.*"
    freeze(model, StageConfig(lora=("head",), lora_rank=2, freeze=(frozen,)), seed=3)
    head = {name for name in learning(model) if name.startswith("action_head.")}
    whole = {name for name in head if ".lora_" not in name}
    names = {f"action_head.transformer_blocks.1.attn.in_proj_{end}" for end in ("weight", "bias")}
    assert whole == names
    assert not any(name.startswith(frozen[:-1]) for name in head)


def test_the_seed_makes_the_adapters(model, fresh):
    other = copy.deepcopy(fresh)
    stage = StageConfig(lora=("head",), lora_rank=2)
    for each, seed in ((model, 1), (other, 1)):
        freeze(each, stage, seed=seed)
    ours, theirs = (adapted_weights(each.state_dict()) for each in (model, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    third = copy.deepcopy(fresh)
    add_adapters(third, stage, seed=2)
    assert any(
        not torch.equal(w, ours[name]) for name, w in third.state_dict().items() if name in ours
    )


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"freeze": ("embedder.model.vision_towre.*",)}, r"freeze: .*near it: .*vision_tower"),
        ({"freeze": ("*",)}, "freeze: nothing is left to train"),
    ],
)
def test_a_pattern_that_means_nothing_is_refused_with_its_neighbours(model, stage, message):
    with pytest.raises(TrainConfigError, match=message):
        freeze(model, StageConfig(**stage))


def test_frozen_weights_are_in_eval_mode_and_the_rest_is_not(model):
    freeze(model, StageConfig(freeze=("action_head.transformer_blocks.0.*", VISION)))
    set_modes(model)
    blocks = model.action_head.transformer_blocks
    assert not any(module.training for module in blocks[0].modules())
    assert all(module.training for module in blocks[1].modules())
    assert not any(name.startswith(VISION[:-1]) for name in learning(model))


def test_rates_by_group_are_those_of_the_first_pattern_that_matches(model):
    scales = ("embedder.model.vision_tower.*:0.1", "embedder.*:0.5")
    stage = StageConfig(lr=1.0, weight_decay=0.1, lr_scales=scales)
    freeze(model, stage)
    names = {id(weight): name for name, weight in model.named_parameters()}
    rates = {}
    for group in parameter_groups(model.named_parameters(), stage):
        rates |= {names[id(weight)]: group["lr"] for weight in group["params"]}
    assert len(rates) == len(names)
    for name, rate in rates.items():
        inside = name.startswith("embedder.")
        assert rate == (0.1 if name.startswith(VISION[:-1]) else 0.5 if inside else 1.0), name
    with pytest.raises(TrainConfigError, match=r"lr_scales: embeder.*: .*near it: embedder"):
        parameter_groups(model.named_parameters(), StageConfig(lr_scales=("embeder.*:2",)))


def adapters(config):
    section = dataclasses.replace(
        config.single,
        steps=4,
        accumulation=1,
        lora=("backbone", "head"),
        lora_rank=2,
        lr_scales=("embedder.*:0.5",),
    )
    return dataclasses.replace(config, single=section)


@pytest.fixture(scope="module")
def whole(make_config, tmp_path_factory):
    """A run with adapters everywhere and averaged weights, only to be looked at."""
    return train(adapters(make_config(tmp_path_factory.mktemp("runs"))), "single").folder


def test_what_comes_out_is_a_plain_policy(whole, robot):
    from evo1_policy.model.evo1 import new_model

    policy = load_file(whole.path / "last" / "model.safetensors")
    assert set(policy) == set(new_model(MODEL, seed=0).state_dict())
    assert infer(whole.path / "last", robot).shape == (5, robot.width)
    card = (whole.path / "last" / "README.md").read_text()
    assert "backbone by adapters and head by adapters" in card


def test_a_run_with_adapters_that_was_cut_off_is_the_run_that_was_not(config, monkeypatch, whole):
    terminate_at_step(3, monkeypatch)
    first = train(adapters(config), "single")
    assert first.outcome.step == 3
    monkeypatch.undo()
    folder = train(adapters(config), "single").folder
    for file in ("last/model.safetensors", "last/../trainer/adapted.safetensors"):
        ours, theirs = (load_file(each.path / file) for each in (folder, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_compiled_parts_learn_what_the_plain_ones_do(config, monkeypatch):
    compiled, asked = nn.Module.compile, []

    def captured(module):
        asked.append(type(module).__name__)
        if asked[-1] == "ActionExpert":  # ours; the graph is caught, no C++ compiler is needed
            compiled(module, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", captured)
    stage = dataclasses.replace(config.stage1, steps=1)
    data = dataclasses.replace(config.data, holdout=0.0)  # measuring would be caught anew
    losses = []
    for name, compile_ in (("plain", False), ("compiled", True)):
        run = train(
            dataclasses.replace(config, name=name, compile=compile_, stage1=stage, data=data),
            "stage1",
        )
        losses.append(load_file(run.folder.path / "last" / "model.safetensors"))
    assert asked == ["VisionLanguage", "ActionExpert"]
    plain, other = losses
    assert all(torch.allclose(other[name], plain[name], atol=1e-5) for name in plain)
