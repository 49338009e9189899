"""The action expert, arranged for inference: what does not change over the steps is done once.

Equal to ActionExpert up to rounding. Its matrices may be bf16; the residual, the norms and the
softmax stay fp32. Letters: B batch, H horizon, d used action dimensions, S keys, E width,
A heads, F head width, L blocks. Must not import ROS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evo1_policy.model.action_expert import ActionBlock, ActionExpert


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Keys and values of every block.

    Attributes:
        blocks: for each block (2, B, A, S, F): keys, then values; None where it attends to the
            actions alone. Where it attends to both, the last H rows are the actions'.
        bias: (1, 1, 1, S) added to the attention logits, None for zero.
    """

    blocks: tuple[Tensor | None, ...]
    bias: Tensor | None


@dataclass(frozen=True, kw_only=True)
class ActionColumns:
    """The parts of the first and the last layer that belong to the used action dimensions."""

    weight_in: Tensor  # (E, d)
    weight_out: Tensor  # (H*d, hidden)
    bias_out: Tensor  # (H*d,)


class FastHead:
    """Runs an ActionExpert's weights, which it shares."""

    def __init__(self, head: ActionExpert) -> None:
        self._head = head
        self._blocks: list[ActionBlock] = list(head.transformer_blocks)  # type: ignore[arg-type]
        self.dtype, self.device = head.seq_pool_proj.weight.dtype, head.seq_pool_proj.weight.device

    def project(self, context: Tensor) -> tuple[Tensor | None, ...]:
        """Context ((L,) B, S, E) -> for each block its keys and values (2, B, A, S, F)."""
        contexts = context if context.ndim == 4 else (context,) * len(self._blocks)
        return tuple(
            None if block.attends == "actions" else _project(block, rows.to(self.dtype))
            for block, rows in zip(self._blocks, contexts, strict=True)
        )

    def keys(
        self,
        context: Tensor,
        state: Tensor,
        constant: Sequence[Tensor | None] = (),
        bias: Tensor | None = None,
    ) -> Keys:
        """Everything that the blocks attend to.

        Args:
            context: ((L,) B, T, E).
            state: (B, state width), normalised and padded.
            constant: `project` of U rows (B = 1) that no input changes.
            bias: (T + 1 + U,) added to the attention logits of all these, state included.
        """
        token = self._head.encode_state(state.to(self.dtype))  # (B, 1, E)
        token = token.expand(*context.shape[:-2], 1, -1)  # ((L,) B, 1, E)
        moving = self.project(torch.cat((context.to(self.dtype), token), dim=-2))
        blocks = tuple(
            None if pair is None else self._assemble(block, pair, fixed)
            for block, pair, fixed in zip(
                self._blocks, moving, constant or (None,) * len(moving), strict=True
            )
        )
        if bias is None:
            return Keys(blocks=blocks, bias=None)
        after = self._head.horizon if self._blocks[0].attends == "both" else 0
        return Keys(blocks=blocks, bias=F.pad(bias, (0, after))[None, None, None].to(self.dtype))

    def _assemble(self, block: ActionBlock, moving: Tensor, fixed: Tensor | None) -> Tensor:
        parts = [moving]  # (2, B, A, T+1, F)
        if fixed is not None:
            parts.append(fixed.expand(-1, moving.shape[1], -1, -1, -1))
        if block.attends == "both":  # room for the actions
            shape = (*moving.shape[:3], self._head.horizon, moving.shape[-1])
            parts.append(moving.new_zeros(shape))
        return torch.cat(parts, dim=3) if len(parts) > 1 else moving.contiguous()

    def time_biases(self, rows: Sequence[int]) -> dict[int, list[Tensor]]:
        """Rows of the time table, carried through each block's first feed-forward layer.

        Returns:
            for each row the bias (4E,) of that layer in each block, the time included.
        """
        pe = self._head.time_pos_enc.pe[0, list(rows)].float()  # (N, E)
        layers = [_widening(block) for block in self._blocks]
        biases = [
            F.linear(pe, layer.weight.float(), layer.bias.float()).to(self.dtype)  # (N, 4E)
            for layer in layers
        ]
        return {row: [bias[k] for bias in biases] for k, row in enumerate(rows)}

    def columns(self, used: Tensor) -> ActionColumns:
        """The layers at both ends, cut to the used dimensions (d,) int64."""
        head = self._head
        out = head.mlp_head.fc2.linear
        rows = torch.arange(head.horizon, device=used.device)[:, None] * head.action_width + used
        return ActionColumns(
            weight_in=head.action_encoder.W1.linear.weight[:, used].contiguous(),
            weight_out=out.weight[rows.flatten()],
            bias_out=out.bias[rows.flatten()],
        )

    def predict(
        self, chunk: Tensor, biases: Sequence[Tensor], keys: Keys, columns: ActionColumns
    ) -> Tensor:
        """One evaluation: noisy chunk (B, H, d) -> velocity or clean chunk (B, H, d), fp32."""
        head, encoder = self._head, self._head.action_encoder
        x = F.linear(chunk.to(self.dtype), columns.weight_in, encoder.W1.linear.bias)
        x = F.relu(x) + encoder.pos_encoding.pe.to(self.dtype)  # (B, H, E)
        x = encoder.W3(F.relu(encoder.W2(x))).float()  # (B, H, E)
        for block, bias, pair in zip(self._blocks, biases, keys.blocks, strict=True):
            x = self._block(block, x, bias, pair, keys.bias)  # (B, H, E)
        pooled = head.seq_pool_proj(_norm(head.norm_out, x).flatten(1).to(self.dtype))  # (B, E)
        hidden = F.relu(head.mlp_head.fc1(pooled))
        flat = F.linear(hidden, columns.weight_out, columns.bias_out)  # (B, H*d)
        return flat.view(chunk.shape).float()

    def _block(
        self, block: ActionBlock, x: Tensor, time: Tensor, pair: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        attention = block.attn
        h = _norm(block.norm1, x).to(self.dtype)  # (B, H, E)
        if pair is None:  # the actions alone: what the context's bias says does not concern it
            pair, bias = _project(block, h), None
        elif block.attends == "both":
            pair[:, :, :, -h.shape[1] :] = _project(block, h)
        E = x.shape[-1]
        q = F.linear(h, attention.in_proj_weight[:E], attention.in_proj_bias[:E])
        q = q.unflatten(-1, (attention.heads, -1)).transpose(1, 2)  # (B, A, H, F)
        merged = F.scaled_dot_product_attention(q, pair[0], pair[1], attn_mask=bias)
        x = x + attention.out_proj(merged.transpose(1, 2).flatten(2))  # (B, H, E)
        u = _norm(block.norm2, x).to(self.dtype)  # (B, H, E)
        u = F.gelu(F.linear(u, _widening(block).weight, time))  # (B, H, 4E)
        return x + block.ff[2](u)  # type: ignore[no-any-return]  # (B, H, E)


def _project(block: ActionBlock, rows: Tensor) -> Tensor:
    """Rows (B, S, E) -> keys and values (2, B, A, S, F)."""
    attention, E = block.attn, rows.shape[-1]
    both = F.linear(rows, attention.in_proj_weight[E:], attention.in_proj_bias[E:])  # (B, S, 2E)
    split: Tensor = both.unflatten(-1, (2, attention.heads, -1))  # (B, S, 2, A, F)
    return split.permute(2, 0, 3, 1, 4)


def _widening(block: ActionBlock) -> nn.Linear:
    layer = block.ff[0]
    assert isinstance(layer, nn.Linear)
    return layer


def _norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def reduce_precision(head: ActionExpert, dtype: torch.dtype) -> None:
    """Convert the matrices in place; norms and sinusoid tables stay fp32.

    The readable path of this head cannot run afterwards.
    """
    for name, parameter in head.named_parameters():
        if "norm" not in name:
            parameter.data = parameter.data.to(dtype)
