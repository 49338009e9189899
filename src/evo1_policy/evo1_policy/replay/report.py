"""What a replay found: as text, as JSON, and as a plot of recorded against replayed joints.

Must not import ROS or torch.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.replay.replaying import Compared, NotComparable, Report

_LEAST_WIDTH = 10
_ROWS_SHOWN = 60
_SAME_STATE_RAD = 1e-9


def table(report: Report) -> str:
    """The chunks, one a line; of a long bag only those that differ or could not be made again."""
    results, left_out = report.results, 0
    if len(results) > _ROWS_SHOWN:
        marked = [one for one in results if isinstance(one, NotComparable) or one.differs]
        results = tuple(marked[:_ROWS_SHOWN])
        left_out = len(report.results) - len(results)
    widths = _widths(report)
    names = "".join(f"{name:>{width}}" for name, width in widths.items())
    lines = [f"{'chunk':>6}{'time s':>9}  {'':<8}{names}  first difference   (largest in rad)"]
    said = None
    for result in results:
        if result.recorded.instruction != said:
            said = result.recorded.instruction
            lines.append(f"  '{said}'")
        lines.append(_line(result, report))
    if left_out:
        what = "chunks more" if report.differing or report.incomparable else "chunks, all equal"
        lines.append(f"  {left_out} {what}; --json FILE has every one")
    return "\n".join(lines)


def summary(report: Report) -> str:
    """What was compared, what differed, and what that means."""
    compared, differing = report.compared, report.differing
    recorded = sorted({one.recorded.model_hash for one in report.results})
    kind = "test" if report.is_test else "comparison with another model"
    lines = [
        f"{kind}: {len(report.results)} chunks of {report.robot.name}, model "
        f"{' and '.join(recorded)}, replayed by {report.model_hash} on {report.device}"
    ]
    if compared:
        worst = max(compared, key=lambda one: one.worst_rad)
        lines.append(
            f"{len(compared) - len(differing)} of {len(compared)} within "
            f"{report.tolerance_rad:g} rad; largest difference {worst.worst_rad:.2g} rad, "
            f"chunk {worst.recorded.chunk_id}"
        )
    reasons = Counter(one.reason for one in report.incomparable)
    lines += [f"{count} not comparable: {reason}" for reason, count in reasons.most_common()]
    lines += _hints(report)
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data; an infinite difference is null."""
    return {
        "bag": str(report.bag),
        "robot": report.robot.name,
        "joints": list(report.robot.joint_names),
        "is_test": report.is_test,
        "passed": report.passed,
        "tolerance_rad": report.tolerance_rad,
        "model_hash": report.model_hash,
        "device": report.device,
        "chunks": len(report.results),
        "compared": len(report.compared),
        "differing": len(report.differing),
        "incomparable": len(report.incomparable),
        "largest_difference_rad": _number(
            max((one.worst_rad for one in report.compared), default=0.0)
        ),
        "results": [_result(one, report) for one in report.results],
    }


def _widths(report: Report) -> dict[str, int]:
    """Short name of each joint -> width of its column."""
    names = [name.removesuffix("_joint") for name in report.robot.joint_names]
    return {name: max(_LEAST_WIDTH, len(name) + 2) for name in names}


def _line(result: Compared | NotComparable, report: Report) -> str:
    chunk = result.recorded
    time_s = (chunk.stamp_ns - report.start_ns) / 1e9
    head = f"{chunk.chunk_id:>6}{time_s:>9.3f}  "
    if isinstance(result, NotComparable):
        return f"{head}{'-':<8} {result.reason}"
    widths = _widths(report).values()
    values = "".join(
        f"{value:>{width}.1e}"
        for value, width in zip(result.joint_difference_rad, widths, strict=True)
    )
    verdict = "differs" if result.differs else "equal"
    return f"{head}{verdict:<8}{values}  {_first(result, report)}".rstrip()


