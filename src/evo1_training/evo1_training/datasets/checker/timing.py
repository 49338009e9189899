"""The true times of an episode's frames, where the dataset keeps them (columns evo1.*).

Must not import ROS or torch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.recording.episode import GAP_STEPS

TICKS, SKEW, HELD = "evo1.tick_ns", "evo1.skew_ms", "evo1.held"
JOINTS = "evo1.joint_states.stamp_ns"
_GAP = 1.6  # of the usual interval
_RATE_TOLERANCE = 0.02
_REPEATS = 0.05
_HELD = 0.1

Columns = Mapping[str, npt.NDArray[Any]]


def gaps(columns: Columns, *, fps: int) -> npt.NDArray[np.int64]:
    """Rows after which time is missing."""
    if TICKS not in columns:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.diff(columns[TICKS]) > GAP_STEPS * 1e9 / fps)


def held_rows(columns: Columns, length: int) -> npt.NDArray[np.bool_]:
    """Rows (T,) that repeat what came before, because the recording has a gap there."""
    return np.asarray(columns.get(HELD, np.zeros(length, np.bool_)), np.bool_)


def camera_stamps(columns: Columns) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Give name and stamps (T,) [ns] of each camera."""
    for key, values in columns.items():
        if key.startswith("evo1.") and key.endswith(".stamp_ns") and key != JOINTS:
            yield key.removeprefix("evo1.").removesuffix(".stamp_ns"), values


def problems(columns: Columns, *, fps: int) -> Iterator[tuple[str, str]]:
    """Give code and description of what is wrong with the times of an episode."""
    if TICKS not in columns or len(columns[TICKS]) < 2:
        return
    ticks, step_ns = columns[TICKS], 1e9 / fps
    held = held_rows(columns, len(ticks))
    missing, intervals = gaps(columns, fps=fps), np.diff(ticks)
    if missing.size:
        worst = int(missing[np.argmax(intervals[missing])])
        yield (
            "time-gaps",
            f"{missing.size} gap{'s' if missing.size > 1 else ''} between frames that claim to be "
            f"{step_ns / 1e6:.1f} ms apart; the longest is {intervals[worst] / 1e6:.0f} ms after "
            f"frame {worst}",
        )
    # The mean without gaps: a camera stamped by a coarse clock alternates about its interval.
    usual = intervals[intervals < _GAP * np.median(intervals)]
    rate_hz = 1e9 / max(float(usual.mean()) if usual.size else 0.0, 1.0)
    if abs(rate_hz / fps - 1) > _RATE_TOLERANCE:
        yield "time-rate", f"frames were taken at {rate_hz:.1f} Hz, but fps is {fps}"
    if held.mean() > _HELD:
        yield "held-frames", f"{100 * held.mean():.0f} % of the frames only fill gaps"
    yield from _stamps(columns, held, step_ns)
    if SKEW in columns:
        skew_ms = float(np.quantile(columns[SKEW], 0.95))
        if skew_ms > step_ns / 2e6:
            yield "skew", f"the frames of one row are {skew_ms:.0f} ms apart (95th percentile)"


def _stamps(
    columns: Columns, held: npt.NDArray[np.bool_], step_ns: float
) -> Iterator[tuple[str, str]]:
    ticks = columns[TICKS]
    for name, stamps in camera_stamps(columns):
        share = _repeats(stamps, held)
        if share > _REPEATS:
            yield "repeated-frames", f"{name}: {100 * share:.0f} % of the frames repeat the last"
        age_ms = float(np.median((ticks - stamps)[~held])) / 1e6 if not held.all() else 0.0
        if abs(age_ms) > step_ns / 1e6:
            yield "camera-lag", f"{name}: frames are {age_ms:.0f} ms older than their row"
    if JOINTS in columns and (share := _repeats(columns[JOINTS], held)) > _REPEATS:
        yield "state-repeats", f"{100 * share:.0f} % of the rows had no new joint state"


def _repeats(stamps: npt.NDArray[Any], held: npt.NDArray[np.bool_]) -> float:
    """Which part of the rows, but for those that fill gaps, has the stamp of the row before."""
    taken = stamps[~held]
    return float((np.diff(taken) == 0).mean()) if len(taken) > 1 else 0.0
