"""convert: recorded episodes to a LeRobot dataset. Must not import ROS."""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo1_policy.command_line import INTERRUPTED, Parser, describe, entry_point, printable, tell

if TYPE_CHECKING:
    from evo1_training.datasets.conversion_request import Request, Summary
    from evo1_training.recording.foreign_bag import ForeignBags

_DESCRIPTION = """\
Convert recorded episodes to a LeRobot dataset that Evo-1 trains on.

Every frame of the first camera at the robot file's rate becomes a row: the images, the measured
joint angles [rad] as state, and as action where the demonstrator wanted the joints one step later.
Times come from the recording and are never changed; each row keeps its true time and the stamps
of what it was made of (columns evo1.*).
"""
_EPILOG = """\
gaps
  Where frames are missing, cameras and joints do not belong together, or nobody demonstrates for
  longer than 0.5 s, the recording has a gap:
    auto    hold where up to three frames are missing, split where more are (default)
    split   the dataset's episode ends there, a new one begins after it
    hold    the last frame or action is repeated at the true times, marked in evo1.held
    refuse  the episode is not converted

bags of other recorders
  With --robot ROBOT, folders of ros2 bag record: MCAP or sqlite3, split, compressed. Where the bag
  has the robot file's topics, that is all; else a map names them:
    cameras: {image_1: /front/image_raw, image_2: /wrist/image_raw/compressed}
    state: {topic: /joint_states, prefix: follower_}
    action: {topic: /joint_states, prefix: leader_, units: deg}
                                        or a JointTrajectory, or an array:
    action: {topic: /commands, joints: [shoulder, elbow, gripper]}
    instruction: pick up the block      or {topic: /task}, or {file: tasks.yaml} (name: text)
    episodes: {topic: /recording}       or {times: [[0, 12.5], [20, 31]]} [s]; else one a bag

interrupted
  Whatever stops a conversion, the same command goes on where it was. On several machines, each
  encodes a part; the last command assembles the dataset:
    evo1 convert demos --to dataset --shards 1/2
    evo1 convert demos --to dataset --shards 2/2
    evo1 convert demos --to dataset

examples
  evo1 convert ~/evo1_episodes --to datasets/can_into_box
  evo1 convert ~/evo1_episodes --to datasets/can_into_box --append
  evo1 convert ~/bags --robot robots/so100.yaml --map topics.yaml --instruction "pick" --to mine
  evo1 convert ~/evo1_episodes/episode_000003 --to try --format v3.0 --storage png --gaps hold
"""

_LONGEST = 4096  # characters of a line


@entry_point("convert")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    from evo1_training.datasets.conversion import convert
    from evo1_training.datasets.conversion_request import Request

    request = Request(
        episodes=options.episodes,
        dataset=options.to,
        version=options.format,
        storage=options.storage,
        gaps=options.gaps,
        min_frames=options.min_frames,
        workers=options.workers,
        append=options.append,
        include_failed=options.include_failed,
        shard=options.shards,
        foreign=_foreign(options),
    )
    began_s = time.monotonic()
    progress = _Bar()
    try:
        summary = convert(request, progress)
    except KeyboardInterrupt:
        tell("convert", "stopped; the same command goes on from here")
        return INTERRUPTED
    except OSError as error:
        tell("convert", f"{describe(error)}; then the same command goes on from here")
        return 1
    finally:
        progress.close()
    print(report(summary, request, time.monotonic() - began_s))
    return 1 if summary.failed else 0


def _foreign(options: argparse.Namespace) -> "ForeignBags | None":
    """What is told of bags of another recorder; None where none are meant."""
    from evo1_training.datasets.conversion_request import ConversionError
    from evo1_training.recording.foreign_bag import ForeignBags

    if options.robot is None:
        if options.map is not None or options.instruction:
            raise ConversionError("--map and --instruction are for bags with --robot ROBOT")
        return None
    from evo1_training.datasets.reader.adoption import robot_file  # late: pyarrow takes a second

    return ForeignBags.read(robot_file(options.robot), options.map, options.instruction)


