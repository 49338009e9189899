"""Where NaN or Inf first appears, once a result is found to hold one. Must not import ROS."""

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from evo1_policy.model.preprocessing import ModelInputs

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1


def first_nonfinite(
    model: "Evo1", inputs: ModelInputs, noise: Tensor, *, run: bool = True
) -> str | None:
    """Name the first input, weight or module output that is not finite; None if all are.

    The order is that of the computation: what goes in, the weights, then the modules as they
    finish on the readable path, which is run once if `run` allows it.
    """
    named = [
        *(
            (f"input {item.name}", getattr(inputs, item.name))
            for item in dataclasses.fields(inputs)
        ),
        ("input noise", noise),
        *((f"weight {name}", tensor) for name, tensor in model.state_dict().items()),
    ]
    for name, tensor in named:
        found = _index(tensor)
        if found is not None:
            return f"{name}{found}"
    return _first_output(model, inputs, noise) if run else None


def _first_output(model: "Evo1", inputs: ModelInputs, noise: Tensor) -> str | None:
    first: list[str] = []

    def watch(name: str) -> Any:
        def look(_module: nn.Module, _args: object, output: object) -> None:
            tensors = output if isinstance(output, tuple | list) else (output,)
            for tensor in tensors:
                found = _index(tensor) if isinstance(tensor, Tensor) and not first else None
                if found is not None:
                    first.append(f"output of {name}{found}")

        return look

    handles = [
        module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name
    ]
    try:
        with torch.inference_mode():
            model.sample_actions(inputs, noise)
    finally:
        for handle in handles:
            handle.remove()
    return first[0] if first else None


def _index(tensor: Tensor) -> list[int] | None:
    """Index of the first element that is not finite."""
    if not tensor.is_floating_point():
        return None
    wrong = ~torch.isfinite(tensor)
    return wrong.nonzero()[0].tolist() if bool(wrong.any()) else None
