"""Arithmetic of the paper's model, counted by torch on tensors without values."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from evo1_policy.model.config import preset
from evo1_policy.model.evo1 import empty_model

PAPER = preset("evo1")


@pytest.fixture(scope="module")
def model():
    return empty_model(PAPER).eval()


def gigaflops(call, *args):
    with torch.inference_mode(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        call(*args)
    return counter.get_total_flops() / 1e9


def test_one_image_costs_726_gigaflops(model):
    image = torch.empty(1, 3, 448, 448, device="meta")
    assert round(gigaflops(model.embedder.encode_images, image), 1) == 725.9


@pytest.mark.parametrize(("tokens", "expected"), [(1024, 480), (804, 368), (548, 244)])
def test_language_model_costs(model, tokens, expected):
    width = PAPER.language.width
    x = torch.empty(1, tokens, width, device="meta")
    rotary = (torch.empty(1, tokens, 64, device="meta"),) * 2

    def read():
        y = x
        for layer in model.embedder.model.language_model.layers:
            y = layer(y, attention_mask=None, position_embeddings=rotary)

    assert round(gigaflops(read)) == expected


def test_one_step_of_the_head_costs_34_gigaflops(model):
    """26.33 of them are the keys and values of its context, which the fast path projects once."""
    keys = torch.empty(1, 1025, 896, device="meta")
    chunk = torch.empty(1, 50, 24, device="meta")
    row = torch.zeros(1, dtype=torch.long, device="meta")
    step = gigaflops(model.action_head, chunk, row, keys)
    assert round(step, 2) == 34.47
    shorter = gigaflops(model.action_head, chunk, row, keys[:, :1])
    assert round(step - shorter, 2) == round((26.33 + 1.47) * 1024 / 1025, 2)