def report(summary: "Summary", request: "Request", took_s: float) -> str:
    """Return the table, what needs attention, and what to type next."""
    from evo1_training.datasets.conversion_request import listed
    from evo1_training.next_commands import command

    results = summary.results
    seconds = sum(result.seconds for result in results)
    gap_s = sum(result.gap_seconds for result in results)
    rows = [
        ("recorded episodes", f"{len(results)}"),
        ("dataset episodes", f"{sum(len(result.frames) for result in results)}"),
        ("frames", f"{sum(sum(result.frames) for result in results)}  ({seconds:.1f} s)"),
        ("gaps", f"{sum(result.gaps for result in results)}  ({gap_s:.2f} s, {request.gaps})"),
        ("held frames", f"{sum(result.held for result in results)}"),
        ("dropped frames", f"{sum(result.dropped for result in results)}"),
        ("speed", f"{seconds / max(took_s, 1e-9):.1f} x real time"),
    ]
    lines = [f"  {name:<20}{value}" for name, value in rows]
    notes = [(Path(r.folder), note) for r in results for note in r.notes]
    for title, said in (
        ("notes", listed(notes)),
        ("left out", listed(summary.left_out)),
        ("not converted", listed(summary.failed, numbers=False)),
    ):
        lines += [f"{title}:", *(f"  {line}" for line in said)] if said else []
    if request.shard is not None:
        part, parts = request.shard
        lines.append(
            f"part {part} of {parts} is encoded; once all are, the same command without --shards "
            "assembles the dataset"
        )
    elif (request.dataset / "meta").is_dir():
        lines += [
            f"next:  {command('check_dataset', request.dataset)}",
            f"       {command('train', '--stage', 1, '--dataset', request.dataset)}",
        ]
    return "\n".join(printable(line, _LONGEST) for line in lines)


class _Bar:
    """A progress bar in frames."""

    def __init__(self) -> None:
        self._bar: Any = None

    def expect(self, frames: int) -> None:
        """So many frames were recorded; 0 where that is not known."""
        from tqdm import tqdm

        self._bar = tqdm(total=frames or None, unit=" frames", desc="convert", mininterval=0.5)

    def advance(self, frames: int) -> None:
        """So many more are done."""
        if self._bar is not None and frames:
            self._bar.update(frames)

    def note(self, text: str) -> None:
        """Say something without breaking the bar."""
        from tqdm import tqdm

        tqdm.write(printable(text, _LONGEST), file=sys.stderr)

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()


def _shards(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not slash or not part.isdigit() or not parts.isdigit() or not 1 <= int(part) <= int(parts):
        raise argparse.ArgumentTypeError(f"expected k/N such as 1/4, got '{text}'")
    return int(part), int(parts)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got '{text}'")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    from evo1_training.datasets.worker_pool import available_cores

    parser = Parser(
        "evo1 convert",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("episodes", nargs="+", type=Path, metavar="EPISODES", help="episodes, or folders of some")
    add("--to", required=True, type=Path, metavar="DATASET", help="folder to write")
    formats = "v2.1: what the authors' code reads (default); v3.0: what LeRobot reads today"
    add("--format", choices=("v2.1", "v3.0"), default="v2.1", help=formats)
    storage = "of images: h264 is fast (default), av1 half the size, png without loss"
    add("--storage", choices=("h264", "av1", "png"), default="h264", help=storage)
    add("--gaps", choices=("auto", "split", "hold", "refuse"), default="auto", help="see below")
    count = partial(add, type=_positive, metavar="N")
    fewer = "between two gaps, fewer are dropped and reported (default: 30)"
    count("--min-frames", default=30, help=fewer)
    processes = "processes (default: one for each core, %(default)s here)"
    count("--workers", default=available_cores(), help=processes)
    add("--append", action="store_true", help="add to a dataset that is there")
    add("--include-failed", action="store_true", help="take episodes graded 'fail', too")
    bags = parser.add_argument_group("bags of other recorders").add_argument
    bags("--robot", metavar="ROBOT", help="the arm's robot file, or so101, so100, xarm6, ...")
    bags("--map", type=Path, metavar="FILE", help="names the topics; see below")
    bags("--instruction", default="", metavar="TEXT", help="what was done in them")
    add("--shards", type=_shards, metavar="k/N", help="encode only the k-th of N parts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
