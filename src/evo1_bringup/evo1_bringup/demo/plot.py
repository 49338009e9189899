"""Commanded against measured joint positions, with the chunk boundaries. Must not import ROS."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from evo1_bringup.demo.recording import Array, Recording
from evo1_bringup.demo.seams import commanded_positions
from evo1_policy.robot_config import RobotConfig

_COMMANDED = "#d95f02"
_MEASURED = "#1f4e79"
_SEAM = "#bdbdbd"


def plot_joints(path: Path, recording: Recording, robot: RobotConfig) -> Path:
    """Write a PNG with one panel a joint; time counts from the start of the run."""
    times_ns = recording.streams["joint_states"].stamps_ns
    seconds = (times_ns - recording.start_ns).astype(np.float64) * 1e-9
    commanded = commanded_positions(recording.commands, robot, times_ns)
    seams = [(arrived - recording.start_ns) * 1e-9 for arrived in recording.chunks_received_ns]
    figure, panels = pyplot.subplots(
        robot.width, 1, sharex=True, figsize=(11, 1.6 * robot.width + 1.2), squeeze=False
    )
    for column, axes in enumerate(panels[:, 0]):
        _panel(axes, seconds, recording.joint_positions[:, column], commanded[:, column], seams)
        axes.set_ylabel(f"{robot.joint_names[column]}\n[rad]", fontsize=9)
    panels[-1, 0].set_xlabel("time [s]")
    panels[0, 0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncol=3, frameon=False)
    panels[0, 0].set_title(
        f"{robot.name}: commanded and measured, {len(seams)} chunks", loc="left", fontsize=11
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _panel(
    axes: Axes, seconds: Array, measured: Array, commanded: Array, seams: list[float]
) -> None:
    for index, seam in enumerate(seams):
        label = "a chunk arrives" if index == 0 else None
        axes.axvline(seam, color=_SEAM, linewidth=0.6, label=label, zorder=0)
    axes.plot(seconds, commanded, color=_COMMANDED, linewidth=2.2, label="commanded")
    axes.plot(seconds, measured, color=_MEASURED, linewidth=1.0, label="measured")
    values = np.concatenate([measured, commanded[np.isfinite(commanded)]])
    if values.size:  # a joint at rest shall look at rest, not like noise blown up
        middle, half = (values.max() + values.min()) / 2, max(np.ptp(values) * 0.6, 0.05)
        axes.set_ylim(middle - half, middle + half)
    axes.grid(axis="y", color="#eeeeee")
    axes.margins(x=0.0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
