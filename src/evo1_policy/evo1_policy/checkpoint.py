"""Checkpoints: a directory that holds all that a policy needs, and nothing that executes.

This is the door to checkpoint_layouts: reading finds out which layout a directory has and what
its weights mean; saving writes any of them. Must not import ROS; transformers is imported only
when a model is loaded.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import torch
from safetensors.torch import save_file

from evo1_policy.checkpoint_layouts import lerobot, official
from evo1_policy.checkpoint_layouts.contents import Checkpoint as Checkpoint
from evo1_policy.checkpoint_layouts.contents import CheckpointError as CheckpointError
from evo1_policy.checkpoint_layouts.contents import (
    Layout,
    Wanted,
    appearing,
    check_agreement,
)
from evo1_policy.checkpoint_layouts.contents import Weights as Weights
from evo1_policy.checkpoint_layouts.foreign import write_sidecar
from evo1_policy.checkpoint_layouts.hub import local_checkpoint, origin
from evo1_policy.checkpoint_layouts.own import (
    CARD,
    CONFIG,
    FORMAT,
    STATS,
    TOKENIZER,
    TOKENIZER_FILES,
    WEIGHTS,
    copy_tokenizer,
    model_header,
    read_json,
    read_own,
    write_json,
)
from evo1_policy.checkpoint_layouts.own import find_model as find_own
from evo1_policy.checkpoint_layouts.restricted_unpickler import save_plain
from evo1_policy.checkpoint_layouts.tensor_files import (
    grouped_tensors,
    open_pickle,
    open_safetensors,
    read_tensors,
)
from evo1_policy.checkpoint_layouts.tensor_names import lerobot_places, official_places, own_places
from evo1_policy.checkpoint_layouts.training_facts import (
    UNKNOWN,
    TrainingFacts,
    read_training,
    write_training,
)
from evo1_policy.interface import Interface
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.variants import deviations
from evo1_policy.normalization import NormStats, write_norm_stats
from evo1_policy.paths import shares

if TYPE_CHECKING:
    from evo1_policy.model.evo1 import Evo1

SaveLayout = Literal["own", "official", "lerobot"]
DTYPES = {"keep": None, "float32": torch.float32, "bfloat16": torch.bfloat16}  # by name


def read_checkpoint(directory: Path | str, **wanted: Unpack[Wanted]) -> Checkpoint:
    """Read and check everything but the weights, whichever layout it is.

    Args:
        directory: of ours, official (DeepSpeed or evo1-flash) or LeRobot's; or
            'hub:user/name' (hub.local_checkpoint).
        wanted: what it does not say itself: see contents.Wanted.

    Raises:
        CheckpointError: no known layout, a file is missing, or its content is wrong.
    """
    model = read_weights(directory, **wanted)
    read = {"own": read_own, "lerobot": lerobot.read_lerobot}.get(
        model.layout, official.read_official
    )
    checkpoint = read(model, wanted)
    return replace(
        checkpoint,
        training=read_training(model.directory),
        notes=(*model.notes, *checkpoint.notes),
    )


def stats_of(
    directory: Path | str, arm: str, dataset: str | None = None, **wanted: Unpack[Wanted]
) -> NormStats:
    """The norm stats of another embodiment of a folder of the authors', for Policy.predict.

    Args:
        directory: see read_checkpoint.
        arm: key of its norm_stats.json.
        dataset: key below the arm, where it has datasets.
        wanted: as for read_checkpoint.

    Raises:
        CheckpointError: it is none of the authors', has none of this name (lists those that there
            are), or these are wider than its model.
    """
    model = read_weights(directory, **wanted)
    if model.layout not in ("official_deepspeed", "official_flash"):
        raise CheckpointError(
            f"{model.directory}: holds the norm stats of one embodiment, so none can be chosen; "
            "only folders of the authors' hold several"
        )
    stats = official.other_stats(model, arm, dataset, wanted)
    for feature, most in (
        (stats.state, model.config.state_width),
        (stats.action, model.config.action_width),
    ):
        if feature.shape[0] > most:
            raise CheckpointError(
                f"{model.directory}: {stats.embodiment} has {feature.shape[0]} numbers, the "
                f"model takes {most}"
            )
    return stats


def read_weights(directory: Path | str, **wanted: Unpack[Wanted]) -> Weights:
    """Read what a directory says of its model, and nothing of the robot that it was for.

    Args:
        directory: see read_checkpoint.
        wanted: its semantics and tokenizer.

    Raises:
        CheckpointError: no known layout, a file is missing, or its content is wrong.
    """
    folder = local_checkpoint(directory)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint directory")
    if tokenizer := wanted.get("tokenizer"):
        wanted["tokenizer"] = local_checkpoint(tokenizer, TOKENIZER_FILES)
    layout = _layout(folder)
    if layout == "own":
        weights = find_own(folder, wanted)
    elif layout == "lerobot":
        weights = lerobot.find_model(folder, wanted)
    else:
        weights = official.find_model(folder, layout, wanted)
    return replace(weights, notes=origin(directory, folder))


def load_model(checkpoint: Weights, *, dtype: torch.dtype | None = torch.float32) -> "Evo1":
    """Build the model and fill it, holding the weights once in memory; CPU, eval mode.

    Args:
        checkpoint: from read_checkpoint or read_weights.
        dtype: of the parameters; None keeps the file's.

    Raises:
        CheckpointError: tensors are missing, surplus, of a wrong shape or not finite, or the
            file is damaged.
    """
    from evo1_policy.model.evo1 import empty_model  # lazily: imports transformers

    model = empty_model(checkpoint.config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    path, layout, table = checkpoint.weights, checkpoint.layout, checkpoint.table
    if layout in ("own", "lerobot"):
        is_own = layout == "own"
        places = own_places(expected) if is_own else lerobot_places(expected, table)
        opened = open_safetensors(path)
    else:
        places = official_places(expected, table)
        key = official.FLASH_KEY if layout == "official_flash" else official.DEEPSPEED_KEY
        opened = open_pickle(path, key)
    with opened as file:
        tensors = read_tensors(file, places, expected, dtype=dtype)
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(True).eval()


def save_checkpoint(
    directory: Path | str,
    *,
    model: "Evo1",
    stats: NormStats,
    interface: Interface,
    tokenizer_dir: Path | str | None,
    card: str = "",
    dtype: torch.dtype | None = None,
    layout: SaveLayout = "own",
    training: TrainingFacts = UNKNOWN,
) -> None:
    """Write a checkpoint; the directory appears complete or not at all.

    In the layouts of others (the authors' DeepSpeed folder, LeRobot's) their programs compute
    with semantics of their own: see export_warnings. What such a layout has no place for is added
    in files that they ignore, so that read_checkpoint gives back exactly what was saved.

    Args:
        directory: must not exist yet.
        model: its config is written beside its weights.
        stats: for the embodiment of what it was trained for.
        interface: of what it was trained for; its text is written beside the weights.
        tokenizer_dir: folder to copy the tokenizer from; None leaves it out, not in our layout.
        card: Markdown that says what this is, how it was made and what it cannot do.
        dtype: of the floating-point parameters on disk; None keeps the model's.
        layout: 'own', 'official' or 'lerobot'.
        training: what is known of how it was trained.

    Raises:
        CheckpointError: the directory exists, the parts do not fit together, the layout has no
            tensors for the model's stem, or the disk is full.
    """
    config = model.config
    _check_layout(directory, layout, config, stats)
    if layout == "own" and tokenizer_dir is None:
        raise CheckpointError(f"{directory}: our own layout holds a tokenizer; none was given")
    check_agreement(Path(directory), config, stats, interface)
    with appearing(Path(directory)) as partial:
        _write_weights(partial, model, layout, dtype)
        if layout == "own":
            write_json(partial / CONFIG, model_header(config))
            write_norm_stats(stats, partial / STATS)
        else:
            write_sidecar(partial, config, stats)
        if layout == "official":
            official.write_small_files(partial, config, stats)
        if layout == "lerobot":
            lerobot.write_small_files(partial, config, stats, interface)
        (partial / interface.file).write_text(interface.text, encoding="utf-8")
        (partial / CARD).write_text(card, encoding="utf-8")
        if tokenizer_dir is not None:
            copy_tokenizer(Path(tokenizer_dir), partial / TOKENIZER)
        write_training(partial, training)


def _check_layout(
    directory: Path | str, layout: SaveLayout, config: Evo1Config, stats: NormStats
) -> None:
    """Refuse what a layout of others has no place for."""
    if layout != "own" and config.vision.stem != "patch":
        raise CheckpointError(
            f"{directory}: vision.stem is '{config.vision.stem}', for which the {layout} layout "
            "has no tensors; only models with the published stem 'patch' can be exported"
        )
    if layout != "own" and stats.action_space not in ("joint", "raw"):
        raise CheckpointError(
            f"{directory}: the {layout} layout has no word for action_space {stats.action_space}: "
            "its programs would take relative actions for joint targets"
        )


def export_warnings(layout: SaveLayout, config: Evo1Config, stats: NormStats) -> tuple[str, ...]:
    """In what the other program would compute something else than this model means."""
    if layout == "own":
        return ()
    if layout == "lerobot":
        return deviations("lerobot", config, stats)
    mode = () if stats.mode == "bounds" else (f"norm_stats.mode: {stats.mode}, there bounds",)
    return (*deviations("authors_main", config, stats), *mode)


def shipped_checkpoint(embodiment: str) -> Path:
    """The small policy that comes with the workspace for this embodiment.

    Raises:
        CheckpointError: none ships for it; names the places looked at.
    """
    name = f"{embodiment}_tiny"
    places = [share / "checkpoints" for share in shares("evo1_policy")]
    for place in places:
        if (place / name / CONFIG).is_file():
            return place / name
    known = sorted({path.parent.name for place in places for path in place.glob(f"*/{CONFIG}")})
    raise CheckpointError(
        f"no policy ships for embodiment '{embodiment}' (known: {', '.join(known) or 'none'}); "
        f"looked for {name} in {', '.join(map(str, places))}; give a checkpoint"
    )


def find_device(name: str) -> torch.device:
    """Where a model shall run: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:1'.

    Raises:
        CheckpointError: torch has no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CheckpointError(f"device '{name}': expected auto, cpu or cuda") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise CheckpointError(f"device '{name}': torch finds no CUDA here; use auto or cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise CheckpointError(
                f"device '{name}': there are {torch.cuda.device_count()} GPUs, counted from 0"
            )
    return device


