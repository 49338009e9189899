"""A demonstrator's messages: made, judged, and put together into a curve. No ROS, no torch.

Letters: N points, K named joints, D joints, M sample times.
"""

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.control.limits import LARGEST_RAD
from evo1_policy.perception.messages import stamp_ns

TIMEOUT_NS = 250_000_000  # silent for longer has stopped; the next message begins anew


@dataclass(frozen=True, kw_only=True)
class TeleopSettings:
    """Choices of teleoperation that are no facts of a robot.

    Attributes:
        max_delay_ns: an older message is refused: clocks differ, or it waited in a queue.
        max_ahead_ns: nor may its points be further in the future.
        dry_run: commands are not executed; a demonstration begins at the measured arm.
    """

    max_delay_ns: int = 500_000_000
    max_ahead_ns: int = 2_000_000_000
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class TeleopTarget:
    """One message of a demonstrator.

    Attributes:
        joint_names: K, any of the robot's joints in any order.
        stamp_ns: when it speaks from [ns]; 0 stands for now.
        offsets_ns: (N,) of its points from the stamp, increasing [ns].
        positions: (N, K) [rad].
    """

    joint_names: tuple[str, ...]
    stamp_ns: int
    offsets_ns: tuple[int, ...]
    positions: Floats


@dataclass(frozen=True, kw_only=True)
class RefusedTarget:
    """A message that is not followed, and why."""

    reason: str


def read_target(message: Any) -> TeleopTarget:
    """Read a trajectory_msgs/JointTrajectory, of rclpy or rosbags.

    Points without a position for each joint name give positions (N, 0), which are refused.
    """
    names, points = tuple(message.joint_names), message.points
    fit = bool(points) and all(len(point.positions) == len(names) for point in points)
    rows = [np.asarray(point.positions, dtype=np.float64) for point in points]
    return TeleopTarget(
        joint_names=names,
        stamp_ns=stamp_ns(message.header.stamp),
        offsets_ns=tuple(stamp_ns(point.time_from_start) for point in points),
        positions=np.stack(rows) if fit else np.empty((len(points), 0)),
    )


def target_problem(
    target: TeleopTarget, known: Sequence[str], settings: TeleopSettings, *, now_ns: int
) -> str:
    """Why a message cannot be followed; empty where it can.

    Args:
        target: the message.
        known: the robot's joints.
        settings: how old or far ahead it may be.
        now_ns: the clock [ns].
    """
    names, positions = target.joint_names, target.positions
    unknown = [name for name in names if name not in known]
    if unknown:
        return f"joint '{unknown[0]}' is none of this robot's; known: {', '.join(known)}"
    if not names or len(set(names)) != len(names):
        return f"expected joint names, each once; got {list(names)}"
    if not target.offsets_ns or positions.shape != (len(target.offsets_ns), len(names)):
        return (
            f"positions of shape {positions.shape} for {len(names)} joint names and "
            f"{len(target.offsets_ns)} points; expected one position [rad] a joint and point"
        )
    sane = np.abs(positions) <= LARGEST_RAD  # False for NaN
    if not sane.all():
        name = names[int(np.argmin(sane.all(axis=0)))]
        return (
            f"a target of joint '{name}' is not finite or beyond {LARGEST_RAD:g} rad; expected rad"
        )
    return _untimely(target, settings, now_ns)


def _untimely(target: TeleopTarget, settings: TeleopSettings, now_ns: int) -> str:
    offsets = target.offsets_ns
    if offsets[0] < 0 or any(after <= before for before, after in itertools.pairwise(offsets)):
        return "times from start do not increase from 0 or more"
    stamp_ns = target.stamp_ns or now_ns
    late_ns, ahead_ns = now_ns - stamp_ns, stamp_ns + offsets[-1] - now_ns
    if late_ns <= settings.max_delay_ns and ahead_ns <= settings.max_ahead_ns:
        return ""
    return (
        f"the message was stamped {late_ns / 1e6:.0f} ms ago and its targets reach "
        f"{ahead_ns / 1e6:.0f} ms ahead; allowed are {settings.max_delay_ns / 1e6:.0f} and "
        f"{settings.max_ahead_ns / 1e6:.0f} ms; compare the clocks, or stamp with 0"
    )


class TargetCurve:
    """Targets of D joints over time; each joint has knots of its own, linear in between.

    A message replaces what the curve said after the message's stamp, as a trajectory controller
    replaces its trajectory.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        self._times: list[list[int]] = [[] for _ in range(width)]
        self._values: list[list[float]] = [[] for _ in range(width)]

    @property
    def last_ns(self) -> int | None:
        """The last knot of any joint [ns]; None while the curve is empty."""
        return max((times[-1] for times in self._times if times), default=None)

    def add(
        self, columns: Sequence[int], times_ns: Sequence[int], positions: Floats, *, stamp_ns: int
    ) -> None:
        """Cut the named joints' curves at `stamp_ns` and append points.

        Args:
            columns: K joints.
            times_ns: N, increasing, not before the stamp [ns].
            positions: (N, K) [rad].
            stamp_ns: when the message speaks from [ns].
        """
        for k, column in enumerate(columns):
            times, values = self._times[column], self._values[column]
            keep = bisect_right(times, stamp_ns)
            if 0 < keep < len(times):
                here = float(np.interp(stamp_ns, times, values))
                times[keep:], values[keep:] = [stamp_ns], [here]
            while times and times[-1] >= times_ns[0]:
                del times[-1], values[-1]
            times.extend(times_ns)
            values.extend(positions[:, k].tolist())

    def forget_before(self, time_ns: int) -> None:
        """Drop knots that no time from `time_ns` on needs."""
        for times, values in zip(self._times, self._values, strict=True):
            surplus = bisect_right(times, time_ns) - 1
            if surplus > 0:
                del times[:surplus], values[:surplus]

    def clear(self) -> None:
        """Forget everything."""
        for times, values in zip(self._times, self._values, strict=True):
            times.clear()
            values.clear()

    def sample(self, times_ns: npt.NDArray[np.int64], default: Floats) -> Floats:
        """Targets (M, D) [rad] at times (M,) [ns]; `default` (D,) for joints never named."""
        wanted = np.tile(default, (len(times_ns), 1))
        for column, times in enumerate(self._times):
            if times:
                wanted[:, column] = np.interp(times_ns, times, self._values[column])
        return wanted


LOOK_AHEAD_NS = 60_000_000  # when a sample is due, after it was taken


class TeleopWindow:
    """Turns samples of a demonstrator into messages that look a little ahead.

    A position that is sent as "be there in 60 ms" reaches the controllers in time, so that the
    arm follows without lag: the whole demonstration is late by 60 ms and nothing is smoothed away.

    Args:
        joint_names: K, in the order of every sample.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        self._names = tuple(joint_names)
        self._samples: deque[tuple[int, Floats]] = deque()

    def push(self, positions: Floats, now_ns: int) -> TeleopTarget:
        """Add what was sampled at `now_ns` (K,) [rad]; return the message of this instant."""
        if self._samples and self._samples[-1][0] >= now_ns + LOOK_AHEAD_NS:
            self._samples.clear()  # the clock stands or jumped back
        self._samples.append((now_ns + LOOK_AHEAD_NS, np.array(positions, dtype=np.float64)))
        while self._samples[0][0] <= now_ns:
            self._samples.popleft()
        return TeleopTarget(
            joint_names=self._names,
            stamp_ns=now_ns,
            offsets_ns=tuple(due_ns - now_ns for due_ns, _ in self._samples),
            positions=np.array([sample for _, sample in self._samples]),
        )
