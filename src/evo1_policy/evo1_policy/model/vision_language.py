"""The backbone: images and prompt -> context, by transformers' InternVL and Qwen2 classes.

The fusion is ours, and so is what happens to masked tokens. In training the authors used
flash-attention, where a masked token's attention output is zero: such a token passes through the
MLPs only. Their head attends to these tokens, so this must hold on every machine; multiplying
the attention output by the token mask, just before the output projection (which has no bias),
gives exactly that with any attention kernel. Ours, too, is what a vision tower that learns from
scratch starts with: a stem, and places of patches.

Letters: B batch, V views, N image tokens of a view, T prompt tokens, C vision width, E language
width, n images, S edge of an image, G patches along an edge, L context layers. Must not import
ROS. Importing it costs seconds (transformers).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    InternVLConfig,
    InternVLModel,
    InternVLVisionConfig,
    Qwen2Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from evo1_policy.model.action_expert import context_layers
from evo1_policy.model.config import Evo1Config, VisionConfig

MASKED_ROWS = "evo1_masked_rows"  # name of our attention in transformers' registry


def masked_rows_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any
) -> tuple[Tensor, None]:
    """Transformers' SDPA, with the output of masked query tokens set to zero.

    `token_mask` (B, T) bool comes from the call of the language model; without it nothing is set.
    """
    token_mask: Tensor | None = options.pop("token_mask", None)
    output, _ = sdpa_attention_forward(module, query, key, value, *args, **options)  # (B, T, A, F)
    if token_mask is not None:
        output = output * token_mask[:, :, None, None].to(output.dtype)
    return output, None


AttentionInterface.register(MASKED_ROWS, masked_rows_attention)
AttentionMaskInterface.register(MASKED_ROWS, sdpa_mask)


def backbone_config(config: Evo1Config) -> InternVLConfig:
    """The sizes in transformers' terms."""
    vision, language = config.vision, config.language
    return InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=vision.width,
            num_hidden_layers=vision.layers,
            num_attention_heads=vision.heads,
            intermediate_size=vision.mlp_width,
            attention_bias=True,
            image_size=[vision.image_size, vision.image_size],
            patch_size=[vision.patch_size, vision.patch_size],
            layer_scale_init_value=vision.layer_scale_init,
            initializer_range=_initial_spread(vision.width),
        ),
        text_config=Qwen2Config(
            vocab_size=language.vocab_size,
            hidden_size=language.width,
            num_hidden_layers=language.layers,
            num_attention_heads=language.heads,
            num_key_value_heads=language.kv_heads,
            intermediate_size=language.mlp_width,
            max_position_embeddings=language.max_positions,
            rope_parameters={"rope_type": "default", "rope_theta": language.rope_theta},
            use_cache=False,
            initializer_range=_initial_spread(language.width),
        ),
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )


def _initial_spread(width: int) -> float:
    """Deviation of new weights: transformers' 0.02 suits the published widths, not narrow ones."""
    return max(0.02, 0.6 / math.sqrt(width))


