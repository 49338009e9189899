"""From a chunk to the path that the limits are put on: smoothing, spline, cross-fade, slowed time.

A network's noise from action to action is not motion: it is taken out before time is slowed for
it. No ROS, no torch. Letters: H horizon, D joints, M points on the grid.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from evo1_policy.action_chunk import ActionChunk, Floats, Trajectory, interpolate
from evo1_policy.control.limits import Limits
from evo1_policy.control.tool_speed import PLANNED_SHARE

FADE_S = 0.2  # shortest cross-fade from the old trajectory to the new one
FADE_MAX_S = 0.6  # longest, for a chunk that is far from the old trajectory
FADE_SHARE = 0.5  # of the limits that a cross-fade may use
SLOWEST = 0.25  # a chunk may take up to 1 / SLOWEST of its time; beyond, its path is bent
SLOW_SHARE = 0.9  # of the limits that a slowed chunk may use
CLIPPED_RAD = 0.01  # beyond a position limit; less is a network's error at a joint's end
EASE_ON_PATH = 0.9  # of the acceleration that braking along a course may use
EASE_SHARE = 0.15  # of the acceleration that slowing down and speeding up may use

Path = tuple[Floats, Floats]  # positions, velocities (M, D)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Where the arm should be at the grid points after the splice.

    Attributes:
        path: positions (M, D) [rad] and velocities (M, D) [rad/s].
        stretch: its duration divided by the proposed one, 1 where nothing had to be slowed [-].
        offset_rad: distance of the chunk from the old trajectory at the splice [rad].
        clipped: how many of the used actions position limits clipped by over CLIPPED_RAD.
        dropped: how many actions were already past.
        smoothed_rad: how far smoothing moved an action at most [rad].
    """

    path: Path
    stretch: float
    offset_rad: float
    clipped: int
    dropped: int
    smoothed_rad: float


