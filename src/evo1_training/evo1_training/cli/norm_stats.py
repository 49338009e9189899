"""norm_stats: how a policy would scale what some datasets hold. Must not import ROS."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from evo1_policy.command_line import Parser, entry_point, printable

if TYPE_CHECKING:
    from evo1_training.training.train_config import TrainConfig

_DESCRIPTION = """\
Compute the norm stats of one robot over all frames of its datasets, and write them as a file for
train --norm-stats. Training computes them itself where none are given; this is for using the same
ones in several runs. Training leaves its held-out episodes out; this counts all. Of joint_relative
and ee_* they are over all chunks, as long as the preset's.
example: evo1 norm-stats ~/datasets/cans ~/datasets/cups --out stats.json
"""


@entry_point("norm_stats")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    from evo1_policy.normalization import action_space, write_norm_stats
    from evo1_training.datasets.reader.problems import DatasetError
    from evo1_training.training.data_selection import open_data
    from evo1_training.training.starting_point import choose_stats

    if options.out.exists():
        raise DatasetError(f"{options.out}: exists already; choose another file")
    config = _config(options)
    space = action_space(config.action_space)
    data = open_data(config.data, config.model, seed=0, action_space=space)
    interface, meaning = data.interface, data.end_effector
    stats = choose_stats(config, data, None, None)[interface.embodiment]
    write_norm_stats(stats, options.out)
    print(
        f"{options.out}: norm stats of '{printable(interface.embodiment)}' over {len(data)} frames"
    )
    unit = "" if data.robot is None or meaning is not None else " rad"
    names = interface.action if meaning is None else meaning.action.names
    for name, low, high in zip(names, stats.action.min, stats.action.max, strict=True):
        print(f"  {printable(name):<14} action {low:8.3f} .. {high:7.3f}{unit}")
    return 0


def _config(options: argparse.Namespace) -> "TrainConfig":
    """As training has it, but over all episodes, and without pictures."""
    from evo1_training.training.presets import preset

    base = preset(options.preset)
    return replace(
        base,
        action_space=options.action_space,
        data=replace(
            base.data,
            datasets=tuple(options.datasets),
            robot=options.robot or "",
            interface=options.interface or "",
            holdout=0.0,
            cache_dir="",
        ),
        normalization=replace(
            base.normalization, mode=options.mode, range_floor=options.range_floor, stats="compute"
        ),
    )


def _parser() -> argparse.ArgumentParser:
    from evo1_policy.interface import ActionSpace
    from evo1_training.training.presets import PRESETS

    parser = Parser(
        "evo1 norm-stats",
        description=_DESCRIPTION,
    )
    parser.add_argument("datasets", metavar="DIR", nargs="+", help="LeRobot datasets of one robot")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument("--robot", metavar="FILE", help="robot file, where the datasets have none")
    parser.add_argument("--interface", metavar="NAME", help="of a benchmark: a name, or a file")
    parser.add_argument("--mode", default="bounds", choices=("bounds", "quantiles", "mean_std"))
    parser.add_argument(
        "--action-space",
        default="joint",
        choices=get_args(ActionSpace),
        help="what is learnt of recorded joints, as train's action_space (default: joint)",
    )
    parser.add_argument(
        "--preset", default="tiny", choices=PRESETS, help="whose chunks are counted (tiny)"
    )
    parser.add_argument(
        "--range-floor", type=float, default=0.0, metavar="RAD", help="least range that is scaled"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
