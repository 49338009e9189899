"""Files of tensors: what is in them, checked against what the model needs, read one by one.

Every tensor is copied when it is read, because files are mapped and may change under a running
policy; so the model is in memory once. Must not import ROS.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from evo1_policy.checkpoint_layouts.contents import CheckpointError, shown
from evo1_policy.checkpoint_layouts.restricted_unpickler import load_plain
from evo1_policy.checkpoint_layouts.tensor_names import Place, Places, Shape, file_shapes
from evo1_policy.command_line import printable
from evo1_policy.untrusted import UntrustedError, refuse_lfs_pointer

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_LARGEST = 1e6  # no trained weight is near it; products of larger ones overflow in the model


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """An open file of tensors."""

    path: Path
    shapes: Mapping[str, Shape]
    read: Callable[[str], Tensor]  # mapped from the file; copy before it is closed


@contextmanager
def open_safetensors(*paths: Path) -> Iterator[TensorFile]:
    """Open one .safetensors file, or all the shards of one model.

    Raises:
        CheckpointError: it is damaged, truncated, or a Git LFS pointer.
    """
    path = paths[0]
    try:
        for item in paths:
            refuse_lfs_pointer(item)
        files = [safe_open(item, framework="pt") for item in paths]
        where: dict[str, Any] = {key: file for file in files for key in file.keys()}  # noqa: SIM118
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key, file in where.items()}
        yield TensorFile(path=path, shapes=shapes, read=lambda key: where[key].get_tensor(key))
    except UntrustedError as error:
        raise CheckpointError(str(error)) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or truncated: {printable(error)}") from error


@contextmanager
def open_pickle(path: Path, key: str) -> Iterator[TensorFile]:
    """Open a .pt file whose tensors are under one key.

    Raises:
        CheckpointError: it is damaged, refers to code, or has no tensors under the key.
    """
    data = load_plain(path)
    tensors = data.get(key)
    if not isinstance(tensors, Mapping):
        found = shown([str(name) for name in data])
        raise CheckpointError(f"{path}: no weights under '{key}'; found {found}")
    strange = [str(name) for name, value in tensors.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(f"{path}: {key}: not a tensor: {shown(strange)}")
    shapes = {str(name): tuple(tensor.shape) for name, tensor in tensors.items()}
    yield TensorFile(path=path, shapes=shapes, read=lambda name: tensors[name].detach())


def read_tensors(
    file: TensorFile,
    places: Places,
    expected: Mapping[str, Shape],
    *,
    dtype: torch.dtype | None,
    ignored: Callable[[str], bool] = lambda _: False,
) -> dict[str, Tensor]:
    """Copy what the model needs out of a file.

    Args:
        file: open.
        places: our name -> its place in the file.
        expected: our name -> shape.
        dtype: of the result; None keeps the file's.
        ignored: which surplus tensors of the file are no error.

    Raises:
        CheckpointError: tensors are missing, surplus, of a wrong shape, no plain floating-point
            numbers, not finite, or so large that the model overflows.
    """
    found = {name: shape for name, shape in file.shapes.items() if not ignored(name)}
    _compare_shapes(file.path, file_shapes(places, expected), found)
    return {name: _usable(file, place, dtype) for name, place in places.items()}


def grouped_tensors(
    tensors: Mapping[str, Tensor], places: Places, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """Our tensors as a file of another layout holds them: named and fused its way."""
    thirds: dict[str, list[Tensor]] = {}
    for name, place in places.items():
        thirds.setdefault(place.name, []).append(stored(name, tensors[name], dtype))
    return {
        name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in thirds.items()
    }


def stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor as it goes to disk. Sinusoid tables keep theirs: rounding them moves actions."""
    keep = dtype is None or not tensor.is_floating_point() or name.endswith(".pe")
    return tensor.detach().to("cpu", None if keep else dtype).contiguous()


def _compare_shapes(path: Path, expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    """Name what is missing, surplus or of a wrong shape."""
    problems = []
    for kind, names in (
        ("missing", [name for name in expected if name not in found]),
        ("surplus", [name for name in found if name not in expected]),
    ):
        if names:
            problems.append(f"{len(names)} {kind} tensors: {shown(names)}")
    wrong: Sequence[str] = [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if wrong:
        problems.append(f"{len(wrong)} of a wrong shape: {shown(list(wrong))}")
    if problems:
        raise CheckpointError(f"{path}: does not fit config.json: {'; '.join(problems)}")


def _usable(file: TensorFile, place: Place, dtype: torch.dtype | None) -> Tensor:
    """The tensor in its dtype, on memory of its own, if a model can compute with it."""
    tensor = file.read(place.name)
    _check_kind(file, place.name, tensor)
    if place.third is not None:
        tensor = tensor.chunk(3)[place.third]
    if place.table is not None:
        tensor = tensor[place.table.row]
        tensor = tensor.T if tensor.ndim == 2 else tensor
    if tensor.numel() and not bool(torch.stack(tensor.aminmax()).abs().max() <= _LARGEST):
        index = int((~(tensor.abs() <= _LARGEST)).flatten().int().argmax())
        part = "" if place.third is None else f" (rows of {'qkv'[place.third]})"
        value = float(tensor.flatten()[index])
        problem = (
            f"is {value:g} at flat index {index}; no trained weight is beyond {_LARGEST:g}, and "
            "the model would overflow"
            if math.isfinite(value)
            else f"is not finite at flat index {index}"
        )
        raise CheckpointError(f"{file.path}: {place.name}{part} {problem}")
    if dtype is not None:
        return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
    return tensor.clone(memory_format=torch.contiguous_format)


def _check_kind(file: TensorFile, name: str, tensor: Tensor) -> None:
    """Refuse sparse, quantised, 8-bit and other tensors that are no plain numbers."""
    kind = str(tensor.layout if tensor.layout != torch.strided else tensor.dtype)
    if tensor.dtype not in _DTYPES or tensor.layout != torch.strided or tensor.is_meta:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise CheckpointError(
            f"{file.path}: {name} is {'without data' if tensor.is_meta else kind}; sparse and "
            f"quantised weights cannot be used, expected plain {expected}"
        )
