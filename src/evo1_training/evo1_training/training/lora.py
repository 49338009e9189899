"""Low-rank adapters: peft puts them into a model, and what is written has them merged.

Merged from the saved tensors, never in place: taking a merge back would not give the same numbers
again, and a run that was resumed would not be the run that was not. Must not import ROS.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from evo1_training.training.train_config import StageConfig

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

SCALE = 2.0  # peft's alpha / rank
_RAW = "in_proj_"  # without these the head's attention would look where it always looked
_BASE, _A, _B = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"


def add_adapters(model: "Evo1", stage: StageConfig, *, seed: int) -> None:
    """Let the stage's parts learn by adapters of their linear layers.

    The projections of the head's attention, which are no layers, learn in whole; all else in the
    parts rests. Layers that are frozen already get none. The model computes what it did before.

    Args:
        model: plain; it is changed in place.
        stage: which parts, and the rank.
        seed: of the adapters' weights; the global RNG stays as it was.
    """
    from peft import LoraConfig, inject_adapter_in_model  # lazily: seconds

    parts = {"backbone": model.embedder, "head": model.action_head}
    adapted = tuple(module for name, module in parts.items() if name in stage.lora)
    inside = {id(module) for part in adapted for module in part.modules()}
    whole = {id(w) for part in adapted for w in part.parameters()}
    trained = [
        w
        for name, w in model.named_parameters()
        if w.requires_grad and (id(w) not in whole or name.rpartition(".")[2].startswith(_RAW))
    ]
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside and module.weight.requires_grad
    ]
    rank = stage.lora_rank
    config = LoraConfig(r=rank, lora_alpha=round(SCALE * rank), target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for weight in trained:  # peft leaves the adapters alone to learn
        weight.requires_grad_(True)


def adapted_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of all weights of a model those of adapters and of the layers under them."""
    return {name: w for name, w in weights.items() if _BASE in name or ".lora_" in name}


def merged_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All weights of a model with adapters as the plain model has them, by its names."""
    plain = {name.replace(_BASE, "."): w for name, w in weights.items() if ".lora_" not in name}
    for name, down in weights.items():
        if name.endswith(_A):
            layer = name.removesuffix(_A)
            plain[f"{layer}.weight"] = torch.addmm(
                plain[f"{layer}.weight"], weights[layer + _B], down, alpha=SCALE
            )
    return plain
