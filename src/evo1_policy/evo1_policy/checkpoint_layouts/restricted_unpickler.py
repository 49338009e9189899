"""Read a .pt file as tensors and plain data, and nothing that executes.

Only torch's weights-only unpickler is used. Training frameworks leave small objects beside the
weights; those of the modules named here are replaced by an inert stand-in, whose class is never
imported. Any other global is refused by its name. Must not import ROS.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from evo1_policy.checkpoint_layouts.contents import CheckpointError, shown

_HARMLESS = ("deepspeed.", "numpy.", "argparse.Namespace", "omegaconf.")


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
        CheckpointError: the file is damaged, holds something else than a dict, or refers to
            code: the message names the global, and nothing of it was executed.
    """
    mapped = zipfile.is_zipfile(path)  # the format before torch 1.6 cannot be mapped
    try:
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
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: not only tensors and plain data: {reason}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: damaged or truncated: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a dict, got {type(data).__name__}")
    return data
