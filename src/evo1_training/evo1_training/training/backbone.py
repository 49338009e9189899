"""InternVL3-1B as published, original or `-hf`: the backbone to start a training from.

Its language model is cut to the first layers and its language head dropped. Must not import ROS.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from evo1_policy.checkpoint_layouts.contents import CheckpointError
from evo1_policy.checkpoint_layouts.tensor_files import open_safetensors, read_tensors
from evo1_policy.checkpoint_layouts.tensor_names import internvl_places
from evo1_policy.model.config import Evo1Config
from evo1_policy.paths import confined
from evo1_policy.untrusted import read_json

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LAYER = re.compile(r"language_model\.(?:model\.)?layers\.(\d+)\.")


def new_model_on_backbone(
    directory: Path | str,
    config: Evo1Config,
    *,
    seed: int,
    dtype: torch.dtype | None = torch.float32,
) -> "Evo1":
    """A model to train: the backbone from InternVL3-1B's files, the head fresh from `seed`.

    Args:
        directory: holds model.safetensors, or its shards with their index.
        config: its language model may have fewer layers than the file; the rest is dropped.
        seed: of the head's weights; the global RNG stays as it was.
        dtype: of the backbone; None keeps the file's. The head is fp32.

    Raises:
        CheckpointError: it is no such folder, or its tensors do not fit the config: some are
            missing, surplus, of a wrong shape or not finite.
    """
    from evo1_policy.model.action_expert import ActionExpert
    from evo1_policy.model.evo1 import empty_model  # lazily: imports transformers

    def dropped(name: str) -> bool:
        layer = _LAYER.search(name)
        return "lm_head." in name or (layer is not None and int(layer[1]) >= kept)

    model, kept = empty_model(config), config.language.layers
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    with open_safetensors(*_files(Path(directory))) as file:
        places = internvl_places(expected, file.shapes)
        tensors = read_tensors(file, places, expected, dtype=dtype, ignored=dropped)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = ActionExpert(config).state_dict()
    tensors |= {f"action_head.{name}": tensor for name, tensor in head.items()}
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(True).eval()


def _files(directory: Path) -> list[Path]:
    if (directory / _WEIGHTS).is_file():
        return [directory / _WEIGHTS]
    try:
        shards = read_json(directory / _INDEX, what="index of the shards")["weight_map"].values()
        what = f"{directory / _INDEX}: weight_map"
        return [confined(directory, name, what) for name in sorted(set(shards))]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{directory}: no InternVL3 backbone; expected {_WEIGHTS}, or shards with {_INDEX}: "
            f"{error}"
        ) from error
