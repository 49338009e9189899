"""Bring a checkpoint from one layout into another. Must not import ROS."""

from pathlib import Path
from typing import Literal

from evo1_policy.checkpoint import (
    DTYPES,
    Checkpoint,
    CheckpointError,
    export_checkpoint,
    export_warnings,
    load_model,
    read_checkpoint,
    save_checkpoint,
)
from evo1_policy.normalization import Mode
from evo1_policy.robot_config import load_robot

Target = Literal["own", "official", "lerobot"]


def convert_checkpoint(
    source: Path,
    target: Path,
    layout: Target,
    *,
    robot: Path | None = None,
    embodiment: str | None = None,
    semantics: str | None = None,
    norm_mode: Mode | None = None,
    tokenizer: Path | None = None,
    units: Path | None = None,
    dtype: str = "keep",
) -> list[str]:
    """Read a checkpoint and write it in another layout.

    Args:
        source: folder to read; its files tell the layout.
        target: folder to write.
        layout: of the target.
        robot: robot file; see read_checkpoint for this and the next five.
        embodiment: key of the norm stats.
        semantics: a published line.
        norm_mode: of the normalisation.
        tokenizer: folder.
        units: of the norm stats.
        dtype: one of checkpoint.DTYPES, of the weights in the target.

    Returns:
        What to tell the user, line by line.

    Raises:
        CheckpointError: the target exists, or the source cannot be used.
        RobotConfigError: the robot file cannot be used.
    """
    if target.exists():
        raise CheckpointError(f"{target}: exists already; choose another or remove it")
    checkpoint = read_checkpoint(
        source,
        robot=load_robot(robot) if robot else None,
        embodiment=embodiment,
        semantics=semantics,
        norm_mode=norm_mode,
        tokenizer=tokenizer,
        units=units,
    )
    if layout == "own":
        _ = checkpoint.tokenizer_dir  # missing: said before the weights are read
    parameters = _write(checkpoint, target, layout, dtype)
    said = [
        f"read    {source}: {checkpoint.layout}, {parameters:,} parameters, "
        f"robot {checkpoint.robot.name} ({checkpoint.robot.width} joints)",
        f"written {target}: {layout}",
    ]
    differing = (
        () if layout == "own" else export_warnings(layout, checkpoint.config, checkpoint.stats)
    )
    if differing:
        said.append(f"warning: the {layout} code computes otherwise than this model means:")
    return said + [f"         {line}" for line in differing]


def _write(checkpoint: Checkpoint, target: Path, layout: Target, dtype: str) -> int:
    """Load the model and write it; returns the number of its parameters."""
    model = load_model(checkpoint, dtype=None)
    stats, text, card = checkpoint.stats, checkpoint.robot.text, _card(checkpoint, layout)
    if layout == "own":
        save_checkpoint(
            target,
            model=model,
            stats=stats,
            robot_text=text,
            tokenizer_dir=checkpoint.tokenizer_dir,
            card=card,
            dtype=DTYPES[dtype],
            training=checkpoint.training,
        )
    else:
        export_checkpoint(
            target,
            layout,
            model=model,
            stats=stats,
            robot_text=text,
            tokenizer_dir=checkpoint.tokenizer,
            card=card,
            dtype=DTYPES[dtype],
            training=checkpoint.training,
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _card(checkpoint: Checkpoint, layout: Target) -> str:
    semantics = vars(checkpoint.config.semantics)
    return "\n".join(
        (
            f"# {checkpoint.robot.name}: Evo-1",
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
