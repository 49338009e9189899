"""view: an episode as a contact sheet, a plot of the joints, and in rerun. Must not import ROS."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.command_line import Parser, entry_point

if TYPE_CHECKING:
    from evo1_training.viewing.episode_view import EpisodeView

_DESCRIPTION = """\
Look at a recorded episode, or at an episode of a LeRobot dataset. Writes two pictures:

  <episode>_contact_sheet.png   every camera along time
  <episode>_joints.png          each joint: measured (state) and demonstrated (action), gaps shaded

A recording is shown as it was recorded, also where it was cut off or cannot be converted.
"""
_EPILOG = """\
examples
  evo1 view ~/evo1_episodes                      # the newest recording
  evo1 view ~/evo1_episodes --episode 3
  evo1 view datasets/can_into_box --episode 12 --out pictures
  evo1 view datasets/can_into_box --rerun        # needs: pip install rerun-sdk
  evo1 view datasets/can_into_box --rrd can.rrd  # the same as a file, where there is no screen
"""
_RERUN_COLUMNS = 200


@entry_point("view")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    # Lazily: matplotlib and pyarrow take a second, --help shall not.
    from evo1_training.viewing.drawing import draw_contact_sheet, draw_joints
    from evo1_training.viewing.rerun_view import show_in_rerun

    view = _open(options.path, options.episode, columns=options.columns)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "_", view.name)
    sheet = options.out / f"{stem}_contact_sheet.png"
    joints = options.out / f"{stem}_joints.png"
    draw_contact_sheet(view, sheet)
    draw_joints(view, joints)
    print(f"{sheet}\n{joints}")
    if options.rerun or options.rrd:
        view = _open(options.path, options.episode, columns=_RERUN_COLUMNS)
        show_in_rerun(view, save=options.rrd)
    return 0


def _open(path: Path, number: int | None, *, columns: int) -> "EpisodeView":
    from evo1_training.recording.episode import episode_folders
    from evo1_training.viewing.episode_view import ViewError
    from evo1_training.viewing.in_dataset import view_dataset
    from evo1_training.viewing.recorded import view_recording

    if (path / "meta" / "info.json").is_file():
        return view_dataset(path, number or 0, columns=columns)
    folders = episode_folders(path)
    if number is None:
        return view_recording(folders[-1], columns=columns)
    wanted = [folder for folder in folders if folder.name == f"episode_{number:06d}"]
    if not wanted:
        raise ViewError(
            f"{path}: no episode_{number:06d}; there are {folders[0].name} .. {folders[-1].name}"
        )
    return view_recording(wanted[0], columns=columns)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evo1 view",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("path", metavar="PATH", type=Path, help="an episode, a folder of many, or a dataset")
    number = "its number (default: the newest recording, or a dataset's first)"
    add("--episode", type=int, metavar="N", help=number)
    add("--out", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)")
    pictures = "pictures a camera (default: 12)"
    add("--columns", type=_positive, default=12, metavar="N", help=pictures)
    window = f"open the rerun viewer, too, with up to {_RERUN_COLUMNS} pictures a camera"
    add("--rerun", action="store_true", help=window)
    file = "write what rerun would show into this .rrd file, in place of a window"
    add("--rrd", type=Path, metavar="FILE", help=file)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
