"""The action expert: 50 action tokens attend to the context and give one chunk.

How context, state and actions meet in it is one of the paper's four designs (4.4.1, figure 6).
They differ in what a block attends to, never in their tensors: a state dict of one fits the
others, name by name.

    A  every block attends to the last context and the state
    B  as A, with every second block attending to the actions themselves instead
    C  each block attends to the state and to a language layer of its own, mid to deep
    D  every block attends to context, state and the actions themselves, jointly

Module names are those of the published weights, so that a state dict fits name by name.
Letters: B batch, H horizon, D action width, T prompt tokens, S context tokens with the state,
E width, A heads, F head width, L blocks or context layers. Must not import ROS.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from evo1_policy.model.config import TIME_TABLE_LENGTH, ContextMode, Evo1Config, Integration

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


def sinusoid_table(length: int, width: int) -> Tensor:
    """P[p, 2i] = sin(p * 10000^(-2i/width)), P[p, 2i+1] = cos(same); (length, width) fp32."""
    position = torch.arange(length, dtype=torch.float32)[:, None]  # (L, 1)
    even = torch.arange(0, width, 2, dtype=torch.float32)  # (W/2,)
    angle = position * torch.exp(even * (-torch.log(torch.tensor(10000.0)) / width))  # (L, W/2)
    table = torch.zeros(length, width)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : width // 2]
    return table


class SinusoidalPositions(nn.Module):
    """A sinusoid table kept as a buffer `pe` (1, L, W), because checkpoints carry it."""

    pe: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid_table(length, width)[None])


class EmbodimentLinear(nn.Module):
    """One linear layer; published names put the weight under `.linear`."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width_in) -> (..., width_out)."""
        return self.linear(x)  # type: ignore[no-any-return]


class EmbodimentMLP(nn.Module):
    """Linear, ReLU, Linear: the state encoder and the output layer."""

    def __init__(self, width_in: int, hidden: int, width_out: int) -> None:
        super().__init__()
        self.fc1 = EmbodimentLinear(width_in, hidden)
        self.fc2 = EmbodimentLinear(hidden, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width_in) -> (..., width_out)."""
        return self.fc2(F.relu(self.fc1(x)))  # type: ignore[no-any-return]


class ActionEncoder(nn.Module):
    """Noisy actions -> tokens, with the place in the chunk added after the first layer."""

    def __init__(self, action_width: int, width: int, horizon: int) -> None:
        super().__init__()
        self.W1 = EmbodimentLinear(action_width, width)
        self.W2 = EmbodimentLinear(width, width)
        self.W3 = EmbodimentLinear(width, width)
        self.pos_encoding = SinusoidalPositions(horizon, width)

    def forward(self, actions: Tensor) -> Tensor:
        """(B, H, D) -> (B, H, E)."""
        x = F.relu(self.W1(actions))  # (B, H, E)
        x = x + self.pos_encoding.pe[:, : x.shape[1]].to(x.dtype)  # (B, H, E) + (1, H, E)
        x = F.relu(self.W2(x))  # (B, H, E)
        return self.W3(x)  # type: ignore[no-any-return]  # (B, H, E)


class CrossAttention(nn.Module):
    """Multi-head attention of the actions to the context, with torch's parameter names.

    Written as plain softmax(QK)V: on a CPU its bf16 backward pass is several times faster than
    that of the fused kernel, and the weights can be looked at.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))  # rows: q, k, v
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, context: Tensor, key_mask: Tensor | None) -> Tensor:
        """Attend: x (B, H, E), context (B, S, E), key_mask (B, S) bool, True = visible.

        The context may have fewer rows than x: each of them then serves as many in a row.
        """
        weight_q, weight_k, weight_v = self.in_proj_weight.chunk(3)  # (E, E) each
        bias_q, bias_k, bias_v = self.in_proj_bias.chunk(3)  # (E,) each
        q = self._split(F.linear(x, weight_q, bias_q))  # (B, A, H, F)
        k = self._split(F.linear(context, weight_k, bias_k))  # (B, A, S, F)
        v = self._split(F.linear(context, weight_v, bias_v))  # (B, A, S, F)
        if len(k) != len(q):  # several chunks look at one context, projected once
            k, v = (each.repeat_interleave(len(q) // len(k), dim=0) for each in (k, v))
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, A, H, S)
        if key_mask is not None:
            key_mask = key_mask.repeat_interleave(len(scores) // len(key_mask), dim=0)
            scores = scores.masked_fill(~key_mask[:, None, None, :], float("-inf"))
        weights = scores.softmax(dim=-1)  # (B, A, H, S)
        weights = F.dropout(weights, self.dropout, self.training)
        merged = (weights @ v).transpose(1, 2).flatten(2)  # (B, H, E)
        return self.out_proj(merged)  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, -1))  # (B, L, E) -> (B, L, A, F)
        return split.transpose(1, 2)  # (B, A, L, F)


