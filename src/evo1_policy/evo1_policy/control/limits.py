"""What the arm may do, and motion that cannot break it: follow a reference, and brake.

Every joint is a double integrator whose acceleration is constant over a grid step, so the cubic
Hermite between two points is that parabola and |velocity|, |acceleration| keep their limits at
every instant, not only at the points. No ROS, no torch. Letters: D joints, M points of the new
part.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.control.tool_speed import ToolSpeed
from evo1_policy.robot_config import RobotConfig

LARGEST_RAD = 1e4  # no joint turns so far: what is larger was never an angle


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one robot. Arrays are (D,) in the robot file's joint order.

    Attributes:
        joint_names: D names.
        position_min: [rad].
        position_max: [rad].
        velocity_max: [rad/s].
        acceleration_max: [rad/s^2].
        is_arm: (D,) bool, False for the gripper: it presses on objects, so its distance from
            the measured position says nothing, and it never slows the arm down.
        max_start_error_rad: largest start distance of a chunk or trajectory from the arm.
        step_ns: grid step of trajectories, half the step of a chunk [ns].
        per_radian: (D,) what counts as one radian in every tolerance, in each joint's unit.
        units: D words.
        tool: bound on the speed of the tool in space; None: none.
    """

    joint_names: tuple[str, ...]
    position_min: Floats
    position_max: Floats
    velocity_max: Floats
    acceleration_max: Floats
    is_arm: npt.NDArray[np.bool_]
    max_start_error_rad: float
    step_ns: int
    per_radian: Floats
    units: tuple[str, ...]
    tool: ToolSpeed | None = field(default=None, compare=False)

    @classmethod
    def of(cls, robot: RobotConfig) -> "Limits":
        """The limits that stand in a robot file."""
        grippers = {gripper.joint for gripper in robot.grippers}
        return cls(
            joint_names=robot.joint_names,
            position_min=robot.position_min,
            position_max=robot.position_max,
            velocity_max=robot.velocity_max,
            acceleration_max=robot.acceleration_max,
            is_arm=np.array([name not in grippers for name in robot.joint_names]),
            max_start_error_rad=robot.safety.max_start_error_rad,
            step_ns=robot.step_ns // 2,
            per_radian=robot.per_radian,
            units=tuple(joint.unit for joint in robot.joints),
            tool=ToolSpeed.of(robot),
        )

    @property
    def width(self) -> int:
        """D, the number of joints."""
        return len(self.joint_names)

    @property
    def step_s(self) -> float:
        """Grid step [s]."""
        return self.step_ns / 1e9

    def clip(self, positions: Floats) -> Floats:
        """Positions (..., D) [rad], those beyond a limit put at the limit."""
        return np.minimum(np.maximum(positions, self.position_min), self.position_max)

    def furthest(self, here: Floats, there: Floats) -> tuple[float, int]:
        """Largest distance over the arm's joints (not the gripper), and which joint.

        In radians, and in what counts as one of a joint in another unit (told says it in that).
        """
        distance = np.where(self.is_arm, np.abs(here - there) / self.per_radian, 0.0)
        joint = int(np.argmax(distance))
        return float(distance[joint]), joint

    def told(self, radians: float, joint: int) -> str:
        """A distance that counts as `radians`, in the joint's own unit, for people."""
        return f"{radians * self.per_radian[joint]:.3g} {self.units[joint]}"

    def outside(self, position: Floats, allowed: float) -> str:
        """A joint that is beyond its position limits by more than is allowed, in words."""
        beyond = np.maximum(position - self.position_max, self.position_min - position)
        joint = int(np.argmax(beyond))
        if beyond[joint] <= allowed:
            return ""
        return (
            f"joint '{self.joint_names[joint]}' is measured at {position[joint]:.3f} "
            f"{self.units[joint]}, outside its position limits [{self.position_min[joint]:g}, "
            f"{self.position_max[joint]:g}]; move it back by hand"
        )


