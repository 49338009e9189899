"""Make episodes readable again that were cut off by a kill or a power failure."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from evo1_policy.command_line import describe, entry_point, tell
from evo1_training.recording.episode import bag_path, episode_folders
from evo1_training.recording.recovery import Recovery, needs_recovery, recover

_EPILOG = """\
Every message up to the last complete chunk is kept, with its stamps and the label; at most the
last second before the cut is missing. Episodes that are in order are left alone, so the folder
that holds all of them can be given. The grade of a recovered episode is at best 'warn': look at
it before you train on it.

examples:
  ros2 run evo1_training recover ~/evo1_episodes
  ros2 run evo1_training recover ~/evo1_episodes/episode_000012
"""


@entry_point("recover")
def main(arguments: Sequence[str] | None = None) -> int:
    """Recover what was asked for; the exit status is 1 where something could not be."""
    parser = argparse.ArgumentParser(
        prog="recover",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="an episode, or a folder of episodes"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    options = parser.parse_args(arguments)
    failed = False
    for path in options.paths:
        try:
            folders = episode_folders(path.expanduser())
        except (OSError, ValueError) as error:
            tell("recover", describe(error))
            failed = True
            continue
        for folder in folders:
            failed |= not _treat(folder, dry_run=options.dry_run)
    return 1 if failed else 0


def _treat(folder: Path, *, dry_run: bool) -> bool:
    """Recover one episode if it needs it; False where it cannot be."""
    try:
        if not needs_recovery(folder):
            _say(f"{folder}: in order")
        elif dry_run:
            _say(f"{folder}: cut off; would be recovered")
        else:
            _say(_describe(folder, _recover(folder)))
    except (OSError, ValueError) as error:  # the other episodes are not given up
        tell("recover", describe(error))
        return False
    return True


def _recover(folder: Path) -> Recovery:
    bag = bag_path(folder)
    size = bag.stat().st_size if bag.is_file() else 0
    with tqdm(
        total=size, desc=folder.name, unit="B", unit_scale=True, disable=None, leave=False
    ) as bar:
        return recover(folder, progress=bar.update)


def _describe(folder: Path, recovery: Recovery) -> str:
    return (
        f"{folder}: recovered {recovery.messages} messages, {recovery.duration_s:.1f} s; "
        f"{recovery.grade}: {'; '.join(recovery.reasons)}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
