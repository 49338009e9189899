"""Where the backbone looks for a word, and how far training moved it (paper, Figures 2 and 7).

The paper argues that a frozen first stage preserves what the vision-language model knows. These
are its pictures, and numbers beside them: attention of an instruction's word to the image tokens
in the language model, before and after, and the distance of weights and of hidden states.

Letters: V views, G image tokens along an edge, T prompt tokens, A heads. Must not import ROS.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from evo1_policy.model.evo1 import Evo1
from evo1_policy.model.preprocessing import ModelInputs, prompt_text

GROUPS = {  # of the backbone's parameters, by how their names begin
    "vision": "embedder.model.vision_tower.",
    "projector": "embedder.model.multi_modal_projector.",
    "language": "embedder.model.language_model.",
}


class WordError(ValueError):
    """A word that is not in the instruction; the message has both."""


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Attention of a word to the image tokens.

    Attributes:
        maps: (V, G, G) float64; each view's share of the attention to all image tokens, so all
            views together sum to 1.
        image_share: how much of the word's attention goes to image tokens at all [0..1].
    """

    maps: npt.NDArray[np.float64]
    image_share: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a backbone is from another.

    Attributes:
        weights: |after - before| / |before| by part of the backbone, and 'all'.
        hidden_cosine: mean cosine between the hidden states of the same prompt's valid tokens,
            1 where nothing changed.
    """

    weights: Mapping[str, float]
    hidden_cosine: float


def word_tokens(tokenizer: Tokenizer, instruction: str, word: str, model: Evo1) -> list[int]:
    """Places of a word's tokens in the prompt; of its last occurrence.

    Raises:
        WordError: the instruction has no such word.
    """
    config = model.config
    text = prompt_text(
        instruction, views=config.views, tokens_per_view=config.vision.tokens_per_view
    )
    begin = text.lower().rfind(word.lower())
    if not word.strip() or begin < len(text) - len(instruction.strip()):
        raise WordError(f"'{word}' is not in the instruction '{instruction}'; choose one of it")
    end = begin + len(word)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return [k for k, (a, b) in enumerate(encoding.offsets) if a < end and b > begin]


@torch.inference_mode()
def attention_maps(
    model: Evo1, inputs: ModelInputs, tokens: list[int], *, layer: int = -1
) -> AttentionMaps:
    """Attention of prompt tokens to the image tokens, mean over heads and the tokens.

    Args:
        model: on the CPU, as loaded.
        inputs: one observation (B = 1).
        tokens: places in the prompt, see word_tokens.
        layer: of the language model; the last that Evo-1 keeps by default.
    """
    language = model.embedder.model.language_model
    with _collected(language.layers[layer].self_attn, language) as collected:
        model.encode(inputs)
    attention = collected[-1][0, :, tokens].double().mean(dim=(0, 1))  # (T,)
    slots = (inputs.image_slots & inputs.token_mask)[0]  # of present views
    on_images = attention[slots]
    share = float(on_images.sum())
    edge = round(model.config.vision.tokens_per_view**0.5)
    maps = (on_images / max(share, 1e-12)).view(-1, edge, edge).numpy()
    return AttentionMaps(maps=maps, image_share=share)


@torch.inference_mode()
def drift(before: Evo1, after: Evo1, inputs: ModelInputs) -> Drift:
    """Compare two backbones of one architecture.

    Args:
        before: the backbone that training began with.
        after: the trained one.
        inputs: one observation, for the hidden states.

    Raises:
        ValueError: they are of different sizes.
    """
    old, new = before.state_dict(), after.state_dict()
    weights = {name: _distance(old, new, prefix) for name, prefix in GROUPS.items()}
    weights["all"] = _distance(old, new, "embedder.")
    valid = inputs.token_mask[0]
    states = [_context(model, inputs)[..., valid, :] for model in (before, after)]
    cosine = nn.functional.cosine_similarity(states[0].double(), states[1].double(), dim=-1)
    return Drift(weights=weights, hidden_cosine=float(cosine.mean()))


def _distance(old: Mapping[str, Tensor], new: Mapping[str, Tensor], prefix: str) -> float:
    moved = size = 0.0
    for name, tensor in old.items():
        if not name.startswith(prefix):
            continue
        other = new.get(name)
        if other is None or other.shape != tensor.shape:
            shape = None if other is None else tuple(other.shape)
            raise ValueError(f"{name}: {tuple(tensor.shape)} before, {shape} after; not the same")
        moved += float((other.double() - tensor.double()).square().sum())
        size += float(tensor.double().square().sum())
    return float((moved / size) ** 0.5) if size else 0.0


def _context(model: Evo1, inputs: ModelInputs) -> Tensor:
    keys = model.encode(inputs).keys  # ((L,) B, T+1, E), the state's token last
    return keys[..., 0, : inputs.input_ids.shape[1], :]


@contextlib.contextmanager
def _collected(attention: nn.Module, language: nn.Module) -> Iterator[list[Tensor]]:
    """Let a layer give its attention weights (B, A, T, T), which fused kernels never form.

    Rows of masked tokens differ from the model's own; nobody attends to them here.
    """
    weights: list[Tensor] = []
    before = str(language.config._attn_implementation)  # type: ignore[union-attr]
    hook = attention.register_forward_hook(lambda _, __, output: weights.append(output[1]))
    language.set_attn_implementation("eager")  # type: ignore[operator]
    try:
        yield weights
    finally:
        language.set_attn_implementation(before)  # type: ignore[operator]
        hook.remove()
