"""The integration module: how context and state reach the action expert.

Letters: B batch, T prompt tokens, E width. Must not import ROS.
"""

import torch
from torch import Tensor

from evo1_policy.model.config import ContextMode


def integrate(
    context: Tensor, token_mask: Tensor, state_token: Tensor, mode: ContextMode
) -> tuple[Tensor, Tensor | None]:
    """Variant A of the paper: the context as it is, then one state token.

    Args:
        context: (B, T, E) last hidden states of the language model.
        token_mask: (B, T) bool, False for padding and for the tokens of absent views.
        state_token: (B, 1, E).
        mode: whether the head sees the masked tokens ('official_fa2') or not ('masked').

    Returns:
        keys (B, T+1, E), and their mask (B, T+1) bool or None where all are visible.
    """
    keys = torch.cat((context, state_token), dim=1)  # (B, T+1, E)
    if mode == "official_fa2":
        return keys, None
    visible = torch.ones_like(token_mask[:, :1])  # (B, 1)
    return keys, torch.cat((token_mask, visible), dim=1)  # (B, T+1)
