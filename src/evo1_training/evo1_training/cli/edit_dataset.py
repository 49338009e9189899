"""edit_dataset: a dataset without some episodes, or with other labels. Must not import ROS."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from evo1_policy.command_line import Parser, entry_point, printable

_DESCRIPTION = """\
Make a new dataset out of one or more LeRobot datasets (v2.1 or v3.0): leave episodes out, give
them another task, split or trim them, drop a camera, join datasets. The old one is not changed;
with --in-place it is kept beside the new one. Statistics are made anew. Videos are cut without
encoding them again where a key frame stands (every second frame of ours), elsewhere anew.
"""
_EPILOG = """\
episodes
  Numbers are those of the dataset as it is, from 0, whatever else is asked for; of several
  datasets they are counted on. 3,7-9 means 3, 7, 8 and 9.

examples
  evo1 edit-dataset cans --delete 3,7-9 --to cans_clean
  evo1 edit-dataset cans --delete 3 --in-place          the old one: cans.before_edit
  evo1 edit-dataset cans --task "pick up the red can" --to red
  evo1 edit-dataset cans --task 0-4="pick up the can" --task 5="put it down" --to named
  evo1 edit-dataset cans --split 4:120,300 --trim 5:10-200 --to cut   frames; the end is left out
  evo1 edit-dataset red blue --to both                  joins them
  evo1 edit-dataset cans --drop-camera image_2 --to one_view
"""


@entry_point("edit_dataset")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    # Lazily: pyarrow and av take a second, --help shall not.
    from tqdm import tqdm

    from evo1_training.datasets.lerobot.edit_source import EditError
    from evo1_training.datasets.lerobot.editing import Edit, write_edited
    from evo1_training.next_commands import command

    if options.in_place == (options.to is not None):
        raise EditError("give either --to NEW or --in-place")
    if options.in_place and len(options.datasets) > 1:
        raise EditError("--in-place is for one dataset; join several with --to NEW")
    edit = Edit(
        delete=options.delete,
        keep=options.keep,
        tasks=tuple(options.task),
        trims=dict(options.trim),
        splits=dict(options.split),
        drop_cameras=tuple(options.drop_camera),
    )
    target = options.datasets[0] if options.in_place else options.to
    with tqdm(unit=" episodes", desc="edit", leave=False) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        pieces, backup = write_edited(
            options.datasets, edit, target, in_place=options.in_place, advance=advance
        )
    frames = sum(piece.end - piece.first for piece in pieces)
    print(printable(f"{target}: {len(pieces)} episodes, {frames} frames", 2000))
    if backup is not None:
        print(printable(f"as it was before: {backup}; delete it once the new one is right", 2000))
    print(f"next:  {command('check_dataset', target)}")
    return 0


def _numbers(text: str) -> frozenset[int]:
    """3,7-9 as numbers."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or len(part) > 20:
            raise argparse.ArgumentTypeError(f"expected episodes such as 3,7-9, got '{text}'")
        low, high = int(first), int(last or first)
        if not low <= high < low + 10**6:
            raise argparse.ArgumentTypeError(f"expected rising numbers such as 7-9, got '{part}'")
        found |= set(range(low, high + 1))
    return frozenset(found)


def _task(text: str) -> tuple[frozenset[int], str]:
    """TEXT, or 3,7-9=TEXT."""
    numbers, equals, task = text.partition("=")
    if not equals or not numbers.replace(",", "").replace("-", "").isdigit():
        numbers, task = "", text
    if not task.strip() or len(task) > 1000:
        raise argparse.ArgumentTypeError("expected a task of 1 to 1000 characters")
    return _numbers(numbers) if numbers else frozenset(), task.strip()


def _trim(text: str) -> tuple[int, tuple[int, int]]:
    episode, _, span = text.partition(":")
    first, _, end = span.partition("-")
    if not (episode.isdigit() and first.isdigit() and end.isdigit()):
        raise argparse.ArgumentTypeError(f"expected EPISODE:FIRST-END, got '{text}'")
    return int(episode), (int(first), int(end))


def _split(text: str) -> tuple[int, tuple[int, ...]]:
    episode, _, frames = text.partition(":")
    parts = frames.split(",")
    if not episode.isdigit() or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"expected EPISODE:FRAME[,FRAME], got '{text}'")
    return int(episode), tuple(int(part) for part in parts)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evo1 edit-dataset",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("datasets", nargs="+", type=Path, metavar="DATASET", help="several are joined")
    add("--to", type=Path, metavar="NEW", help="folder to write")
    add("--in-place", action="store_true", help="take its place; the old one is kept beside")
    none: frozenset[int] = frozenset()
    add("--delete", type=_numbers, default=none, metavar="EPISODES", help="leave these out")
    add("--keep", type=_numbers, default=none, metavar="EPISODES", help="leave all others out")
    many = partial(add, action="append", default=[])
    many("--task", type=_task, metavar="[EPISODES=]TEXT", help="another label")
    cuts = "each frame begins a new episode"
    many("--split", type=_split, metavar="EPISODE:FRAME,...", help=cuts)
    kept = "keep these frames only, END left out"
    many("--trim", type=_trim, metavar="EPISODE:FIRST-END", help=kept)
    many("--drop-camera", metavar="NAME", help="such as image_2")
    return parser


if __name__ == "__main__":
    sys.exit(main())
