"""Pictures of an episode: the contact sheet of its cameras, and the plot of its joints.

Texts of a dataset are drawn as they are, never read as formulas. Must not import ROS or torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evo1_policy.command_line import printable
from evo1_training.viewing.episode_view import Curve, EpisodeView, Picture

_DPI = 110
_LONGEST_TITLE = 90
_SHEET_COLUMNS, _CELL_INCH = 6, 2.1
_JOINT_COLUMNS = 2
_GAP_COLOURS = ("tab:red", "tab:orange", "tab:purple", "tab:brown")
_LEAST_SPAN = 0.1  # of a joint's axis [rad]
_MOST_POINTS = 4000  # more cannot be told apart in print


def draw_contact_sheet(view: EpisodeView, path: Path) -> None:
    """Draw rows of pictures, one line a camera, with times; long episodes take several blocks.

    Raises:
        OSError: the file cannot be written.
    """
    by_camera = [
        [picture for picture in view.pictures if picture.camera == camera]
        for camera in view.cameras
    ]
    count = max(map(len, by_camera), default=0)
    blocks = max(1, -(-count // _SHEET_COLUMNS))
    lines = max(1, blocks * len(view.cameras))
    aspect = _aspect(view.pictures)
    height = lines * (_CELL_INCH * aspect + 0.28) + 0.75
    figure, axes = _panels(
        view,
        (lines, _SHEET_COLUMNS),
        size=(_SHEET_COLUMNS * _CELL_INCH, height),
        grid={
            "left": 0.03,
            "right": 0.995,
            "top": 1 - 0.9 / height,
            "bottom": 0.05 / height,
            "wspace": 0.03,
            "hspace": 0.28 / (_CELL_INCH * aspect),
        },
    )
    for axis in axes.flat:
        axis.axis("off")
    for line, pictures in enumerate(by_camera):
        for place, picture in enumerate(pictures):
            block, column = divmod(place, _SHEET_COLUMNS)
            _draw_picture(axes[block * len(view.cameras) + line, column], picture)
        for block in range(blocks):
            _name_line(axes[block * len(view.cameras) + line, 0], view.cameras[line])
    figure.savefig(path)


def _draw_picture(axis: Axes, picture: Picture) -> None:
    axis.imshow(picture.image)
    axis.set_title(f"{picture.time_s:.2f} s", size=8, pad=2)


def _name_line(axis: Axes, name: str) -> None:
    axis.text(
        -0.03,
        0.5,
        printable(name),
        transform=axis.transAxes,
        rotation=90,
        ha="right",
        va="center",
        size=9,
        parse_math=False,
    )


def _aspect(pictures: Sequence[Picture]) -> float:
    """Height by width of the tallest picture."""
    shapes = [picture.image.shape for picture in pictures] or [(3, 4)]
    return float(np.max([shape[0] / shape[1] for shape in shapes]))


def draw_joints(
    view: EpisodeView,
    path: Path,
    *,
    labels: tuple[str, str] = ("state", "action"),
    marks_s: Sequence[float] = (),
    mark: str = "",
) -> None:
    """Draw state and action of every joint.

    Args:
        view: the episode, or any other run.
        path: the PNG.
        labels: what state and action are called.
        marks_s: moments to mark by thin lines [s].
        mark: what happened at each of them.

    Raises:
        OSError: the file cannot be written.
    """
    lines = max(1, -(-len(view.joints) // _JOINT_COLUMNS))
    height = 1.7 * lines + 1.1
    figure, axes = _panels(
        view,
        (lines, _JOINT_COLUMNS),
        size=(12.6, height),
        share_time=True,
        grid={
            "left": 0.055,
            "right": 0.985,
            "top": 1 - 0.95 / height,
            "bottom": 0.45 / height,
            "wspace": 0.14,
            "hspace": 0.35,
        },
    )
    streams = sorted({gap.stream for gap in view.gaps})
    for number, axis in enumerate(axes.T.flat):
        if number >= len(view.joints):
            axis.axis("off")
            continue
        _shade(axis, view, streams)
        for index, moment_s in enumerate(marks_s):
            label = "_" if index else mark
            axis.axvline(moment_s, color="0.75", linewidth=0.6, label=label, zorder=0)
        _line(axis, view.state, number, labels[0], "-", "tab:blue")
        _line(axis, view.action, number, labels[1], "--", "tab:orange")
        axis.set_title(printable(view.joints[number]), size=9, loc="left", pad=2, parse_math=False)
        axis.tick_params(labelsize=8)
        axis.grid(visible=True, alpha=0.3)
        axis.set_xlim(0, max(view.duration_s, 1e-3))
        _widen(axis)
    for column in range(_JOINT_COLUMNS):
        used = min(lines, max(1, len(view.joints) - column * lines))
        axes[used - 1, column].tick_params(labelbottom=True)
        axes[used - 1, column].set_xlabel("time [s]", size=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=9, frameon=False)
    figure.savefig(path)


def _widen(axis: Axes) -> None:
    """A joint at rest shall look at rest, not like noise blown up."""
    low, high = axis.get_ylim()
    if high - low < _LEAST_SPAN:
        axis.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)


def _line(axis: Axes, curve: Curve, joint: int, label: str, style: str, colour: str) -> None:
    if not len(curve.times_s):
        return
    every = max(1, len(curve.times_s) // _MOST_POINTS)
    times, values = curve.times_s[::every], curve.values[::every, joint]
    axis.plot(times, values, style, color=colour, label=label, linewidth=1.1)


def _shade(axis: Axes, view: EpisodeView, streams: list[str]) -> None:
    named: set[str] = set()
    for gap in view.gaps:
        colour = _GAP_COLOURS[streams.index(gap.stream) % len(_GAP_COLOURS)]
        label = "_" if gap.stream in named else f"gap in {gap.stream}"
        named.add(gap.stream)
        axis.axvspan(gap.begin_s, gap.end_s, color=colour, alpha=0.25, linewidth=0, label=label)


def _panels(
    view: EpisodeView,
    counts: tuple[int, int],
    *,
    size: tuple[float, float],
    grid: Mapping[str, float],
    share_time: bool = False,
) -> tuple[Figure, Any]:
    """A figure of some size [inch], headed by the episode, and its axes (lines, columns)."""
    figure = Figure(figsize=size, dpi=_DPI)
    FigureCanvasAgg(figure)
    title = printable(shorten(view.title, _LONGEST_TITLE, placeholder=" ..."))
    remarks = printable("   ".join([view.name, f"{view.duration_s:.1f} s", *view.remarks]))
    for text, down, style in (
        (title, 0.12, {"size": 13, "weight": "bold"}),
        (remarks, 0.42, {"size": 9, "color": "0.35"}),
    ):
        figure.text(0.01, 1 - down / size[1], text, va="top", parse_math=False, **style)
    axes = figure.subplots(*counts, squeeze=False, sharex=share_time, gridspec_kw=dict(grid))
    return figure, axes
