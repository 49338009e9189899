"""Recorded against replayed joints over time, as PNG. Must not import ROS or torch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from evo1_policy.replay.replaying import Compared, NotComparable, Report

Floats = npt.NDArray[np.float64]


def plot_replay(report: Report, path: Path) -> None:
    """One panel a joint: each chunk until the next one begins; what differs is marked in red.

    Args:
        report: with one chunk or more.
        path: where to write.

    Raises:
        OSError: it cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names, results = report.robot.joint_names, report.results
    begins_s = [(one.recorded.stamp_ns - report.start_ns) / 1e9 for one in results]
    times, recorded, replayed = _curves(report, begins_s)
    figure, axes = pyplot.subplots(
        len(names), 1, figsize=(11, 1.6 * len(names) + 1), sharex=True, squeeze=False
    )
    for place, (axis, name) in enumerate(zip(axes[:, 0], names, strict=True)):
        axis.plot(times, recorded[:, place], color="0.55", linewidth=3, label="recorded")
        axis.plot(times, replayed[:, place], color="tab:blue", linewidth=1, label="replayed")
        for result, begin_s, end_s in zip(results, begins_s, _ends(report, begins_s), strict=True):
            if isinstance(result, NotComparable):
                axis.axvspan(begin_s, end_s, color="0.9", linewidth=0)
            elif result.joint_difference_rad[place] > report.tolerance_rad:
                axis.axvspan(begin_s, end_s, color="tab:red", alpha=0.25, linewidth=0)
        axis.set_ylabel(f"{name}\n[rad]")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(loc="upper right", ncols=2)
    axes[0, 0].set_title(_title(report), fontsize=10)
    axes[-1, 0].set_xlabel("time in the bag [s]")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _title(report: Report) -> str:
    differing, compared = len(report.differing), len(report.compared)
    return (
        f"{report.bag.name}: {differing} of {compared} chunks differ by more than "
        f"{report.tolerance_rad:g} rad (red); {len(report.incomparable)} not comparable (grey)"
    )


def _ends(report: Report, begins_s: list[float]) -> list[float]:
    """When the next chunk begins, or this one is over."""
    step_s = report.robot.step_ns / 1e9
    return [
        min(begin_s + len(one.recorded.actions) * step_s, next_s)
        for one, begin_s, next_s in zip(
            report.results, begins_s, [*begins_s[1:], np.inf], strict=True
        )
    ]


def _curves(report: Report, begins_s: list[float]) -> tuple[Floats, Floats, Floats]:
    """Times (N,) and positions (N, D) of both; a NaN row between two chunks cuts the line."""
    step_s = report.robot.step_ns / 1e9
    gap = np.full((1, report.robot.width), np.nan)
    times: list[Floats] = [np.zeros(1)]
    recorded, replayed = [gap], [gap]
    for result, begin_s, end_s in zip(
        report.results, begins_s, _ends(report, begins_s), strict=True
    ):
        due_s = begin_s + (np.arange(len(result.recorded.actions)) + 1) * step_s
        count = max(int((due_s <= end_s + step_s).sum()), 1)
        again = np.full((count, report.robot.width), np.nan)
        if isinstance(result, Compared):
            known = min(count, len(result.actions))
            again[:known] = result.actions[:known]
        cut: Floats = due_s[:count].astype(np.float64)
        times += [cut, cut[-1:]]
        recorded += [result.recorded.actions[:count], gap]
        replayed += [again, gap]
    return np.concatenate(times), np.concatenate(recorded), np.concatenate(replayed)
