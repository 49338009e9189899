"""The loss: its times, its path, what it counts, and that it teaches every design."""

from dataclasses import fields

import pytest
import torch
from micro import MICRO, inputs, micro

from evo1_policy.model.evo1 import new_model
from evo1_training.training.flow_loss import (
    flow_loss,
    interpolate,
    masked_loss,
    sample_time,
    time_index,
    training_target,
)

DESIGNS = ["A", "B", "C", "D"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_times_come_from_the_generator_alone():
    before = torch.get_rng_state()
    assert torch.equal(sample_time(5, seeded(1)), sample_time(5, seeded(1)))
    assert torch.equal(before, torch.get_rng_state())


def test_times_are_beta_two_two_and_clamped():
    time = sample_time(40_000, seeded())
    assert time.min() >= 0.02
    assert time.max() <= 0.98
    assert abs(time.mean() - 0.5) < 0.01
    assert abs(time.var() - 0.05) < 0.002  # variance of Beta(2, 2) is 1/20
    # P(t < 1/4) = 3/16 - 2/64 for Beta(2, 2)
    assert abs((time < 0.25).float().mean() - 0.15625) < 0.01


def test_the_path_runs_from_noise_to_actions():
    noise, actions = torch.full((3, 1, 1), -1.0), torch.full((3, 1, 1), 3.0)
    path = interpolate(actions, noise, torch.tensor([0.0, 0.25, 1.0]))
    assert path.flatten().tolist() == [-1.0, 0.0, 3.0]


def test_target_is_velocity_or_clean_chunk():
    noise, actions = torch.tensor([[[0.5]]]), torch.tensor([[[2.0]]])
    assert training_target(actions, noise, "velocity").item() == 1.5
    assert training_target(actions, noise, "sample").item() == 2.0


def test_loss_counts_only_masked_entries():
    predicted = torch.tensor([[[1.0, 7.0], [3.0, 7.0]]])
    target = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    mask = torch.tensor([[[1, 0], [1, 0]]])
    assert masked_loss(predicted, target, mask).item() == pytest.approx(2.5)  # (1 + 4) / 2


def test_training_rows_are_truncated():
    assert time_index(torch.tensor([0.02, 0.4999, 0.98]), 1000).tolist() == [20, 499, 980]
    assert time_index(torch.tensor([0.5]), 999).tolist() == [499]


def test_loss_reaches_every_parameter_that_counts():
    model = new_model(MICRO, seed=0).train()
    batch = inputs(present=3)
    actions = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 5, 6)
    loss = flow_loss(model, batch, actions, mask, torch.Generator().manual_seed(0))
    loss.backward()
    assert torch.isfinite(loss)
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert without == []


def test_loss_is_the_same_for_the_same_generator_and_ignores_padded_actions():
    model = new_model(MICRO, seed=0).eval()
    batch = inputs()
    actions = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 5, 6)
    mask[:, 3:] = 0  # beyond the end of the episode

    def loss(values):
        return flow_loss(model, batch, values, mask, torch.Generator().manual_seed(0)).item()

    other = actions.clone()
    other[..., 4:] = 100.0  # dimensions that this robot does not have
    assert loss(actions) == loss(actions)
    assert loss(actions) == pytest.approx(loss(other), rel=1e-6)


@pytest.mark.parametrize("integration", "ABCD")
def test_two_draws_an_image_give_what_a_batch_with_every_sample_twice_gives(integration):
    model = new_model(micro(integration=integration, context_mode="masked"), seed=0).eval()
    batch = inputs()
    actions = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 5, 6)
    twice = type(batch)(
        **{f.name: getattr(batch, f.name).repeat_interleave(2, 0) for f in fields(batch)}
    )
    one = flow_loss(model, batch, actions, mask, torch.Generator().manual_seed(0), draws=2)
    other = flow_loss(
        model,
        twice,
        actions.repeat_interleave(2, 0),
        mask.repeat_interleave(2, 0),
        torch.Generator().manual_seed(0),
    )
    torch.testing.assert_close(one, other)


def test_a_few_steps_of_training_lower_the_loss():
    model = new_model(micro(prediction="sample"), seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = inputs()
    actions = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 5, 6)
    losses = []
    for _ in range(30):
        loss = flow_loss(model, batch, actions, mask, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("context_mode", ["official_fa2", "masked"])
@pytest.mark.parametrize("integration", DESIGNS)
def test_loss_reaches_every_parameter(integration, context_mode):
    model = new_model(micro(integration=integration, context_mode=context_mode), seed=0).train()
    actions = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(0)
    loss = flow_loss(model, inputs(present=3), actions, torch.ones(2, 5, 6), generator)
    loss.backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert torch.isfinite(loss)
    assert without == []


@pytest.mark.parametrize("integration", DESIGNS)
def test_every_design_learns(integration):
    model = new_model(micro(integration=integration), seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = inputs(present=3)
    actions = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2))
    losses = []
    for _ in range(25):
        loss = flow_loss(
            model, batch, actions, torch.ones(2, 5, 6), torch.Generator().manual_seed(0)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
