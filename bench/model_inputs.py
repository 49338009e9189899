"""Observations and noise of the model's shapes: what is measured does not depend on their values.

Letters: B batch, V views, H horizon, D action width.
"""

import numpy as np
import torch
from torch import Tensor

from evo1_policy.model.config import Evo1Config
from evo1_policy.model.flow_matching import sample_noise
from evo1_policy.model.preprocessing import ModelInputs, prepare_views

WORDS = 12  # tokens of the instruction
JOINTS = 7  # used action dimensions
_LINE = 8  # tokens of a view's prompt line around its image tokens


def random_inputs(config: Evo1Config, *, present: int, seed: int = 0) -> ModelInputs:
    """One observation with `present` cameras and a prompt of the usual length (B = 1)."""
    per_view = config.vision.tokens_per_view
    generator = np.random.default_rng(seed)
    semantics = config.semantics
    length = config.views * (per_view + _LINE) + WORDS
    total = semantics.context_length if semantics.context_padding == "fixed" else length
    ids = generator.integers(1, min(config.language.vocab_size, 1000), (1, total))
    slots, mask = np.zeros((1, total), bool), np.zeros((1, total), bool)
    ids[:, length:], mask[:, :length] = 0, True
    for view in range(config.views):
        first = view * (per_view + _LINE) + _LINE - 2
        slots[:, first : first + per_view] = True
        mask[:, first : first + per_view] = view < present
    size = config.vision.image_size
    frames = generator.integers(0, 256, (present, size, size, 3)).astype(np.uint8)
    images = prepare_views(
        list(frames), views=config.views, size=size, dtype=semantics.image_dtype
    )
    return ModelInputs(
        images=images[None],
        input_ids=torch.from_numpy(ids),
        image_slots=torch.from_numpy(slots),
        token_mask=torch.from_numpy(mask),
        state=torch.from_numpy(generator.random((1, config.state_width), np.float32)),
        action_mask=torch.arange(config.action_width)[None] < JOINTS,
    )


def random_noise(config: Evo1Config, *, seed: int = 0) -> Tensor:
    """Denoising noise (1, H, D)."""
    shape = (1, config.horizon, config.action_width)
    return sample_noise(shape, torch.Generator().manual_seed(seed))
