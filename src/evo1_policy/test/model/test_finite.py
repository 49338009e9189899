import dataclasses

import pytest
import torch
from micro import MICRO, inputs

from evo1_policy.model.evo1 import new_model
from evo1_policy.model.finite import first_nonfinite

NOISE = torch.zeros(2, 5, 6)


@pytest.fixture
def model():
    return new_model(MICRO, seed=0).eval()


def test_all_finite_is_none(model):
    assert first_nonfinite(model, inputs(), NOISE) is None


def test_an_input_is_named_with_its_index(model):
    batch = inputs()
    state = batch.state.clone()
    state[1, 3] = float("nan")
    found = first_nonfinite(model, dataclasses.replace(batch, state=state), NOISE)
    assert found == "input state[1, 3]"
    assert first_nonfinite(model, batch, NOISE + float("inf")) == "input noise[0, 0, 0]"


def test_a_weight_is_named_with_its_index(model):
    with torch.no_grad():
        model.action_head.norm_out.bias[2] = float("inf")
    assert first_nonfinite(model, inputs(), NOISE) == "weight action_head.norm_out.bias[2]"


def test_the_first_module_that_overflows_is_named(model):
    with torch.no_grad():  # finite, but their product is not
        model.action_head.state_encoder.fc1.linear.weight.fill_(3e38)
    found = first_nonfinite(model, inputs(), NOISE)
    assert found.startswith("output of action_head.state_encoder.fc1.linear[0, 0]")
