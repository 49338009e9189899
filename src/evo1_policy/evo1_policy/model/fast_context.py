"""The backbone, arranged for inference: only what is seen and read is computed.

Absent views are not encoded and the language model gets the visible tokens alone, at their
original positions. What the head sees of the others under 'official_fa2' does not depend on any
input (their rows pass through the MLPs only), so it is computed once.
Equal to VisionLanguage up to rounding. Letters: B batch, P present views, N image tokens of a
view, T visible tokens, U distinct hidden tokens, E width, L context layers. Must not import ROS.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from evo1_policy.model.config import Evo1Config
from evo1_policy.model.preprocessing import normalise_images
from evo1_policy.model.vision_language import VisionLanguage


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What all inferences with one prompt have in common.

    Attributes:
        embedded: (1, T, E) embeddings of the visible tokens; image rows are to be filled.
        image_rows: (P*N,) int64, rows of `embedded` that take the image tokens, in order.
        present: the views whose image counts.
        rotary: cosine and sine of the rotary embedding, (1, T, head width) each.
        hidden: ((L,) 1, U, E) context rows that no input changes, each distinct one once.
        bias: (T + 1 + U,) fp32 to be added to the attention logits of the visible tokens, the
            state and the hidden rows: the logarithm of how often a row occurs, -inf for rows that
            only fill up; None where all are 0.
    """

    embedded: Tensor
    image_rows: Tensor
    present: tuple[int, ...]
    rotary: tuple[Tensor, Tensor]
    hidden: Tensor | None
    bias: Tensor | None


class FastContext:
    """Runs a VisionLanguage's weights, which it shares.

    Args:
        embedder: the weights.
        config: of the model.
        bucket: rows are filled up to a multiple of this, so that prompts of about the same length
            have the same shapes.
    """

    def __init__(self, embedder: VisionLanguage, config: Evo1Config, *, bucket: int = 1) -> None:
        self._embedder = embedder
        self._config = config
        self._bucket = bucket
        self._language = embedder.model.language_model
        projector = embedder.model.multi_modal_projector
        self.dtype: torch.dtype = next(projector.parameters()).dtype
        self.device: torch.device = next(projector.parameters()).device

    def prompt(self, input_ids: Tensor, image_slots: Tensor, token_mask: Tensor) -> Prompt:
        """Analyse one prompt; all arguments (tokens,) on the CPU, as in ModelInputs.

        Raises:
            ValueError: an image slot is missing, or a view is present in part.
        """
        views, per_view = self._config.views, self._config.vision.tokens_per_view
        seen = token_mask[image_slots]
        if seen.numel() != views * per_view:
            raise ValueError(f"expected {views * per_view} image slots, got {seen.numel()}")
        by_view = seen.view(views, per_view)  # (V, N)
        if (by_view.any(dim=1) != by_view.all(dim=1)).any():
            raise ValueError("token_mask: a view must be visible as a whole or not at all")
        present = tuple(by_view.all(dim=1).nonzero().flatten().tolist())
        visible = token_mask.nonzero().flatten()  # (T,)
        # What fills up comes last, where causal rows before it do not see it.
        embedded = self._filled(self._embed(input_ids[visible]))  # (1, T, E)
        places = F.pad(visible, (0, embedded.shape[1] - len(visible)))  # (T,)
        hidden, log_counts = self._hidden(
            input_ids[~token_mask & ~image_slots], absent=views - len(present)
        )
        bias = torch.zeros(embedded.shape[1] + 1)  # (T + 1,)
        bias[len(visible) : -1] = -torch.inf
        return Prompt(
            embedded=embedded,
            image_rows=image_slots[visible].nonzero().flatten().to(self.device),
            present=present,
            rotary=self._language.rotary_emb(embedded, places[None].to(self.device)),
            hidden=hidden,
            bias=torch.cat((bias, log_counts)).to(self.device)
            if hidden is not None or self._bucket > 1
            else None,
        )

    def encode(self, images: Tensor, prompt: Prompt) -> Tensor:
        """Images (B, P, 3, S, S) of the present views, normalised -> context ((L,) B, T, E)."""
        x = prompt.embedded.expand(len(images), -1, -1)  # (B, T, E)
        if prompt.present:
            tokens = self._embedder.encode_images(images.flatten(0, 1).to(self.dtype))
            tokens = tokens.reshape(len(images), -1, tokens.shape[-1])  # (B, P*N, E)
            x = x.index_copy(1, prompt.image_rows, tokens.to(x.dtype))  # (B, T, E)
        outputs = [x]
        for layer in self._language.layers:
            # No mask: causal among the rows given, as they all are visible.
            x = layer(x, attention_mask=None, position_embeddings=prompt.rotary)  # (B, T, E)
            outputs.append(x)
        return self._final(outputs)

    def _hidden(self, ids: Tensor, *, absent: int) -> tuple[Tensor | None, Tensor]:
        """Rows ((L,) 1, U, E) and logarithm of the counts (U,) of masked tokens.

        Other tokens by id, then the black image's.
        """
        if self._config.semantics.context_mode != "official_fa2" or (not absent and not len(ids)):
            return None, torch.zeros(0)
        distinct, counts = ids.unique(return_counts=True)
        rows, counts = self._pass_mlps(self._embed(distinct)), counts.float()
        if absent:
            rows = torch.cat((rows, self._absent_view), dim=-2)
            repeated = torch.full((self._config.vision.tokens_per_view,), float(absent))
            counts = torch.cat((counts, repeated))
        rows = self._filled(rows)
        return rows, F.pad(counts, (0, rows.shape[-2] - len(counts))).log()

    def _filled(self, rows: Tensor) -> Tensor:
        """(..., n, E) -> (..., N, E), rows of zeros behind, N a multiple of the bucket."""
        return F.pad(rows, (0, 0, 0, -rows.shape[-2] % self._bucket))

    @cached_property
    def _absent_view(self) -> Tensor:
        """Context rows of a view without an image, ((L,) 1, N, E)."""
        size = self._config.vision.image_size
        pixels = torch.zeros(1, 3, size, size, dtype=torch.uint8)
        black = normalise_images(pixels, self._config.semantics.image_dtype)
        tokens = self._embedder.encode_images(black.to(self.device, self.dtype))  # (1, N, E)
        return self._pass_mlps(tokens)

    def _pass_mlps(self, x: Tensor) -> Tensor:
        outputs = [x]  # (1, U, E)
        for layer in self._language.layers:
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            outputs.append(x)
        return self._final(outputs)

    def _final(self, outputs: list[Tensor]) -> Tensor:
        last: Tensor = self._language.norm(outputs[-1])
        if self._embedder.context_layers is None:
            return last
        return self._embedder.stack_layers(outputs, last)

    def _embed(self, ids: Tensor) -> Tensor:
        """Token ids (n,) -> (1, n, E); the table may lie on another device than the layers."""
        table: Tensor = self._language.embed_tokens.weight
        return table[ids.to(table.device)].to(self.device)[None]
