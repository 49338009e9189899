"""What a command line may say of a folder that does not say it itself. Must not import ROS."""

import argparse
from pathlib import Path
from typing import Any

_NAMES = (
    "embodiment",
    "semantics",
    "norm_mode",
    "tokenizer",
    "units",
    "rate_hz",
    "action_space",
    "end_effector",
)


def add_reading_options(parser: argparse.ArgumentParser, *, rate: bool = True) -> None:
    """Add what read_checkpoint may be told, apart from the robot; `rate`: and that of actions."""
    add = parser.add_argument_group("folders of others (official, LeRobot's)").add_argument
    add(
        "--embodiment",
        metavar="KEY",
        help="'arm' or 'arm/dataset' of the norm stats; needed where there are several",
    )
    add(
        "--semantics",
        choices=("authors_main", "evo1_flash", "lerobot"),
        help="rules that the weights were trained with, instead of what the layout implies",
    )
    add(
        "--norm-mode",
        choices=("bounds", "quantiles", "mean_std"),
        help="normalisation that the weights were trained with; evo1-flash does not record it "
        "and serves bounds",
    )
    add(
        "--tokenizer",
        metavar="DIR",
        help="folder of InternVL3-1B's tokenizer, or hub:OpenGVLab/InternVL3-1B; needed where "
        "there is none (not to write LeRobot's or the authors' layout)",
    )
    add(
        "--units",
        type=Path,
        metavar="FILE",
        help="units of the norm stats where they are not radians, such as those in evo1_bringup's "
        "robots/units: xarm6_authors (degrees, pulses), so100_lerobot (degrees, percent)",
    )
    if rate:
        add(
            "--rate",
            type=float,
            metavar="HZ",
            dest="rate_hz",
            help="actions in a second of the data that the weights were trained on (the "
            "dataset's fps); needed where there is no robot.yaml, and must be the robot file's "
            "rate_hz",
        )
    add(
        "--action-space",
        metavar="NAME",
        help="joint (the default), or joint_relative where the actions are less the state, "
        "grippers' apart",
    )
    add(
        "--end-effector",
        metavar="NAME",
        help="the actions, and the state, are the end effector's: libero, libero_authors (the "
        "published LIBERO weights), bridge, or a YAML file that says what the numbers mean",
    )


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """What was said, as keywords of read_checkpoint and of Policy.load."""
    given = {name: getattr(options, name, None) for name in _NAMES}
    return {name: value for name, value in given.items() if value is not None}
