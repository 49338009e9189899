"""Which camera frames and which joint state make one observation: the rule, live and offline.

Everything here works on sorted stamps and holds no state, so the node's ring buffers and a
recorded episode give the same observation for the same tick. Must not import ROS or torch.

The rule. The reference is the first camera; an observation stands at the stamp ("tick") of one of
its frames. A tick is settled once every other camera has a frame stamped at the tick or later:
then the nearest frame is known and the observation never changes again. It has to be within
max_skew_ms of the tick, or as near as a camera that runs freely can promise: half of the period
that its last frames show, and a margin for jitter. The joint state at the
tick is causal: each joint goes on in a line from its last two samples stamped at or before the
tick, so no sample after the tick is needed. Only a sample that is late by the joint's own rhythm
is waited for, so a slow joint topic gives the same state live as on record.

Letters: C cameras, D joints, R rows.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats

Stamps = Sequence[int] | npt.NDArray[np.int64]
Rows = Sequence[Floats] | Floats

_INTERVALS = 8  # that the period of a camera is taken from
_JITTER_NS = 5_000_000  # of stamps, a coarse clock's included
# No period excuses more: an arm at 0.5 rad/s moves 20 mrad in it. 12.5 Hz and faster are within.
FREE_RUNNING_NS = 40_000_000
# The next sample is expected after this part of the interval before it, because stamps jitter.
_DUE_FRACTION = 0.75
# One lost sample is bridged in a line; two samples 1 ms apart are not drawn out over 50 ms.
_MAX_EXTRAPOLATION = 2.0


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """The parts of one observation, as indices into what was given.

    Attributes:
        frames: the frame used, of each camera.
        settled_by: the frame that settled the tick, of each camera.
        skew_ns: largest difference between the stamps of two frames used [ns].
        joint_rows: the joint rows used, oldest first.
        positions: (D,) float64 [rad], at the tick.
    """

    frames: tuple[int, ...]
    settled_by: tuple[int, ...]
    skew_ns: int
    joint_rows: range
    positions: Floats


@dataclass(frozen=True, kw_only=True)
class Unaligned:
    """Why a tick gives no observation.

    Attributes:
        code: 'pending': more messages may settle it; 'skew': a camera has no frame near enough;
            'joint': a joint has no sample near enough before the tick.
        camera: index of the camera at fault, None where a joint is.
        joint: index of the joint at fault, None where a camera is.
        distance_ns: how far the nearest usable sample is from the tick, 0 where unknown [ns].
        allowed_ns: how far a frame of the camera at fault may be [ns].
    """

    code: Literal["pending", "skew", "joint"]
    camera: int | None = None
    joint: int | None = None
    distance_ns: int = 0
    allowed_ns: int = 0


def align(
    tick_ns: int,
    cameras: Sequence[Stamps],
    joint_stamps: Stamps,
    joint_rows: Rows,
    *,
    max_skew_ns: int,
    max_joint_age_ns: int,
) -> Aligned | Unaligned:
    """Find what belongs to the observation at a tick.

    Args:
        tick_ns: stamp of a frame of the first camera [ns].
        cameras: sorted stamps of each camera [ns], C of them, the reference first.
        joint_stamps: strictly increasing stamps of the rows [ns], R of them.
        joint_rows: R rows (D,) float64 [rad]; NaN where a message did not carry the joint.
        max_skew_ns: how far a frame may be from the tick, whatever its camera's period [ns].
        max_joint_age_ns: no joint's last sample is further before the tick [ns].
    """
    frames: list[int] = []
    settled_by: list[int] = []
    for index, stamps in enumerate(cameras):
        settling = bisect_left(stamps, tick_ns)
        if settling == len(stamps):
            return Unaligned(code="pending", camera=index)
        settled_by.append(settling)
        frames.append(nearest(stamps, tick_ns))
    used = [int(stamps[frame]) for stamps, frame in zip(cameras, frames, strict=True)]
    for index, (stamps, settling) in enumerate(zip(cameras, settled_by, strict=True)):
        distance_ns = abs(used[index] - tick_ns)
        if distance_ns > max_skew_ns:
            known = stamps[max(0, settling - _INTERVALS) : settling + 1]  # the same live
            allowed_ns = max_distance_ns(known, max_skew_ns=max_skew_ns)
            if distance_ns > allowed_ns:
                return Unaligned(
                    code="skew", camera=index, distance_ns=distance_ns, allowed_ns=allowed_ns
                )
    joints = joints_at(tick_ns, joint_stamps, joint_rows, max_age_ns=max_joint_age_ns)
    if isinstance(joints, Unaligned):
        return joints
    joint_used, positions = joints
    return Aligned(
        frames=tuple(frames),
        settled_by=tuple(settled_by),
        skew_ns=max(used) - min(used),
        joint_rows=joint_used,
        positions=positions,
    )


def max_distance_ns(stamps: Stamps, *, max_skew_ns: int) -> int:
    """How far a camera's frame may be from a tick [ns].

    Args:
        stamps: of its last frames, increasing [ns].
        max_skew_ns: of the robot file; it may be further where its period leaves no choice [ns].
    """
    intervals = np.sort(np.diff(stamps))
    if len(intervals) < _INTERVALS:
        return max_skew_ns
    period_ns = int(intervals[(len(intervals) - 1) // 2])  # lost frames only make them longer
    return max(max_skew_ns, min(period_ns // 2 + _JITTER_NS, FREE_RUNNING_NS))


def nearest(stamps: Stamps, tick_ns: int) -> int:
    """Index of the stamp nearest to the tick; of two equally near ones the earlier.

    Args:
        stamps: sorted, not empty [ns].
        tick_ns: the tick [ns].
    """
    after = bisect_left(stamps, tick_ns)
    if after == 0:
        return 0
    if after == len(stamps) or tick_ns - stamps[after - 1] <= stamps[after] - tick_ns:
        return after - 1
    return after


def joints_at(
    tick_ns: int, stamps: Stamps, rows: Rows, *, max_age_ns: int
) -> tuple[range, Floats] | Unaligned:
    """Continue each joint in a line from its last two samples at or before the tick.

    Args:
        tick_ns: the tick [ns].
        stamps: strictly increasing stamps of the rows [ns], R of them.
        rows: R rows (D,) float64 [rad]; NaN where a message did not carry the joint.
        max_age_ns: no joint's last sample is further before the tick [ns].

    Returns:
        The rows used and positions (D,) float64 [rad], or why there are none.
    """
    last = bisect_right(stamps, tick_ns) - 1
    if last < 0:
        return Unaligned(code="joint" if len(stamps) else "pending", joint=0)
    first, times, values = _last_two(stamps, rows, last, not_before_ns=tick_ns - 2 * max_age_ns)
    age = tick_ns - times[0]
    absent = np.isnan(values[0]) | (age > max_age_ns)
    if absent.any():
        joint = int(np.argmax(absent))
        distance = 0 if np.isnan(values[0, joint]) else int(age[joint])
        return Unaligned(code="joint", joint=joint, distance_ns=distance)
    single = np.isnan(values[1])
    interval = np.where(single, 1, times[0] - times[1])
    late = (age > 0) & (single | (age >= _DUE_FRACTION * interval))
    waiting = _without_later_sample(rows, last, late)
    if waiting is not None:
        return Unaligned(code="pending", joint=waiting)
    slope_steps = np.minimum(age / interval, _MAX_EXTRAPOLATION)
    change = np.where(single | (age == 0), 0.0, (values[0] - values[1]) * slope_steps)
    return range(first, last + 1), values[0] + change


def _last_two(
    stamps: Stamps, rows: Rows, last: int, *, not_before_ns: int
) -> tuple[int, npt.NDArray[np.int64], Floats]:
    """Collect each joint's last and last but one sample up to a row.

    Returns:
        The first row looked at, stamps (2, D) int64 [ns] and positions (2, D) float64 [rad], NaN
        where there is none.
    """
    width = len(rows[last])
    times = np.zeros((2, width), dtype=np.int64)
    values = np.full((2, width), np.nan)
    oldest = last
    for index in range(last, -1, -1):
        stamp = int(stamps[index])
        if stamp < not_before_ns:
            break
        oldest, row = index, rows[index]
        carried = ~np.isnan(row)
        first = carried & np.isnan(values[0])
        second = carried & ~first & np.isnan(values[1])
        for place, joints in enumerate((first, second)):
            times[place, joints] = stamp
            values[place, joints] = row[joints]
        if not np.isnan(values[1]).any():
            break
    return oldest, times, values


def _without_later_sample(rows: Rows, last: int, late: npt.NDArray[np.bool_]) -> int | None:
    """Index of a late joint that no row after `last` carries, None where there is no such."""
    missing = late
    for index in range(last + 1, len(rows)):
        if not missing.any():
            break
        missing = missing & np.isnan(rows[index])
    return int(np.argmax(missing)) if missing.any() else None