def _first(result: Compared, report: Report) -> str:
    if result.first is None:
        return ""
    action, joint = result.first
    after_s = (action + 1) * report.robot.step_ns / 1e9
    return f"action {action} (+{after_s:.2f} s), {report.robot.joint_names[joint]}"


def _hints(report: Report) -> list[str]:
    lines = []
    off = [one for one in report.compared if one.state_difference_rad > _SAME_STATE_RAD]
    if off:
        most = max(one.state_difference_rad for one in off)
        lines.append(
            f"note: for {len(off)} chunks the bag gives another joint state (up to {most:.2g} "
            "rad): a sample came late or was lost while recording; the state in the chunk was used"
        )
    devices = {one.recorded.device for one in report.compared} - {"", report.device}
    if devices:
        lines.append(
            f"note: recorded on {', '.join(sorted(devices))}, replayed on {report.device}: "
            "other arithmetic; give --device, or a --tolerance to match"
        )
    horizons = {len(one.recorded.actions) for one in report.compared}
    horizons |= {len(one.actions) for one in report.compared}
    if len(horizons) > 1:
        lines.append(
            f"note: chunks have {min(horizons)} or {max(horizons)} actions; the first "
            f"{min(horizons)} were compared"
        )
    return lines


def _result(result: Compared | NotComparable, report: Report) -> dict[str, Any]:
    chunk = result.recorded
    data: dict[str, Any] = {
        "chunk_id": chunk.chunk_id,
        "stamp_ns": chunk.stamp_ns,
        "time_s": round((chunk.stamp_ns - report.start_ns) / 1e9, 6),
        "instruction": chunk.instruction,
        "mode": chunk.mode,
        "model_hash": chunk.model_hash,
        "comparable": isinstance(result, Compared),
    }
    if isinstance(result, NotComparable):
        return data | {"reason": result.reason}
    action, joint = result.first or (None, None)
    return data | {
        "differs": result.differs,
        "difference_rad": {
            name: _number(value)
            for name, value in zip(
                report.robot.joint_names, result.joint_difference_rad.tolist(), strict=True
            )
        },
        "first_action": action,
        "first_joint": None if joint is None else report.robot.joint_names[joint],
        "state_difference_rad": result.state_difference_rad,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


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

    names, step_s = report.robot.joint_names, report.robot.step_ns / 1e9
    begins_s = [(one.recorded.stamp_ns - report.start_ns) / 1e9 for one in report.results]
    figure, axes = pyplot.subplots(
        len(names), 1, figsize=(11, 1.6 * len(names) + 1), sharex=True, squeeze=False
    )
    curves: list[tuple[list[Floats], list[Floats]]] = [([], []), ([], [])]
    for result, begin_s, next_s in zip(
        report.results, begins_s, [*begins_s[1:], np.inf], strict=True
    ):
        actions = result.recorded.actions
        end_s = min(begin_s + len(actions) * step_s, next_s)
        made = [actions, result.actions] if isinstance(result, Compared) else [actions]
        for (times, rows), chunk in zip(curves, made, strict=False):
            count = min(len(chunk), max(round((end_s - begin_s) / step_s), 1))
            due_s = begin_s + (np.arange(count + 1) + 1) * step_s
            times.append(due_s.astype(np.float64))
            gap = np.full((1, len(names)), np.nan)  # cuts the line between two chunks
            rows += [chunk[:count], gap]
        for place, axis in enumerate(axes[:, 0]):
            if isinstance(result, NotComparable):
                axis.axvspan(begin_s, end_s, color="0.9", linewidth=0)
            elif result.joint_difference_rad[place] > report.tolerance_rad:
                axis.axvspan(begin_s, end_s, color="tab:red", alpha=0.25, linewidth=0)
    for place, (axis, name) in enumerate(zip(axes[:, 0], names, strict=True)):
        for (times, rows), label, color, width in zip(
            curves, ("recorded", "replayed"), ("0.55", "tab:blue"), (3, 1), strict=True
        ):
            if times:
                values = np.concatenate(rows)[:, place]
                axis.plot(np.concatenate(times), values, color=color, linewidth=width, label=label)
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