def make_reference(
    chunk: ActionChunk,
    executing: Trajectory,
    *,
    splice_tick: int,
    limits: Limits,
    smoothing_rad: float,
) -> Reference:
    """Lay a chunk onto the clock grid, smoothed, and faded in from what is being executed.

    The chunk's last action must be due after the splice (chunk_check.check_chunk sees to that).
    """
    splice_ns = splice_tick * limits.step_ns
    actions = limits.clip(chunk.actions)
    dropped = int(np.count_nonzero(chunk.times_ns() < splice_ns))
    beyond = (np.abs(actions - chunk.actions) / limits.per_radian).max(axis=1)  # (H,)
    clipped = int(np.count_nonzero(beyond[dropped:] > CLIPPED_RAD))
    points = max((chunk.end_ns - splice_ns) // limits.step_ns, 1)
    old = executing.knots(splice_tick, splice_tick + points)
    smoothed = smooth(actions, chunk.step_ns / 1e9, limits, most_rad=smoothing_rad)
    wanted = _on_grid(limits.clip(smoothed), chunk, splice_ns, points, limits.step_s)
    faded = _cross_fade((old.positions, old.velocities), wanted, limits)
    path, stretch = _slow_down(faded, limits)
    return Reference(
        path=path,
        stretch=stretch,
        offset_rad=float((np.abs(wanted[0][0] - old.positions[0]) / limits.per_radian).max()),
        clipped=clipped,
        dropped=dropped,
        smoothed_rad=float((np.abs(smoothed - actions) / limits.per_radian).max()),
    )


def _on_grid(
    actions: Floats,
    chunk: ActionChunk,
    splice_ns: int,
    points: int,
    step_s: float,
) -> Path:
    """The chunk's spline at the splice and the `points` grid points after it."""
    chunk_step_s = chunk.step_ns / 1e9
    slopes = _slope_matrix(len(actions)) @ actions / chunk_step_s
    since_first = (splice_ns - chunk.start_ns) / 1e9 + np.arange(points + 1) * step_s
    # A splice before the first action (a very fast inference) extends the spline by a line.
    return interpolate(actions, slopes, chunk_step_s, np.maximum(since_first, -2.0 * chunk_step_s))


@lru_cache(maxsize=8)
def _slope_matrix(horizon: int) -> Floats:
    """(H, H): slopes of the natural C2 cubic spline through H values one unit apart."""
    if horizon == 1:
        return np.zeros((1, 1))
    left = np.zeros((horizon, horizon))
    right = np.zeros((horizon, horizon))
    for i in range(horizon):
        for neighbour in (i - 1, i + 1):
            if 0 <= neighbour < horizon:
                left[i, i] += 2.0
                left[i, neighbour] = 1.0
                right[i, neighbour] += 3.0 * (neighbour - i)
                right[i, i] -= 3.0 * (neighbour - i)
    return np.asarray(np.linalg.solve(left, right), dtype=np.float64)


def _cross_fade(old: Path, new: Path, limits: Limits) -> Path:
    """Smoothstep in time from the old path to the new one; both (M + 1, D), from the splice."""
    gap, speed_gap = np.abs(new[0][0] - old[0][0]), np.abs(new[1][0] - old[1][0])
    velocity = FADE_SHARE * limits.velocity_max
    acceleration = FADE_SHARE * limits.acceleration_max
    # What a smoothstep of a gap needs: peak speed 1.5 gap / T, peak acceleration 6 gap / T^2.
    needed = np.maximum(1.5 * gap / velocity, np.sqrt(6.0 * gap / acceleration))
    needed = np.maximum(needed, 3.0 * speed_gap / acceleration)[limits.is_arm]
    duration = min(max(float(needed.max(initial=0.0)), FADE_S), FADE_MAX_S)
    u = np.minimum(np.arange(len(new[0])) * limits.step_s / duration, 1.0)[:, np.newaxis]
    weight, growth = u * u * (3.0 - 2.0 * u), 6.0 * u * (1.0 - u) / duration
    apart = new[0] - old[0]
    return (
        old[0] + weight * apart,
        old[1] + weight * (new[1] - old[1]) + growth * apart,
    )


def _slow_down(path: Path, limits: Limits) -> tuple[Path, float]:
    """Stretch time where the path is too fast; returns points 1.. of the slowed path.

    The path (M + 1, D) begins at the splice. Only the arm's joints slow it.
    """
    step_s = limits.step_s
    of_tool = _tool_rate(path, limits)
    if min(_rate(path, limits, share=1.0).min(), of_tool.min()) >= 1.0:
        return (path[0][1:], path[1][1:]), 1.0
    ease = EASE_SHARE * float((limits.acceleration_max / limits.velocity_max).min()) * step_s
    rate = np.maximum(_rate(path, limits, share=SLOW_SHARE), SLOWEST)
    rate = _ease(np.minimum(rate, of_tool), ease)
    # The rate is linear in path time within a step, so time is its logarithmic integral.
    before, growth = rate[:-1], np.diff(rate) / step_s
    flat = np.abs(growth) < 1e-9
    slope = np.where(flat, 1.0, growth)
    durations = np.where(flat, step_s / before, np.log(rate[1:] / before) / slope)
    starts = np.concatenate([[0.0], np.cumsum(durations)])
    times = np.arange(1, max(int(starts[-1] / step_s + 1e-9), 1) + 1) * step_s
    segment = np.minimum(np.searchsorted(starts, times, side="right") - 1, len(before) - 1)
    elapsed = np.minimum(times - starts[segment], durations[segment])
    gained = np.where(
        flat[segment],
        before[segment] * elapsed,
        before[segment] * np.expm1(slope[segment] * elapsed) / slope[segment],
    )
    speed = before[segment] + growth[segment] * gained
    positions, velocities = interpolate(path[0], path[1], step_s, segment * step_s + gained)
    stretch = float(starts[-1] / ((len(rate) - 1) * step_s))
    return (positions, velocities * speed[:, np.newaxis]), stretch


def slow_to_rest(executing: Trajectory, splice_tick: int, limits: Limits) -> Path:
    """The course of a trajectory from a grid point on, its time slowed to rest.

    Acceleration is q'' r^2 + q' r', with r the rate of time. No braking at all (r' = 0) keeps the
    limits that the trajectory keeps, so there is always a strongest braking that does, too.

    Returns:
        Positions (M, D) [rad] and velocities (M, D) [rad/s] at the grid points after splice_tick.
    """
    left = executing.knots(splice_tick, max(executing.last_tick, splice_tick) + 1)
    step_s, points = limits.step_s, len(left.positions) - 1
    most = EASE_ON_PATH * limits.acceleration_max
    rate, passed = 1.0, 0.0  # passed: of the trajectory's own time, in grid steps
    positions, velocities = [], []
    while rate > 0.0 and passed < points:
        edges = np.array([passed, min(passed + 1e-3, points)]) * step_s
        here, speeds = interpolate(left.positions, left.velocities, step_s, edges)
        speed, bend = speeds[0], (speeds[1] - speeds[0]) / (1e-3 * step_s)
        moving = np.abs(speed) > 1e-9
        # How negative r' may be before a joint brakes harder than it may.
        strongest = (-np.sign(speed) * most - bend * rate**2)[moving] / speed[moving]
        change = min(float(strongest.max(initial=-1.0 / step_s)), 0.0)
        after = max(rate + change * step_s, 0.0)
        passed += (rate + after) / 2.0
        rate = after
        at_s = np.array([min(passed, points) * step_s])
        here, speeds = interpolate(left.positions, left.velocities, step_s, at_s)
        positions.append(here[0])
        velocities.append(speeds[0] * rate)
    return np.array(positions), np.array(velocities)


def _rate(path: Path, limits: Limits, *, share: float) -> Floats:
    """(M + 1,) how fast time may pass at each point of a path, 1 where nothing is too fast."""
    arm = limits.is_arm
    speed = np.abs(path[1][:, arm]) / (share * limits.velocity_max[arm])
    acceleration = np.abs(np.diff(path[1][:, arm], axis=0)) / (
        share * limits.acceleration_max[arm] * limits.step_s
    )
    too_fast = speed.max(axis=1)
    too_sharp = np.sqrt(acceleration.max(axis=1))
    too_fast[:-1] = np.maximum(too_fast[:-1], too_sharp)
    too_fast[1:] = np.maximum(too_fast[1:], too_sharp)
    return np.asarray(1.0 / np.maximum(too_fast, 1.0))


def _tool_rate(path: Path, limits: Limits) -> Floats:
    """(M + 1,) the same for the tool's speed in space: a bound has no slowest pace."""
    if limits.tool is None:
        return np.ones(len(path[0]))
    return np.asarray(1.0 / np.maximum(limits.tool.share(*path) / PLANNED_SHARE, 1.0))


def _ease(rate: Floats, step: float) -> Floats:
    """The largest profile below `rate` that changes by at most `step` from point to point."""
    ramp = step * np.arange(len(rate))
    rising = np.minimum.accumulate(rate - ramp) + ramp
    return np.asarray(np.minimum.accumulate((rising + ramp)[::-1])[::-1] - ramp)


# Of the penalty on second differences, weakest first. With 1.0 a zigzag from action to action
# keeps 6 % of its size, a motion to and fro within ten actions 87 %.
STRENGTHS = (0.1, 0.3, 1.0, 3.0)
MOST_RAD = 0.1  # that may be asked for: a path that is moved further is another one
SMOOTH_SHARE = 0.9  # of the acceleration limit that a smoothed chunk may use


def smooth(actions: Floats, step_s: float, limits: Limits, *, most_rad: float) -> Floats:
    """Smooth each joint of a chunk as little as is needed for its acceleration to fit.

    A network's error differs from action to action. At 30 Hz a zigzag of 1 mrad asks for more than
    6 rad/s^2, and time would be slowed for the whole chunk.

    Args:
        actions: (H, D) joint targets [rad].
        step_s: time from one to the next [s].
        limits: of the robot.
        most_rad: how far an action may be moved; 0: not at all [rad, or what counts as one].

    Returns:
        (H, D), each joint with the weakest smoothing that brings its acceleration within the
        limit, or else the strongest that moves no action further than `most_rad`. A joint that
        fits as it is, or turns too sharply to be smoothed so little, is left alone.
    """
    smoothed = actions.copy()
    rough = np.ones(limits.width, dtype=bool)  # (D,)
    for strength in STRENGTHS:
        rough &= _sharpness(smoothed, step_s) > SMOOTH_SHARE * limits.acceleration_max
        if not rough.any():
            break
        softer = _smoother(len(actions), strength) @ actions
        rough &= np.abs(softer - actions).max(axis=0) <= most_rad * limits.per_radian
        smoothed[:, rough] = softer[:, rough]
    return smoothed


def _sharpness(actions: Floats, step_s: float) -> Floats:
    """(D,) largest acceleration of the natural cubic spline through the actions [rad/s^2]."""
    curvature = np.abs(_curvature(len(actions)) @ actions)
    return np.asarray(curvature.max(axis=0, initial=0.0) / step_s**2)


@lru_cache(maxsize=8)
def _curvature(horizon: int) -> Floats:
    """(H - 2, H): second derivatives of that spline at its inner knots, one apart.

    They are 0 at both ends and linear between knots, so no other instant is sharper.
    """
    inner = max(horizon - 2, 0)
    mixed = (4.0 * np.eye(inner) + np.eye(inner, k=1) + np.eye(inner, k=-1)) / 6.0
    return np.asarray(np.linalg.solve(mixed, _bend(horizon)), dtype=np.float64)


@lru_cache(maxsize=32)
def _smoother(horizon: int, strength: float) -> Floats:
    """(H, H): least squares to the actions plus `strength` times that of second differences.

    Whittaker (1923). It leaves lines as they are, and the mean of every joint.
    """
    bend = _bend(horizon)
    return np.asarray(np.linalg.inv(np.eye(horizon) + strength * bend.T @ bend), dtype=np.float64)


def _bend(horizon: int) -> Floats:
    """(H - 2, H): second differences; no rows where there are none."""
    return np.diff(np.eye(horizon), n=2, axis=0)
