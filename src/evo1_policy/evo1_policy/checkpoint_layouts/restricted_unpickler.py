"""Read and write a .pt file as tensors and plain data, and nothing that executes.

Only torch's weights-only unpickler is used. Training frameworks leave small objects beside the
weights; those of the modules named here are replaced by an inert stand-in, whose class is never
imported. Any other global is refused by its name. Must not import ROS.
"""

import errno
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from evo1_policy.checkpoint_layouts.contents import CheckpointError, shown
from evo1_policy.command_line import printable
from evo1_policy.untrusted import UntrustedError, refuse_lfs_pointer

_HARMLESS = ("deepspeed.", "numpy.", "argparse.Namespace", "omegaconf.")
_MOST_PICKLE_BYTES = 64 << 20  # of the objects; the weights are files beside them


class _Inert:
    """Stands for an object that is not needed; takes anything and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __new__(cls, *_: object) -> "_Inert":
        return object.__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass

    def __hash__(self) -> int:
        return id(self)


def load_plain(path: Path) -> dict[str, Any]:
    """The dict in a .pt file; its tensors are mapped from the file where that is possible.

    Raises:
        CheckpointError: the file is damaged, a Git LFS pointer, holds something else than a dict,
            grows when it is unpacked, or refers to code: the message names the global, and
            nothing of it was executed.
    """
    try:
        refuse_lfs_pointer(path)
        data = _load(path)
    except (CheckpointError, UntrustedError) as error:
        raise CheckpointError(str(error)) from error
    except pickle.UnpicklingError as error:
        reason = printable(str(error).splitlines()[0] if str(error) else "damaged")
        raise CheckpointError(f"{path}: not only tensors and plain data: {reason}") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes stand for
        reason = printable(f"{type(error).__name__}: {error}")
        raise CheckpointError(f"{path}: damaged or truncated: {reason}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a dict, got {type(data).__name__}")
    return data


def save_plain(data: Mapping[str, Any], path: Path) -> None:
    """Write a .pt file of tensors and plain data.

    Raises:
        OSError: it cannot be written.
    """
    try:
        torch.save(dict(data), path)
    except RuntimeError as error:  # of torch's writer, which hides the system's
        raise OSError(errno.EIO, f"torch cannot write {path.name}") from error


def _load(path: Path) -> Any:
    mapped = zipfile.is_zipfile(path)  # the format before torch 1.6 cannot be mapped
    if mapped:
        _check_archive(path)
    names = get_unsafe_globals_in_checkpoint(str(path)) if mapped else []
    refused = [name for name in names if not name.startswith(_HARMLESS)]
    if refused:
        raise CheckpointError(
            f"{path}: refers to code ({shown(sorted(refused))}); a checkpoint may hold "
            "tensors and plain data only. Nothing was executed. Do not use this file"
        )
    # One class for each name: torch keeps them in a table by name.
    inert: list[Any] = [(type("Inert", (_Inert,), {}), name) for name in names]
    with safe_globals(inert):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _check_archive(path: Path) -> None:
    """Refuse an archive that holds more than its bytes: torch compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    packed = [entry.filename for entry in entries if entry.file_size != entry.compress_size]
    plain = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        what = shown(packed) if packed else "its entries overlap"
        raise CheckpointError(
            f"{path}: grows when it is unpacked ({printable(what)}); torch writes no such file"
        )
    if any(entry.file_size > _MOST_PICKLE_BYTES for entry in plain):
        raise CheckpointError(
            f"{path}: data.pkl has {plain[0].file_size:,} bytes; at most {_MOST_PICKLE_BYTES:,} "
            "are read, weights stand beside it"
        )
