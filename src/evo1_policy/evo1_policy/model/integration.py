"""The integration module: how context, state and actions meet in the action expert.

The four designs of the paper (4.4.1, figure 6). They differ in what a block attends to, never in
their tensors: a state dict of one fits the others, name by name.

    A  every block attends to the last context and the state
    B  as A, with every second block attending to the actions themselves instead
    C  each block attends to the state and to a language layer of its own, mid to deep
    D  every block attends to context, state and the actions themselves, jointly

Letters: B batch, T prompt tokens, E width, L context layers. Must not import ROS.
"""

from typing import Literal

import torch
from torch import Tensor

from evo1_policy.model.config import ContextMode, Integration

Attends = Literal["context", "actions", "both"]


def block_attends(integration: Integration, block: int) -> Attends:
    """What block number `block` of the action expert takes its keys and values from."""
    if integration == "B":
        return "actions" if block % 2 else "context"
    return "both" if integration == "D" else "context"


def context_layers(
    integration: Integration, language_layers: int, blocks: int
) -> tuple[int, ...] | None:
    """The language layer that each block reads, counted from 1; None where all read the last.

    With C they spread evenly from the middle of the language model to its end: 7 to 14 for the
    paper's 14 layers and 8 blocks.
    """
    if integration != "C":
        return None
    first = max(1, language_layers // 2)
    span, gaps = language_layers - first, max(1, blocks - 1)
    return tuple(language_layers - ((blocks - 1 - k) * span) // gaps for k in range(blocks))


def integrate(
    context: Tensor, token_mask: Tensor, state_token: Tensor, mode: ContextMode
) -> tuple[Tensor, Tensor | None]:
    """Append the state token to the context.

    Args:
        context: (B, T, E) hidden states of the language model, or (L, B, T, E), one a block.
        token_mask: (B, T) bool, False for padding and for the tokens of absent views.
        state_token: (B, 1, E).
        mode: whether the head sees the masked tokens ('official_fa2') or not ('masked').

    Returns:
        keys (B, T+1, E) or (L, B, T+1, E), and their mask (B, T+1) bool or None where all are
        visible.
    """
    state_token = state_token.expand(*context.shape[:-2], 1, -1)  # ((L,) B, 1, E)
    keys = torch.cat((context, state_token), dim=-2)  # ((L,) B, T+1, E)
    if mode == "official_fa2":
        return keys, None
    visible = torch.ones_like(token_mask[:, :1])  # (B, 1)
    return keys, torch.cat((token_mask, visible), dim=1)  # (B, T+1)