GAIN = 20.0  # 1/s, how fast a small deviation from the reference is worked off
CATCH_UP = 0.5  # share of the acceleration that working off a large deviation may use
SHARE = 1.0 - 1e-6  # of a limit that is planned with, so that rounding cannot exceed it
MARGIN_RAD = 1e-6  # distance kept from position limits, for the same reason
BENT_RAD = 1e-3  # nearer to the reference is on it: a millimetre at an arm's length


def follow(
    position: Floats,
    velocity: Floats,
    reference: tuple[Floats, Floats],
    limits: Limits,
) -> tuple[Floats, Floats, int]:
    """Follow a reference as closely as the limits allow.

    Args:
        position: (D,) where the arm is commanded [rad].
        velocity: (D,) how fast [rad/s].
        reference: positions (M, D) [rad] and velocities (M, D) [rad/s] at the next M grid points.
        limits: of the robot.

    Returns:
        Positions (M, D), velocities (M, D), and at how many points a limit bent the path by
        more than BENT_RAD.
    """
    bent = np.flatnonzero(~_within_limits(position, velocity, reference, limits))
    if not len(bent):
        return *reference, 0
    positions, velocities = reference[0].copy(), reference[1].copy()
    limited = np.zeros(len(positions), dtype=bool)
    for j in bent:
        positions[:, j], velocities[:, j], of_joint = _follow_joint(
            float(position[j]),
            float(velocity[j]),
            reference[0][:, j].tolist(),
            reference[1][:, j].tolist(),
            lower=float(limits.position_min[j]) + MARGIN_RAD,
            upper=float(limits.position_max[j]) - MARGIN_RAD,
            speed_max=float(limits.velocity_max[j]) * SHARE,
            acceleration=float(limits.acceleration_max[j]) * SHARE,
            step_s=limits.step_s,
        )
        limited |= of_joint
    return positions, velocities, int(np.count_nonzero(limited))


def _within_limits(
    position: Floats,
    velocity: Floats,
    reference: tuple[Floats, Floats],
    limits: Limits,
) -> npt.NDArray[np.bool_]:
    """(D,) whose reference can be taken as it is: the usual case, and ten times cheaper."""
    h = limits.step_s
    q = np.vstack([position, reference[0]])
    v = np.vstack([velocity, reference[1]])
    speed = 6.0 * np.diff(q, axis=0) / h
    before, after = v[:-1], v[1:]
    # Acceleration is linear within a step, so its ends bound it, and with them the velocity.
    sharpest = np.maximum(
        np.abs(speed - 4.0 * before - 2.0 * after), np.abs(2.0 * before + 4.0 * after - speed)
    )
    acceleration = limits.acceleration_max * SHARE
    fastest = np.maximum(np.abs(before), np.abs(after)) + sharpest / 4.0
    keeps = (sharpest <= acceleration * h) & (fastest <= limits.velocity_max * SHARE)
    # From every point one can still stop before the position limits. And between points the cubic
    # is a weighted mean of values no further from them than a third of a step at their velocity.
    stopping = np.abs(v) * (np.abs(v) / (2.0 * acceleration) + h) + MARGIN_RAD
    between = np.abs(v) * h / 3.0 + MARGIN_RAD
    below = q + np.where(v > 0.0, stopping, between) <= limits.position_max
    above = q - np.where(v < 0.0, stopping, between) >= limits.position_min
    return np.asarray(keeps.all(axis=0) & (below & above).all(axis=0))


