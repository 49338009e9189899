"""A demonstrator's message, and whether it can be followed at all. No ROS, no torch.

Letters: N points, K named joints.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.control.limits import LARGEST_RAD
from evo1_policy.perception.messages import stamp_ns


@dataclass(frozen=True, kw_only=True)
class TeleopSettings:
    """Choices of teleoperation that are no facts of a robot.

    Attributes:
        timeout_ns: a demonstrator silent for longer has stopped; the next message begins anew.
        lead_ns: how far ahead of now a trajectory changes: time for the message to arrive.
        max_extrapolation_ns: how far a target is carried on at its speed where messages do not
            look ahead.
        approach_share: of the velocity limits, while the arm goes to where targets are.
        close_rad: nearer than this, an approach is over.
        outside_rad: how far beyond its position limits an arm may be to start, inwards.
        max_delay_ns: an older message is refused: clocks differ, or it waited in a queue.
        max_ahead_ns: nor may its points be further in the future.
        dry_run: commands are not executed; a demonstration begins at the measured arm.
    """

    timeout_ns: int = 250_000_000
    lead_ns: int = 15_000_000
    max_extrapolation_ns: int = 80_000_000
    approach_share: float = 0.2
    close_rad: float = 0.05
    outside_rad: float = 0.05
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
    positions: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Refused:
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
