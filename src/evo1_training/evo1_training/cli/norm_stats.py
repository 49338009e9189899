"""norm_stats: how a policy would scale what some datasets hold. Must not import ROS."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evo1_policy.command_line import Parser, entry_point, printable
from evo1_policy.model.config import Evo1Config
from evo1_policy.normalization import write_norm_stats
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.training.data_selection import open_data
from evo1_training.training.train_config import DataConfig, NormalizationConfig
from evo1_training.training.training_data import compute_stats

_DESCRIPTION = """\
Compute the norm stats of one robot over all frames of its datasets, and write them as a file for
train --norm-stats. Training computes them itself where none are given; this is for using the same
ones in several runs. Training leaves its held-out episodes out; this counts all.
"""


@entry_point("norm_stats")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    data_config = DataConfig(
        datasets=tuple(options.datasets),
        robot=options.robot or "",
        interface=options.interface or "",
        holdout=0.0,
    )
    rules = NormalizationConfig(mode=options.mode, range_floor=options.range_floor)
    if options.out.exists():
        raise DatasetError(f"{options.out}: exists already; choose another file")
    data = open_data(data_config, Evo1Config(), seed=0)
    interface, space = data.interface, data.interface.action_space
    stats = compute_stats(data, rules, action_space=space)[interface.embodiment]
    write_norm_stats(stats, options.out)
    print(
        f"{options.out}: norm stats of '{printable(interface.embodiment)}' over {len(data)} frames"
    )
    unit = "" if data.robot is None else " rad"
    for k, name in enumerate(interface.action):
        low, high = stats.action.min[k], stats.action.max[k]
        print(f"  {printable(name):<14} action {low:8.3f} .. {high:7.3f}{unit}")
    return 0


def _parser() -> argparse.ArgumentParser:
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
        "--range-floor", type=float, default=0.0, metavar="RAD", help="least range that is scaled"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