def _follow_joint(
    q: float,
    v: float,
    targets: list[float],
    speeds: list[float],
    *,
    lower: float,
    upper: float,
    speed_max: float,
    acceleration: float,
    step_s: float,
) -> tuple[list[float], list[float], list[bool]]:
    """One joint, in plain floats: faster than small arrays."""
    half, dv = step_s / 2.0, acceleration * step_s
    near = 2.0 * CATCH_UP * acceleration / GAIN**2
    zone = speed_max * (speed_max / (2.0 * acceleration) + 2.0 * step_s)
    positions, velocities, limited = [], [], []
    for target, speed in zip(targets, speeds, strict=True):
        # The deviation at the next point if the reference's velocity were taken.
        deviation = target - q - half * (v + speed)
        if -near < deviation < near:
            wish = speed + GAIN * deviation
        else:
            wish = speed + math.copysign(
                math.sqrt(2.0 * CATCH_UP * acceleration * abs(deviation)), deviation
            )
        highest, lowest = speed_max, -speed_max
        if upper - q < zone:
            highest = min(highest, _approach(upper - q - half * v, acceleration, step_s))
        if q - lower < zone:
            lowest = max(lowest, -_approach(q - lower + half * v, acceleration, step_s))
        # Comparisons, because min() and max() cost more than the rest. Acceleration comes last:
        # braking that is possible now was made sure of one step before.
        new = wish
        if new > highest:
            new = highest
        if new < lowest:
            new = lowest
        if new > v + dv:
            new = v + dv
        elif new < v - dv:
            new = v - dv
        q += half * (v + new)
        v = new
        positions.append(q)
        velocities.append(v)
        bent = not -1e-9 < new - wish < 1e-9
        limited.append(bent and not -BENT_RAD < q - target < BENT_RAD)
    return positions, velocities, limited


def _approach(room: float, acceleration: float, step_s: float) -> float:
    """Largest next velocity towards a position limit from which one can still stop before it.

    `room` is the distance to the limit at the next point if the joint stopped there. Stopping
    from v takes at most v^2 / 2A + v h / 2 with steps of h; solved for v. Beyond the limit
    (room below zero) it is negative: only inwards.
    """
    return acceleration * (
        math.sqrt(max(step_s * step_s + 2.0 * room / acceleration, 0.0)) - step_s
    )


def brake(position: Floats, velocity: Floats, limits: Limits) -> tuple[Floats, Floats]:
    """Decelerate to rest, all joints together so that the direction of motion is kept.

    A joint whose position limit is near stops earlier than the rest.

    Args:
        position: (D,) [rad].
        velocity: (D,) [rad/s].
        limits: of the robot.

    Returns:
        Positions (M, D) and velocities (M, D) at the next M grid points; the last stand still.
        M is 0 where the arm stands still already.
    """
    h = limits.step_s
    speed = np.abs(velocity)
    shortest = np.ceil(speed / (limits.acceleration_max * SHARE * h) - 1e-6)
    if not speed.any():
        return np.zeros((0, limits.width)), np.zeros((0, limits.width))
    points = max(int(shortest.max()), 1)
    ahead = np.where(velocity > 0, limits.position_max - position, position - limits.position_min)
    # Constant deceleration over n steps covers v n h / 2.
    fitting = np.floor(2.0 * (ahead - MARGIN_RAD) / (np.maximum(speed, 1e-12) * h) + 1e-6)
    steps = np.maximum(np.minimum(np.maximum(fitting, shortest), points), 1.0)
    k = np.minimum(np.arange(1, points + 1)[:, np.newaxis], steps)
    return (
        position + velocity * h * (k - k * k / (2.0 * steps)),
        velocity * (1.0 - k / steps),
    )


TOLERANCE = 1e-9  # relative and absolute, for rounding


def breaks_limits(trajectory: Trajectory, limits: Limits) -> str | None:
    """The whole Hermite curve against velocity, acceleration and position limits, in words."""
    positions, velocities = trajectory.positions, trajectory.velocities
    step_s = trajectory.step_ns / 1e9
    rise, v0, v1 = np.diff(positions, axis=0), velocities[:-1], velocities[1:]
    start = (6.0 * rise / step_s - 4.0 * v0 - 2.0 * v1) / step_s
    end = (2.0 * v0 + 4.0 * v1 - 6.0 * rise / step_s) / step_s
    acceleration = np.maximum(np.abs(start), np.abs(end))
    # Velocity is a parabola in time: its extremes are the points and, inside, its vertex.
    change = np.where(end == start, 1.0, end - start)
    vertex = np.minimum(np.maximum(-start / change, 0.0), 1.0)
    inside = v0 + step_s * vertex * (start + 0.5 * vertex * (end - start))
    speed = np.concatenate([np.abs(velocities), np.abs(inside)])
    return (
        _beyond("velocity", "rad/s", speed, limits.velocity_max, limits)
        or _beyond("acceleration", "rad/s^2", acceleration, limits.acceleration_max, limits)
        or _leaves_range(trajectory, start, end, limits)
    )


