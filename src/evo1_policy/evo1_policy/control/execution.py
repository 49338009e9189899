"""From a chunk to the trajectory that is sent, and from motion to rest. No ROS, no torch.

A plan copies the points of what is being executed up to the splice, so the controller never sees
a seam, and ends with a braking tail, so a successor that never comes means a smooth stop.
"""

from dataclasses import dataclass, replace

import numpy as np

from evo1_policy.action_chunk import ActionChunk, Trajectory
from evo1_policy.control.limits import Limits, brake, follow
from evo1_policy.control.reference import Path, make_reference, slow_to_rest
from evo1_policy.control.signals import SeamReport
from evo1_policy.control.tool_speed import HEADROOM, PLANNED_SHARE

# Of a chunk beyond what is sent: the next one fades in from it, or is denoised to continue it.
AHEAD_S = 1.2
JERK_WINDOW_S = 0.2  # before and after a seam
HISTORY_TICKS = 40  # past points that a plan remembers, to compare with late measurements
# A controller whose clock is behind ours leads in to a first point that is still ahead, from where
# it measures the arm. So what is sent begins far enough in the past.
SENT_PAST_NS = 200_000_000
# A controller refuses a trajectory that ended before it arrived; a short stop sent over a busy
# network would be one. So what is sent rests a little at its end.
SENT_REST_TICKS = 6
# A hold is short and must never be refused for being late: the arm would run its old chunk.
HOLD_REST_TICKS = 60
SLOWER_PACES = 6  # that are tried where the tool would be too fast


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A trajectory to send.

    Attributes:
        trajectory: with its past, for the loop to remember.
        sent: the part of it that goes to the controller.
        splice_tick: grid point up to which it equals what was executed before.
        tail_ns: when its braking tail begins [ns].
        seam: how it joins what went before.
        intended: the chunk, as if nothing took over from it, up to AHEAD_S beyond tail_ns; what
            is sent equals it up to tail_ns.
        cut: why it ends before it was meant to; empty where it does not.
    """

    trajectory: Trajectory
    sent: Trajectory
    splice_tick: int
    tail_ns: int
    seam: SeamReport
    intended: Trajectory
    cut: str = ""


def first_tick_after(time_ns: int, step_ns: int) -> int:
    """The first grid point at or after a time."""
    return -(-time_ns // step_ns)


def plan_chunk(
    chunk: ActionChunk,
    executing: Trajectory,
    *,
    now_ns: int,
    splice_tick: int,
    until_ns: int,
    intended: Trajectory,
    limits: Limits,
    smoothing_rad: float,
) -> Plan:
    """Execute a chunk from a splice on, within every limit, ending at rest.

    Args:
        chunk: that passed chunk_check.check_chunk.
        executing: what the arm is commanded; a resting trajectory where it stands still.
        now_ns: the clock [ns].
        splice_tick: grid point, a little later than now, where the chunk takes over.
        until_ns: when something else will have taken over; the rest of the chunk is not sent, so
            that an arm whose policy died does not run on blindly [ns].
        intended: what the chunk fades in from; equals `executing` up to the splice.
        limits: of the robot.
        smoothing_rad: how far an action may be moved to take noise out [rad].
    """
    reference = make_reference(
        chunk, intended, splice_tick=splice_tick, limits=limits, smoothing_rad=smoothing_rad
    )
    past = executing.knots(splice_tick - HISTORY_TICKS, splice_tick)
    kept = max(first_tick_after(until_ns, limits.step_ns) - splice_tick, 1)
    planned = kept + round(AHEAD_S / limits.step_s)
    positions, velocities, limited = follow(
        past.positions[-1],
        past.velocities[-1],
        (reference.path[0][:planned], reference.path[1][:planned]),
        limits,
    )
    seam = SeamReport(
        chunk_offset_rad=reference.offset_rad,
        stretch=reference.stretch,
        clipped_points=reference.clipped,
        limited_points=limited,
        dropped_actions=reference.dropped,
        smoothed_rad=reference.smoothed_rad,
    )
    whole = past.extended(positions, velocities)
    plan = _finish(
        past.extended(positions[:kept], velocities[:kept]),
        executing,
        now_ns,
        splice_tick,
        limits,
        seam,
    )
    if kept >= len(positions):
        return plan
    return replace(plan, intended=_come_to_rest(whole, limits))


def plan_path(
    path: Path,
    executing: Trajectory,
    *,
    now_ns: int,
    splice_tick: int,
    limits: Limits,
    pace: Limits,
    rest_ticks: int = SENT_REST_TICKS,
) -> Plan:
    """Follow a reference from a splice on, within every limit, ending at rest.

    Args:
        path: positions [rad] and velocities [rad/s] (M, D) at the grid points after the splice.
        executing: what the arm is commanded.
        now_ns: the clock [ns].
        splice_tick: grid point, a little later than now, from which the reference counts.
        limits: of the robot.
        pace: the same, or slower ones to follow with; slower still where the tool is too fast.
        rest_ticks: grid steps of rest that are sent after the end.
    """
    past = executing.knots(splice_tick - HISTORY_TICKS, splice_tick)
    for _ in range(SLOWER_PACES):
        positions, velocities, limited = follow(
            past.positions[-1], past.velocities[-1], path, pace
        )
        plan = _finish(
            past.extended(positions, velocities),
            executing,
            now_ns,
            splice_tick,
            limits,
            SeamReport(limited_points=limited),
            rest_ticks=rest_ticks,
        )
        if limits.tool is None:
            break
        fast = limits.tool.too_fast(plan.trajectory, splice_tick, HEADROOM)
        if fast is None:
            break
        fastest = np.maximum(np.abs(velocities).max(axis=0), 1e-3)
        share = PLANNED_SHARE * limits.tool.most / fast[1]
        pace = replace(pace, velocity_max=np.minimum(pace.velocity_max, share * fastest))
    return plan


def cut_plan(
    plan: Plan, executing: Trajectory, tick: int, *, now_ns: int, limits: Limits, why: str
) -> Plan:
    """The same up to a grid point after the splice, and braking from there."""
    whole = plan.trajectory
    rest_ticks = plan.sent.last_tick - whole.last_tick
    path = whole.knots(whole.first_tick, tick)
    return replace(
        _finish(
            path, executing, now_ns, plan.splice_tick, limits, plan.seam, rest_ticks=rest_ticks
        ),
        cut=why,
    )


def plan_hold_on_path(executing: Trajectory, *, now_ns: int, lead_ns: int, limits: Limits) -> Plan:
    """Brake along what is executed: its time is slowed, its course stays."""
    splice_tick = first_tick_after(now_ns + lead_ns, limits.step_ns)
    return plan_path(
        slow_to_rest(executing, splice_tick, limits),
        executing,
        now_ns=now_ns,
        splice_tick=splice_tick,
        limits=limits,
        pace=limits,
        rest_ticks=HOLD_REST_TICKS,
    )


def plan_hold(executing: Trajectory, *, now_ns: int, lead_ns: int, limits: Limits) -> Plan:
    """Brake from the commanded state to rest, as soon as a controller can be told, in lead_ns."""
    splice_tick = first_tick_after(now_ns + lead_ns, limits.step_ns)
    past = executing.knots(splice_tick - HISTORY_TICKS, splice_tick)
    return _finish(
        past, executing, now_ns, splice_tick, limits, SeamReport(), rest_ticks=HOLD_REST_TICKS
    )


def _finish(
    path: Trajectory,
    executing: Trajectory,
    now_ns: int,
    splice_tick: int,
    limits: Limits,
    seam: SeamReport,
    *,
    rest_ticks: int = SENT_REST_TICKS,
) -> Plan:
    """Append the braking tail, cut what is sent, measure the seam."""
    whole = _come_to_rest(path, limits)
    first = (now_ns - SENT_PAST_NS) // limits.step_ns
    sent = whole.knots(first, whole.last_tick + rest_ticks)
    return Plan(
        intended=whole,
        trajectory=whole,
        sent=sent,
        splice_tick=splice_tick,
        tail_ns=path.end_ns,
        seam=replace(
            _measure(seam, sent, executing, splice_tick),
            jerk_rad_s3=_jerk(whole, splice_tick),
        ),
    )


def _come_to_rest(path: Trajectory, limits: Limits) -> Trajectory:
    return path.extended(*brake(path.positions[-1], path.velocities[-1], limits))


def _measure(
    seam: SeamReport, sent: Trajectory, executing: Trajectory, splice_tick: int
) -> SeamReport:
    """Fill in the jumps between what was commanded and what is about to be sent."""
    index = splice_tick - sent.first_tick
    old = executing.knots(sent.first_tick, splice_tick + 1)
    jump = np.abs(sent.positions[: index + 1] - old.positions[: index + 1])
    kick = np.abs(sent.velocities[: index + 1] - old.velocities[: index + 1])
    following = sent.velocities[min(index + 1, len(sent.velocities) - 1)]
    shock = np.abs(following - old.velocities[index + 1]) / (sent.step_ns / 1e9)
    return replace(
        seam,
        position_jump_rad=float(jump.max()),
        velocity_jump_rad_s=float(kick.max()),
        acceleration_jump_rad_s2=float(shock.max()),
    )


def _jerk(whole: Trajectory, splice_tick: int) -> float:
    """Largest change of the mean acceleration between grid steps near a seam [rad/s^3]."""
    window = round(JERK_WINDOW_S * 1e9 / whole.step_ns)
    near = whole.knots(splice_tick - window - 1, splice_tick + window + 1).velocities
    return float(np.abs(np.diff(near, n=2, axis=0)).max()) / (whole.step_ns / 1e9) ** 2
