"""The whole model at a micro size, and the paper's size without its memory."""

import dataclasses

import pytest
import torch
from micro import MICRO, inputs, micro

from evo1_policy.model.config import preset
from evo1_policy.model.evo1 import empty_model, new_model
from evo1_policy.model.flow_matching import sample_noise

NOISE = sample_noise((2, 5, 6), torch.Generator().manual_seed(9))


def sample(model, batch, noise=NOISE):
    with torch.inference_mode():
        return model.eval().sample_actions(batch, noise)


def test_paper_size_has_775_198_640_parameters():
    model = empty_model(preset("evo1"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 775_198_640
    assert sum(parameter.numel() for parameter in model.embedder.parameters()) == 653_169_280
    assert len(model.state_dict()) == 612 + 116


def test_paper_size_keeps_fourteen_language_layers_and_the_real_rotary_table():
    model = empty_model(preset("evo1"))
    language = model.embedder.model.language_model
    assert len(language.layers) == 14
    frequencies = language.rotary_emb.inv_freq
    assert frequencies.device.type == "cpu"
    assert frequencies[1].item() == pytest.approx(1e6 ** (-2 / 64), rel=1e-6)


def test_tiny_preset_is_a_few_million_parameters():
    model = empty_model(preset("evo1_tiny"))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 2e6 < count < 8e6


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second = new_model(MICRO, seed=1), new_model(MICRO, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
@pytest.mark.parametrize("context_mode", ["official_fa2", "masked"])
def test_sampling_is_deterministic_and_masks_unused_dimensions(prediction, context_mode):
    model = new_model(micro(prediction=prediction, context_mode=context_mode), seed=0)
    batch = inputs()
    actions = sample(model, batch)
    assert actions.shape == (2, 5, 6)
    assert actions.dtype == torch.float32
    assert torch.equal(actions, sample(model, batch))
    assert (actions[..., 4:] == 0).all()
    assert (actions[..., :4] != 0).all()


def test_padding_changes_official_actions_and_not_masked_ones():
    short, long = inputs(pads=2), inputs(pads=9)
    official = new_model(MICRO, seed=0)
    masked = new_model(micro(context_mode="masked"), seed=0)
    assert (sample(official, short) - sample(official, long)).abs().max() > 1e-5
    torch.testing.assert_close(sample(masked, short), sample(masked, long), atol=1e-5, rtol=0)


@pytest.mark.parametrize("part", ["images", "state", "input_ids"])
def test_actions_depend_on_every_input(part):
    model = new_model(MICRO, seed=0)
    batch = inputs(present=3)
    value = getattr(batch, part)
    changed = value.flip(2) if part == "images" else value + 1
    if part == "input_ids":
        changed = torch.where(batch.image_slots, value, changed)
    other = dataclasses.replace(batch, **{part: changed})
    assert (sample(model, batch) - sample(model, other)).abs().max() > 1e-6


def test_bf16_backbone_with_fp32_head_gives_fp32_actions():
    model = new_model(MICRO, seed=0)
    batch = inputs()
    expected = sample(model, batch)
    model.embedder.to(torch.bfloat16)
    actions = sample(model, batch)
    assert actions.dtype == torch.float32
    torch.testing.assert_close(actions, expected, atol=0.05, rtol=0)
