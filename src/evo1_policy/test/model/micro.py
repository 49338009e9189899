"""The smallest configs that have every part of the real model, for tests."""

import dataclasses

import torch

from evo1_policy.model.config import (
    Evo1Config,
    HeadConfig,
    LanguageConfig,
    Semantics,
    VisionConfig,
)
from evo1_policy.model.preprocessing import ModelInputs

MICRO = Evo1Config(
    vision=VisionConfig(image_size=56, width=16, layers=2, heads=2, mlp_width=24),
    language=LanguageConfig(
        vocab_size=512, width=16, layers=3, heads=4, kv_heads=2, mlp_width=24, max_positions=128
    ),
    head=HeadConfig(layers=2, heads=2, state_hidden=12, output_hidden=12),
    semantics=Semantics(context_length=40),
    views=3,
    horizon=5,
    action_width=6,
    state_width=6,
    num_inference_steps=4,
)
IMAGE_TOKEN = 5
TOKENS = 4  # of a view, at 56 px


def micro(**semantics):
    """MICRO with other semantics."""
    changed = dataclasses.replace(MICRO.semantics, **semantics)
    return dataclasses.replace(MICRO, semantics=changed)


def inputs(config=MICRO, *, batch=2, present=2, pads=6, seed=0):
    """Random inputs: each view's slots after two words, some words, then padding."""
    generator = torch.Generator().manual_seed(seed)
    row, slots, mask = [], [], []
    for view in range(config.views):
        row += [7, 8] + [IMAGE_TOKEN] * TOKENS + [9]
        slots += [False] * 2 + [True] * TOKENS + [False]
        mask += [True] * 2 + [view < present] * TOKENS + [True]
    row += [10, 11, 12] + [0] * pads
    slots += [False] * (3 + pads)
    mask += [True] * 3 + [False] * pads
    size = config.vision.image_size
    images = torch.randn(batch, config.views, 3, size, size, generator=generator)
    images[:, present:] = 0.0
    return ModelInputs(
        images=images,
        input_ids=torch.tensor([row] * batch),
        image_slots=torch.tensor([slots] * batch),
        token_mask=torch.tensor([mask] * batch),
        state=torch.randn(batch, config.state_width, generator=generator),
        action_mask=(torch.arange(config.action_width) < 4).expand(batch, -1),
    )
