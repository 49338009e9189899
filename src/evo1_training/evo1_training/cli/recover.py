"""Make episodes readable again that were cut off by a kill or a power failure, or damaged."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from evo1_policy.command_line import Parser, describe, entry_point, printable, tell

if TYPE_CHECKING:
    from tqdm import tqdm

    from evo1_training.recording.recovery import Recovery

_EPILOG = """\
Every message of a complete chunk is kept, with its stamps and the label; at most the last second
before the cut is missing, and a quarter of a second where a chunk is damaged. Every episode is
read to its end, and those that are in order are left alone, so the folder that holds all of them
can be given. What is replaced stays beside the new file as *.before_recover, until you delete it.
Bags of other recorders and tools are never changed. The grade of a recovered episode is at best
'warn': look at it before you train on it.

examples:
  evo1 recover ~/evo1_episodes
  evo1 recover ~/evo1_episodes/episode_000012
"""
_MANY = 5  # damaged parts that are told one by one


@entry_point("recover")
def main(arguments: Sequence[str] | None = None) -> int:
    """Recover what was asked for; the exit status is 1 where something could not be."""
    parser = Parser(
        "evo1 recover",
        description=__doc__,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="an episode, or a folder of episodes"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    options = parser.parse_args(arguments)
    from evo1_training.recording.episode import episode_folders

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
    from evo1_training.recording.recovery import needs_recovery, recover

    try:
        with _bar(folder, "looking at") as bar:
            problem = needs_recovery(folder, progress=bar.update)
        if not problem:
            _say(f"{folder}: in order")
        elif dry_run:
            _say(f"{folder}: {problem}; would be recovered")
        else:
            with _bar(folder, "copying") as bar:
                recovery = recover(folder, progress=bar.update)
            _say(_describe(folder, recovery))
    except (OSError, ValueError) as error:  # the other episodes are not given up
        tell("recover", describe(error))
        return False
    return True


def _bar(folder: Path, doing: str) -> "tqdm[NoReturn]":
    from tqdm import tqdm

    from evo1_training.recording.episode import bag_path

    bag = bag_path(folder)
    size = bag.stat().st_size if bag.is_file() else 0
    return tqdm(
        total=size,
        desc=f"{doing} {folder.name}",
        unit="B",
        unit_scale=True,
        disable=None,
        leave=False,
    )


def _describe(folder: Path, recovery: "Recovery") -> str:
    lines = [
        f"{folder}: recovered {recovery.messages} messages, {recovery.duration_s:.1f} s; "
        f"{recovery.grade}: {'; '.join(recovery.reasons)}"
    ]
    lines += [f"left out, {damage}" for damage in recovery.damage[:_MANY]]
    if len(recovery.damage) > _MANY:
        lines.append(f"left out, {len(recovery.damage) - _MANY} more damaged parts")
    if recovery.kept:
        kept = ", ".join(path.name for path in recovery.kept)
        lines.append(f"as it was before: {kept}; delete them once the episode looks right")
    return "\n  ".join(printable(line, 2000) for line in lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
