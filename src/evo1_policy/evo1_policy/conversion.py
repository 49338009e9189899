"""Bring a checkpoint from one layout into another. Must not import ROS."""

from pathlib import Path
from typing import Any

from evo1_policy.checkpoint import (
    DTYPES,
    Checkpoint,
    CheckpointError,
    SaveLayout,
    export_warnings,
    load_model,
    read_checkpoint,
    save_checkpoint,
)
from evo1_policy.interface import load_interface
from evo1_policy.robot_config import load_robot


def convert_checkpoint(
    source: Path,
    target: Path,
    layout: SaveLayout,
    *,
    robot: Path | None = None,
    interface: str | None = None,
    dtype: str = "keep",
    **reading: Any,
) -> list[str]:
    """Read a checkpoint and write it in another layout.

    Args:
        source: folder to read; its files tell the layout.
        target: folder to write.
        layout: of the target.
        robot: robot file, where the source holds none.
        interface: likewise, of a benchmark: a shipped name, or a file.
        dtype: one of checkpoint.DTYPES, of the weights in the target.
        reading: what else read_checkpoint is told of the source: embodiment, semantics,
            norm_mode, tokenizer, units, rate_hz, action_space.

    Returns:
        What to tell the user, line by line.

    Raises:
        CheckpointError: the target exists, or the source cannot be used.
        RobotConfigError: the robot file cannot be used.
        InterfaceError: the interface cannot be used.
    """
    if target.exists():
        raise CheckpointError(f"{target}: exists already; choose another or remove it")
    checkpoint = read_checkpoint(
        source,
        robot=load_robot(robot) if robot else None,
        interface=load_interface(interface) if interface else None,
        **reading,
    )
    if layout == "own":
        _ = checkpoint.tokenizer_dir  # missing: said before the weights are read
    model = load_model(checkpoint, dtype=None)
    save_checkpoint(
        target,
        model=model,
        stats=checkpoint.stats,
        interface=checkpoint.interface,
        tokenizer_dir=checkpoint.tokenizer,
        card=_card(checkpoint, layout),
        dtype=DTYPES[dtype],
        layout=layout,
        training=checkpoint.training,
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    said = [
        f"read    {source}: {checkpoint.layout}, {parameters:,} parameters, "
        f"for {checkpoint.interface.name} ({checkpoint.interface.widths[0]} numbers of a state, "
        f"{checkpoint.interface.widths[1]} of an action)",
        *(f"note: {note}" for note in checkpoint.notes),
        f"written {target}: {layout}",
    ]
    differing = export_warnings(layout, checkpoint.config, checkpoint.stats)
    if differing:
        said.append(f"warning: the {layout} code computes otherwise than this model means:")
    return said + [f"         {line}" for line in differing]


def _card(checkpoint: Checkpoint, layout: SaveLayout) -> str:
    semantics = vars(checkpoint.config.semantics)
    return "\n".join(
        (
            f"# {checkpoint.interface.name}: Evo-1",
            "",
            f"Converted from a checkpoint in the layout '{checkpoint.layout}' to '{layout}' by "
            "convert_checkpoint; its licence and limits are those of the original.",
            "",
            "Semantics that these weights want:",
            "",
            *(f"- {key}: {value}" for key, value in semantics.items()),
            f"- num_inference_steps: {checkpoint.config.num_inference_steps}",
            *(f"- norm_stats.{key}: {value}" for key, value in checkpoint.stats.rules().items()),
            "",
        )
    )
