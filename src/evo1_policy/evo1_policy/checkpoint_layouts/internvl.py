"""InternVL3-1B as published, original or `-hf`: the backbone to start a training from.

Its language model is cut to the first layers and its language head dropped. Must not import ROS.
"""

import json
import re
from pathlib import Path

import torch
from torch import Tensor

from evo1_policy.checkpoint_layouts.contents import CheckpointError
from evo1_policy.checkpoint_layouts.tensor_files import open_safetensors, read_tensors
from evo1_policy.checkpoint_layouts.tensor_names import Shape, internvl_places

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LAYER = re.compile(r"language_model\.(?:model\.)?layers\.(\d+)\.")


def read_backbone(
    directory: Path, expected: dict[str, Shape], *, layers: int, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """The backbone's tensors by our names.

    Args:
        directory: holds model.safetensors, or its shards with their index.
        expected: names and shapes of our model.
        layers: of the language model, that are kept.
        dtype: of the result; None keeps the file's.

    Raises:
        CheckpointError: tensors are missing, surplus, of a wrong shape or not finite.
    """

    def dropped(name: str) -> bool:
        layer = _LAYER.search(name)
        return "lm_head." in name or (layer is not None and int(layer[1]) >= layers)

    with open_safetensors(*_files(directory)) as file:
        places = internvl_places(expected, file.shapes)
        return read_tensors(file, places, expected, dtype=dtype, ignored=dropped)


def _files(directory: Path) -> list[Path]:
    if (directory / _WEIGHTS).is_file():
        return [directory / _WEIGHTS]
    try:
        index = json.loads((directory / _INDEX).read_text(encoding="utf-8"))
        names = sorted({Path(name).name for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{directory}: no InternVL3 backbone; expected {_WEIGHTS}, or shards with {_INDEX}"
        ) from error
    return [directory / name for name in names]