class ActionBlock(nn.Module):
    """Attention, then a feed-forward that also sees the denoising time.

    As published (integration A) there is no self-attention: actions meet only in the pooling
    after the last block.
    """

    def __init__(self, width: int, heads: int, dropout: float, attends: Attends) -> None:
        super().__init__()
        self.attends = attends
        self.norm1 = nn.LayerNorm(width)
        self.attn = CrossAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.ff = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, context: Tensor, time: Tensor, key_mask: Tensor | None) -> Tensor:
        """One block: x (B, H, E), context (B, S, E) as it is, time (B, 1, E) -> (B, H, E)."""
        h = self.norm1(x)  # (B, H, E)
        if self.attends == "actions":
            context, key_mask = h, None
        elif self.attends == "both":
            shared = len(h) // len(context)
            context = torch.cat((context.repeat_interleave(shared, dim=0), h), dim=1)
            # (B, S+H, E)
            if key_mask is not None:
                key_mask = key_mask.repeat_interleave(shared, dim=0)
                key_mask = F.pad(key_mask, (0, h.shape[1]), value=True)  # (B, S+H)
        x = x + self.attn(h, context, key_mask)  # (B, H, E)
        return x + self.ff(self.norm2(x) + time)  # type: ignore[no-any-return]  # (B, H, E)


class ActionExpert(nn.Module):
    """The head: noisy chunk, time and context in; velocity or clean chunk out."""

    def __init__(self, config: Evo1Config) -> None:
        super().__init__()
        width = config.language.width
        head = config.head
        self.gradient_checkpointing = False  # in training: activations twice instead of kept
        self.horizon = config.horizon
        self.action_width = config.action_width
        self.time_pos_enc = SinusoidalPositions(TIME_TABLE_LENGTH, width)
        self.state_encoder = EmbodimentMLP(config.state_width, head.state_hidden, width)
        self.action_encoder = ActionEncoder(config.action_width, width, config.horizon)
        self.transformer_blocks = nn.ModuleList(
            ActionBlock(
                width, head.heads, head.dropout, block_attends(config.semantics.integration, k)
            )
            for k in range(head.layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.seq_pool_proj = nn.Linear(config.horizon * width, width)
        self.mlp_head = EmbodimentMLP(
            width, head.output_hidden, config.horizon * config.action_width
        )

    def encode_state(self, state: Tensor) -> Tensor:
        """Normalised state (B, state width) -> one token (B, 1, E)."""
        return self.state_encoder(state)[:, None]  # type: ignore[no-any-return]

    def forward(
        self, actions: Tensor, time_index: Tensor, keys: Tensor, key_mask: Tensor | None = None
    ) -> Tensor:
        """Predict from a noisy chunk.

        Args:
            actions: (B, H, D) noisy, normalised, masked.
            time_index: (B,) int64 row of the time table.
            keys: (B, S, E) context with the state token, or (L, B, S, E), one for each block;
                with fewer rows than `actions`, each serves as many chunks in a row.
            key_mask: (B, S) bool, True = visible; None shows everything.

        Returns:
            (B, H, D): the velocity, or the clean chunk with prediction 'sample'.
        """
        x = self.action_encoder(actions)  # (B, H, E)
        time = self.time_pos_enc.pe[0, time_index, None].to(x.dtype)  # (B, 1, E)
        contexts = keys if keys.ndim == 4 else (keys,) * len(self.transformer_blocks)
        for block, context in zip(self.transformer_blocks, contexts, strict=True):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, context, time, key_mask, use_reentrant=False)
            else:
                x = block(x, context, time, key_mask)  # (B, H, E)
        x = self.norm_out(x)  # (B, H, E)
        pooled = self.seq_pool_proj(x.flatten(1))  # (B, H*E) -> (B, E)
        chunk = self.mlp_head(pooled)  # (B, H*D)
        return chunk.unflatten(1, (self.horizon, self.action_width))  # type: ignore[no-any-return]
