import dataclasses

import pytest
import torch
from micro import inputs
from swaying_arm import MODEL

from evo1_training.training.flow_loss import flow_loss
from evo1_training.training.optimizer import (
    WeightAverage,
    freeze,
    new_optimizer,
    parameter_groups,
    set_modes,
)
from evo1_training.training.train_config import StageConfig


def test_matrices_decay_and_norms_biases_and_vectors_do_not(model):
    freeze(model, StageConfig())
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = parameter_groups(model.named_parameters(), StageConfig(weight_decay=0.1))
    decaying, others = groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    for weight in decaying["params"]:
        assert weight.ndim > 1
        assert "norm" not in names[id(weight)]
    skipped = {names[id(weight)] for weight in others["params"]}
    assert "action_head.norm_out.weight" in skipped
    assert "action_head.transformer_blocks.0.attn.in_proj_bias" in skipped
    assert len(decaying["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_a_frozen_backbone_is_in_eval_mode_without_gradients_or_optimiser(model):
    stage = StageConfig(freeze_backbone=True)
    freeze(model, stage)
    set_modes(model)
    assert not any(module.training for module in model.embedder.modules())
    assert all(module.training for module in model.action_head.modules())
    assert not any(weight.requires_grad for weight in model.embedder.parameters())
    optimizer = new_optimizer(model.named_parameters(), stage, torch.device("cpu"))
    kept = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert kept == {id(weight) for weight in model.action_head.parameters()}


def test_stage_two_thaws_what_stage_one_froze(model):
    freeze(model, StageConfig(freeze_backbone=True))
    freeze(model, StageConfig())
    assert all(weight.requires_grad for weight in model.parameters())


def test_gradient_checkpointing_changes_no_gradient(model):
    batch = inputs(dataclasses.replace(MODEL, views=2))
    chunk, mask = torch.randn(2, 5, 8), torch.ones(2, 5, 8)
    batch = dataclasses.replace(
        batch, state=torch.randn(2, 8), action_mask=torch.ones(2, 8, dtype=torch.bool)
    )
    gradients = []
    for checkpointing in (False, True):
        stage = StageConfig(gradient_checkpointing=checkpointing)
        freeze(model, stage)
        set_modes(model)
        model.zero_grad()
        torch.manual_seed(0)
        flow_loss(model, batch, chunk, mask, torch.Generator().manual_seed(0)).backward()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_the_average_follows_slowly_and_gives_the_weights_back():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    average = WeightAverage(module, 0.5)
    torch.nn.init.ones_(module.weight)
    average.update(100)
    with average.applied():
        assert module.weight.item() == pytest.approx(0.5)
        assert average.state_dict()["weight"].item() == 1.0
    assert module.weight.item() == 1.0
    assert average.state_dict()["weight"].item() == pytest.approx(0.5)
