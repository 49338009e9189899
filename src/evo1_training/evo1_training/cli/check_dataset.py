"""check_dataset: what is wrong with a LeRobot dataset, and what to do. Must not import ROS."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.command_line import Parser, entry_point

if TYPE_CHECKING:
    from evo1_training.datasets.checker.checking import CheckReport
    from evo1_training.datasets.reader.problems import Finding

_DESCRIPTION = """\
Check a LeRobot dataset of format v2.1 or v3.0, ours or anybody's. Nothing is changed.

  errors    LeRobot's loaders reject it, or read other data than was written: missing or cut-off
            files, wrong counts, types, shapes, times, statistics
  warnings  training suffers: stuck or black pictures, gaps, delays between action and state,
            clipped or motionless joints, jumps
  notes     what depends on the case
"""
_EPILOG = """\
exit status
  0  no errors (warnings are possible)     1  errors, or PATH cannot be read

examples
  evo1 check-dataset datasets/can_into_box
  evo1 check-dataset datasets/can_into_box --report report     # then open report/report.html
  evo1 check-dataset datasets/can_into_box --quick --json findings.json
"""
_MOST_LINES = 5  # of one code; all of them are in the report


@entry_point("check_dataset")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    # Lazily: pyarrow and av take a second, --help shall not.
    from tqdm import tqdm

    from evo1_policy.command_line import printable
    from evo1_training.datasets.checker.checking import check_dataset

    if not options.path.is_dir():
        raise ValueError(f"{options.path}: no such folder")
    with tqdm(unit=" episodes", desc="check", smoothing=0.1, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = check_dataset(options.path, quick=options.quick, progress=progress)
    print("\n".join(printable(line, 2000) for line in _lines(report)))
    if report.meta is not None and not report.errors:
        print(f"next:  {_next(options.path, report.meta.info.robot_type)}")
    _write(report, options.report, options.json)
    return 1 if report.errors else 0


def _next(root: Path, robot_type: str) -> str:
    """To train, where it is known which robot's the dataset is; else to adopt it."""
    from evo1_training.datasets.reader.adoption import adoption_path, shipped
    from evo1_training.datasets.reader.robot_check import ROBOT_COPY
    from evo1_training.next_commands import command

    if adoption_path(root).is_file() or (root / ROBOT_COPY).is_file():
        return command("train", "--stage", 1, "--dataset", root)
    name = robot_type.partition("_")[0]  # LeRobot's say so101_follower
    known = name.isidentifier() and shipped("robots", name) is not None
    return command("adopt", root, "--robot", name if known else "ROBOT")


def _write(report: "CheckReport", folder: Path | None, json_path: Path | None) -> None:
    if folder is None and json_path is None:
        return
    from evo1_training.viewing.dataset_report import write_json, write_report

    if folder is not None:
        print(f"report: {write_report(report, folder)}")
    if json_path is not None:
        write_json(report, json_path)


def _lines(report: "CheckReport") -> Iterator[str]:
    from evo1_training.next_commands import command

    for code, group in groupby(report.findings, key=lambda finding: finding.code):
        yield from _code_lines(code, list(group))
    counts = [
        f"{count} {severity}{'' if count == 1 else 's'}"
        for severity in ("error", "warning", "note")
        for count in [sum(finding.severity == severity for finding in report.findings)]
    ]
    if report.meta is None:
        yield f"{report.root}: cannot be read further: {', '.join(counts)}"
        return
    frames = sum(episode.length for episode in report.meta.episodes)
    yield (
        f"{report.root}: {report.meta.info.version}, {len(report.meta.episodes)} episodes, "
        f"{frames} frames: {', '.join(counts)}"
    )
    unfit = sorted(
        {
            finding.episode
            for finding in report.findings
            if finding.episode is not None and "leave the episode out" in finding.remedy
        }
    )
    if unfit:
        numbers = ",".join(map(str, unfit))
        left_out = command("edit_dataset", report.root, "--in-place", "--delete", numbers)
        yield f"to leave episodes out: {left_out}"


def _code_lines(code: str, findings: Sequence["Finding"]) -> Iterator[str]:
    yield f"{findings[0].severity}: {code}"
    for finding in findings[:_MOST_LINES]:
        yield f"    {finding.where}: {finding.what}"
    if len(findings) > _MOST_LINES:
        yield f"    ... and {len(findings) - _MOST_LINES} more (--report or --json lists all)"
    yield f"    -> {findings[0].remedy}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evo1 check-dataset",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("path", metavar="PATH", type=Path, help="folder of the dataset")
    add("--report", type=Path, metavar="DIR", help="write report.html with plots into this folder")
    add("--json", type=Path, metavar="FILE", help="write all findings as JSON")
    add("--quick", action="store_true", help="look at a few pictures of each video, not at all")
    return parser


if __name__ == "__main__":
    sys.exit(main())