def pixel_unshuffle(features: Tensor) -> Tensor:
    """Fold each 2x2 cell of patches into channels.

    Args:
        features: (n, G*G, C) in row-major order.

    Returns:
        (n, G*G/4, 4C); the channels of cell (r, c) are those of the patches (2r, 2c),
        (2r, 2c+1), (2r+1, 2c), (2r+1, 2c+1), in this order.
    """
    n, patches, C = features.shape
    G = round(patches**0.5)
    cells = features.view(n, G // 2, 2, G // 2, 2, C)  # (n, r, dr, c, dc, C)
    return cells.permute(0, 1, 3, 2, 4, 5).reshape(n, patches // 4, 4 * C)


class VisionLanguage(nn.Module):
    """InternVL without its language head, its language model cut to the first layers."""

    def __init__(self, config: Evo1Config) -> None:
        super().__init__()
        self.mask_rows = config.semantics.context_mode == "official_fa2"
        self.context_layers = context_layers(
            config.semantics.integration, config.language.layers, config.head.layers
        )
        self.model = InternVLModel(backbone_config(config))
        if config.vision.stem == "convolutional":
            stem = ConvolutionalStem(config.vision)
            self.model.vision_tower.embeddings.patch_embeddings = stem
        self.model.language_model.set_attn_implementation(MASKED_ROWS)

    def encode_images(self, images: Tensor) -> Tensor:
        """Normalised images (n, 3, S, S) -> image tokens (n, N, E)."""
        tower = self.model.vision_tower
        patches = tower(images).last_hidden_state[:, 1:]  # (n, G*G, C), CLS dropped
        cells = pixel_unshuffle(patches)  # (n, N, 4C)
        return self.model.multi_modal_projector(cells)  # type: ignore[no-any-return]

    def forward(
        self, images: Tensor, input_ids: Tensor, image_slots: Tensor, token_mask: Tensor
    ) -> Tensor:
        """Encode what is seen and asked.

        Args:
            images: (B, V, 3, S, S) normalised; absent views are black.
            input_ids: (B, T) int64.
            image_slots: (B, T) bool, True where an image token goes: B*V*N in all.
            token_mask: (B, T) bool, False for padding and for the slots of absent views.

        Returns:
            context (B, T, E): last hidden states after the final norm. With integration C
            (L, B, T, E): those of each block's language layer, under the same norm.
        """
        features = self.encode_images(images.flatten(0, 1))  # (B*V, N, E)
        embedded = self.model.language_model.embed_tokens(input_ids)  # (B, T, E)
        embedded = embedded.masked_scatter(
            image_slots[..., None], features.to(embedded.dtype)
        )  # (B, T, E), views in order
        # Positions count every slot, masked ones too; a mask is always given because
        # transformers reads positions without a mask as packed sequences.
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]  # (1, T)
        output = self.model.language_model(
            inputs_embeds=embedded,
            attention_mask=token_mask.long(),
            position_ids=positions,
            token_mask=token_mask if self.mask_rows else None,
            use_cache=False,
            output_hidden_states=self.context_layers is not None,
        )
        last: Tensor = output.last_hidden_state  # (B, T, E)
        if self.context_layers is None:
            return last
        return self.stack_layers(output.hidden_states, last)

    def stack_layers(self, hidden: Sequence[Tensor], last: Tensor) -> Tensor:
        """The contexts of integration C.

        Args:
            hidden: the language model's input and the output of each layer, (..., E); the final
                norm makes their sizes alike.
            last: the output of the last layer after the final norm.
        """
        assert self.context_layers is not None
        norm, final = self.model.language_model.norm, len(self.model.language_model.layers)
        return torch.stack([last if k == final else norm(hidden[k]) for k in self.context_layers])


KERNEL = 3
GROUP = 8  # channels that are normalised together


class ConvolutionalStem(nn.Module):
    """Stands where InternVL projects patches: the same grid and width come out.

    Each convolution halves the image and the last has the tower's width; those before have half
    as many channels each, so that all cost about the same. Norms in between keep what differs
    from what is the same everywhere: without them a plain table drowns the things on it.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        halvings = config.patch_size.bit_length() - 1
        widths = [3] + [max(config.width >> (halvings - k), GROUP) for k in range(1, halvings + 1)]
        layers: list[nn.Module] = []
        for k in range(halvings):
            layers += [
                nn.Conv2d(widths[k], widths[k + 1], KERNEL, stride=2, padding=1, bias=False),
                nn.GroupNorm(widths[k + 1] // GROUP, widths[k + 1]),
                nn.GELU(),
            ]
        layers.append(nn.Conv2d(config.width, config.width, 1))
        self.layers = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised images (n, 3, S, S) -> patches (n, G*G, C) in row-major order."""
        dtype = next(self.parameters()).dtype
        # Convolutions of few channels are several times faster with the channels last.
        pixels = pixels.to(dtype, memory_format=torch.channels_last)
        patches: Tensor = self.layers(pixels)  # (n, C, G, G)
        return patches.flatten(2).transpose(1, 2)


def grid_positions(edge: int, width: int) -> Tensor:
    """Sines and cosines of each patch's row and column, waves of 4 to 4G patches.

    New towers start from them: about as large as the patches, so that a place is told from its
    content from the first step. (InternVL's own are learnt, and start small.)

    Args:
        edge: G.
        width: C, a multiple of 4.

    Returns:
        (G*G, C) fp32 in row-major order.
    """
    waves = width // 4
    lengths = 4.0 * edge ** (torch.arange(waves) / max(waves - 1, 1))  # (waves,) [patches]
    angles = 2 * math.pi * torch.arange(edge)[:, None] / lengths  # (G, waves)
    waved = torch.cat([angles.sin(), angles.cos()], dim=1)  # (G, C/2)
    rows, columns = waved[:, None], waved[None]
    shape = (edge, edge, width // 2)
    return torch.cat([rows.expand(shape), columns.expand(shape)], dim=2).flatten(0, 1)