def _layout(directory: Path) -> Layout:
    """Which layout a directory has, by the files that only that layout has."""
    if (directory / official.DEEPSPEED).exists():
        return "official_deepspeed"
    if (directory / official.FLASH).exists():
        return "official_flash"
    if (directory / CONFIG).is_file() and read_json(directory / CONFIG).get("type") == "evo1":
        return "lerobot"
    if (directory / CONFIG).exists() or (directory / WEIGHTS).exists():
        return "own"
    raise CheckpointError(
        f"{directory}: no checkpoint; expected {CONFIG} with {WEIGHTS} (ours, or LeRobot's), "
        f"{official.DEEPSPEED} (official, DeepSpeed) or {official.FLASH} (official, evo1-flash)"
    )


def _write_weights(
    directory: Path, model: "Evo1", layout: SaveLayout, dtype: torch.dtype | None
) -> None:
    tensors = model.state_dict()
    if layout == "official":
        grouped = grouped_tensors(tensors, official_places(tensors), dtype)
        save_plain({official.DEEPSPEED_KEY: grouped}, directory / official.DEEPSPEED)
        return
    places = own_places(tensors) if layout == "own" else lerobot_places(tensors)
    label = FORMAT if layout == "own" else "pt"
    path = directory / WEIGHTS
    save_file(grouped_tensors(tensors, places, dtype), path, metadata={"format": label})
    path.chmod(0o644)  # safetensors writes it for the owner only
