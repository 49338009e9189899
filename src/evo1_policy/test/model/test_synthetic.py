import dataclasses

import pytest
import torch
from micro import MICRO

from evo1_policy.model.config import preset
from evo1_policy.model.engine import Engine
from evo1_policy.model.evo1 import new_model
from evo1_policy.model.synthetic import random_inputs, random_model, random_noise


def test_papers_prompt_has_the_usual_counts():
    config = preset("evo1")
    inputs = random_inputs(config, present=2)
    assert inputs.input_ids.shape == (1, 1024)
    assert int(inputs.image_slots.sum()) == 3 * 256
    assert int(inputs.token_mask.sum()) == 548
    assert inputs.images.shape == (1, 3, 3, 448, 448)
    black = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert inputs.images[0, 2, :, 0, 0].tolist() == pytest.approx(black)


def test_equal_seeds_give_equal_models_and_inputs():
    first, second = random_model(MICRO, seed=1), random_model(MICRO, seed=1)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    config = preset("evo1_tiny")
    a, b = random_inputs(config, present=1), random_inputs(config, present=1)
    for item in dataclasses.fields(a):
        assert torch.equal(getattr(a, item.name), getattr(b, item.name))


def test_random_model_has_every_tensor_of_a_new_one_and_is_finite():
    model = random_model(preset("evo1_tiny"))
    fresh = new_model(preset("evo1_tiny"), seed=0).state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.shape == fresh[name].shape
        assert torch.isfinite(tensor).all()
    pe = "action_head.time_pos_enc.pe"
    assert torch.equal(model.state_dict()[pe], fresh[pe])


def test_both_paths_agree_on_the_tiny_model_in_the_memory_order_of_cpus():
    config = preset("evo1_tiny")
    model = random_model(config)
    noise = random_noise(config)
    for present in (1, 2):
        inputs = random_inputs(config, present=present)
        with torch.inference_mode():
            expected = model.sample_actions(inputs, noise)
        engine = Engine.for_device(model, torch.device("cpu"))
        got = engine.sample_actions(inputs, noise)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