def _beyond(what: str, unit: str, values: Floats, allowed: Floats, limits: Limits) -> str | None:
    excess = values - allowed * (1.0 + TOLERANCE) - TOLERANCE
    if not values.size or excess.max() <= 0.0:
        return None
    joint = int(np.argmax(excess.max(axis=0)))
    return (
        f"joint '{limits.joint_names[joint]}' would reach {what} "
        f"{values[:, joint].max():.4f} {unit}, limit {allowed[joint]:g}"
    )


def _leaves_range(
    trajectory: Trajectory, start: Floats, end: Floats, limits: Limits
) -> str | None:
    """Position limits on the whole curve; an arm that begins outside may only move inwards."""
    turning = _turning_points(trajectory, start, end)
    over = np.concatenate([trajectory.positions, turning]) - limits.position_max
    under = limits.position_min - np.concatenate([trajectory.positions, turning])
    allowed_over = np.maximum(trajectory.positions[0] - limits.position_max, 0.0)
    allowed_under = np.maximum(limits.position_min - trajectory.positions[0], 0.0)
    excess = np.maximum(over - allowed_over, under - allowed_under).max(axis=0)
    outwards = _outward(trajectory, limits)
    if excess.max() <= TOLERANCE and outwards is None:
        return None
    joint = int(np.argmax(excess)) if outwards is None else outwards
    return (
        f"joint '{limits.joint_names[joint]}' would leave its position limits "
        f"[{limits.position_min[joint]:g}, {limits.position_max[joint]:g}] rad, reaching "
        f"[{trajectory.positions[:, joint].min():.4f}, "
        f"{trajectory.positions[:, joint].max():.4f}] rad"
    )


def _outward(trajectory: Trajectory, limits: Limits) -> int | None:
    """A joint that moves outwards where it is outside its position limits already."""
    if bool(
        np.all(trajectory.positions <= limits.position_max + TOLERANCE)
        and np.all(trajectory.positions >= limits.position_min - TOLERANCE)
    ):
        return None
    outside = np.maximum(
        trajectory.positions - limits.position_max, limits.position_min - trajectory.positions
    )
    outside = np.maximum(outside, 0.0)
    worse = (np.diff(outside, axis=0) > TOLERANCE).any(axis=0)
    return int(np.argmax(worse)) if worse.any() else None


def _turning_points(trajectory: Trajectory, start: Floats, end: Floats) -> Floats:
    """Positions (K, D) where a joint turns back inside a segment."""
    step_s = trajectory.step_ns / 1e9
    v0 = trajectory.velocities[:-1]
    # v(u) = v0 + h start u + h (end - start) u^2 / 2 = 0, with u in [0, 1].
    a, b = 0.5 * step_s * (end - start), step_s * start
    root = np.sqrt(np.maximum(b * b - 4.0 * a * v0, 0.0))
    # The stable pair of solutions, so that a nearly straight velocity loses no digits.
    q = -0.5 * (b + np.copysign(root, b))
    solutions = []
    for top, bottom in ((q, a), (v0, q)):
        u = np.divide(top, bottom, out=np.zeros_like(q), where=bottom != 0.0)
        u = np.minimum(np.maximum(u, 0.0), 1.0)
        solutions.append(
            trajectory.positions[:-1]
            + step_s * u * (v0 + step_s * u * (0.5 * start + u * (end - start) / 6.0))
        )
    return np.concatenate(solutions)
