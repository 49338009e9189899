"""Plot of each joint over time: measured and demonstrated, gaps shaded, as one PNG.

Must not import ROS or torch.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evo1_training.viewing.episode_view import Curve, EpisodeView

_COLUMNS = 2
_DPI = 110
_LONGEST_TITLE = 90
_GAP_COLOURS = ("tab:red", "tab:orange", "tab:purple", "tab:brown")
_LEAST_SPAN = 0.1  # of a joint's axis [rad]
_MOST_POINTS = 4000  # more cannot be told apart in print


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
    figure, axes = _panels(view)
    lines = len(axes)
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
        axis.set_title(view.joints[number], size=9, loc="left", pad=2)
        axis.tick_params(labelsize=8)
        axis.grid(visible=True, alpha=0.3)
        axis.set_xlim(0, max(view.duration_s, 1e-3))
        low, high = axis.get_ylim()
        if high - low < _LEAST_SPAN:  # a joint at rest shall look at rest, not like noise blown up
            axis.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)
    for column in range(_COLUMNS):
        used = min(lines, max(1, len(view.joints) - column * lines))
        axes[used - 1, column].tick_params(labelbottom=True)
        axes[used - 1, column].set_xlabel("time [s]", size=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=9, frameon=False)
    figure.savefig(path)


def _panels(view: EpisodeView) -> tuple[Figure, Any]:
    """A titled figure, and its axes in `_COLUMNS` columns, enough for every joint."""
    lines = max(1, -(-len(view.joints) // _COLUMNS))
    height = 1.7 * lines + 1.1
    figure = Figure(figsize=(12.6, height), dpi=_DPI)
    FigureCanvasAgg(figure)
    title = shorten(view.title, _LONGEST_TITLE, placeholder=" ...")
    figure.text(0.01, 1 - 0.12 / height, title, va="top", size=13, weight="bold")
    subtitle = "   ".join([view.name, f"{view.duration_s:.1f} s", *view.remarks])
    figure.text(0.01, 1 - 0.42 / height, subtitle, va="top", size=9, color="0.35")
    axes = figure.subplots(
        lines,
        _COLUMNS,
        squeeze=False,
        sharex=True,
        gridspec_kw={
            "left": 0.055,
            "right": 0.985,
            "top": 1 - 0.95 / height,
            "bottom": 0.45 / height,
            "wspace": 0.14,
            "hspace": 0.35,
        },
    )
    return figure, axes


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
