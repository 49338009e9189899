"""What the controllers were told, joined over all trajectories, and the jumps between them.

Judges the messages alone, not what the policy says about them. Must not import ROS.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig
from evo1_sim.trajectory import TrajectoryError, TrajectoryFollower
from evo1_training.live_run.recording import Array, CommandHeard, Times

SAME_RAD = 1e-6


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """The largest steps over all seams and joints.

    Attributes:
        position_rad: between the old and the new trajectory where the new one begins [rad].
        velocity_rad_s: the same for the velocity [rad/s].
        late_rad: between them at the moment of arrival, where that is after the beginning: what
            a controller makes the arm jump because the message was late [rad].
    """

    position_rad: float = 0.0
    velocity_rad_s: float = 0.0
    late_rad: float = 0.0


def observed_jumps(commands: Sequence[CommandHeard], robot: RobotConfig) -> Jumps:
    """Compare each trajectory with the one that it replaces."""
    found = [
        _jumps(old, new)
        for output in range(len(robot.command))
        for old, new in pairwise(_accepted(commands, output, robot))
    ]
    return Jumps(
        position_rad=max((jumps.position_rad for jumps in found), default=0.0),
        velocity_rad_s=max((jumps.velocity_rad_s for jumps in found), default=0.0),
        late_rad=max((jumps.late_rad for jumps in found), default=0.0),
    )


def commanded_positions(
    commands: Sequence[CommandHeard], robot: RobotConfig, times_ns: Times
) -> Array:
    """What was commanded at each time: (N, D) [rad], NaN before the first command."""
    columns = np.full((len(times_ns), robot.width), np.nan)
    for output, config in enumerate(robot.command):
        where = [robot.joint_names.index(name) for name in config.joints]
        own = _of_output(commands, output)
        ends = [*(command.received_ns for command in own[1:]), np.iinfo(np.int64).max]
        follower: TrajectoryFollower | None = None
        for command, end in zip(own, ends, strict=False):
            follower = _accepting(follower, command, robot)
            if follower is not None:
                for row in np.flatnonzero((times_ns >= command.received_ns) & (times_ns < end)):
                    columns[row, where] = follower.sample(int(times_ns[row]))
    return columns


def leads_ms(commands: Sequence[CommandHeard], robot: RobotConfig) -> list[float]:
    """How long before it asks for something else each trajectory arrived [ms]; negative: late.

    A trajectory begins with points of the one before it; one that repeats it whole is left out.
    """
    pairs = [
        pair
        for output in range(len(robot.command))
        for pair in pairwise(_accepted(commands, output, robot))
    ]
    found = []
    for old, (command, new) in pairs:
        times = [_start_ns(command) + point.time_from_start_ns for point in command.points]
        apart = (t for t in times if _step(old[1].sample(t), new.sample(t)) > SAME_RAD)
        if (first := next(apart, None)) is not None:
            found.append((first - command.received_ns) * 1e-6)
    return found


def refused(commands: Sequence[CommandHeard], robot: RobotConfig) -> int:
    """How many trajectories a controller would refuse, as those that arrive after their end."""
    return sum(_follower(command, robot) is None for command in commands if command.points)


def _of_output(commands: Sequence[CommandHeard], output: int) -> list[CommandHeard]:
    return sorted((c for c in commands if c.output == output), key=lambda c: c.received_ns)


_Accepted = tuple[CommandHeard, TrajectoryFollower]


def _accepted(
    commands: Sequence[CommandHeard], output: int, robot: RobotConfig
) -> list[_Accepted]:
    own = ((command, _follower(command, robot)) for command in _of_output(commands, output))
    return [(command, follower) for command, follower in own if follower is not None]


def _jumps(old: _Accepted, new: _Accepted) -> Jumps:
    start_ns = max(_start_ns(old[0]), _start_ns(new[0]))
    arrival_ns = new[0].received_ns
    before, after = old[1].sample_state(start_ns), new[1].sample_state(start_ns)
    late = arrival_ns > start_ns
    return Jumps(
        position_rad=_step(before.positions, after.positions),
        velocity_rad_s=_step(before.velocities, after.velocities),
        late_rad=_step(old[1].sample(arrival_ns), new[1].sample(arrival_ns)) if late else 0.0,
    )


def _start_ns(command: CommandHeard) -> int:
    first = command.points[0].time_from_start_ns if command.points else 0
    return (command.stamp_ns or command.received_ns) + first


def _follower(command: CommandHeard, robot: RobotConfig) -> TrajectoryFollower | None:
    """A follower of this trajectory alone; None where a controller would refuse it."""
    names = robot.command[command.output].joints
    if not command.points:
        return None
    order = [command.joint_names.index(name) for name in names if name in command.joint_names]
    first = [command.points[0].positions[i] for i in order]
    follower = TrajectoryFollower(names)
    start_ns = _start_ns(command)
    try:
        follower.accept(
            command.points,
            command.joint_names,
            stamp_ns=command.stamp_ns or command.received_ns,
            now_ns=start_ns,
            current=first,
        )
    except TrajectoryError:
        return None
    late = follower.end_ns is None or follower.end_ns < command.received_ns
    return None if late else follower


def _accepting(
    follower: TrajectoryFollower | None, command: CommandHeard, robot: RobotConfig
) -> TrajectoryFollower | None:
    """The controller's follower after it got `command`; unchanged where it refuses it."""
    if follower is None:
        return _follower(command, robot)
    with contextlib.suppress(TrajectoryError):
        follower.accept(
            command.points,
            command.joint_names,
            stamp_ns=command.stamp_ns or command.received_ns,
            now_ns=command.received_ns,
        )
    return follower


def _step(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float:
    return float(np.abs(after - before).max())
