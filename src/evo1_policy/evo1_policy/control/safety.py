"""The last gate before the arm: only what passes here can be sent. No ROS, no torch.

The check covers the whole curve that the controller executes, the cubic Hermite between the
points, not only the points. Letters: N points, D joints.
"""

from dataclasses import dataclass

import numpy as np

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.control.execution import Plan, cut_plan, plan_hold, plan_hold_on_path
from evo1_policy.control.limits import Limits
from evo1_policy.control.signals import _SAFETY_KEY, SafeTrajectory, StopCode, StopReason
from evo1_policy.kinematics.collision import Contact, Workspace

TOLERANCE = 1e-9  # relative and absolute, for rounding
LEAST_LEFT_TICKS = 3  # of a plan that is cut; less is no motion worth sending
CUTS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)  # times the braking time before a touch, where to cut
SEAM_TOLERANCE = 1e-6  # rad and rad/s, between what is executed and what is about to be sent


class Gate:
    """Lets plans pass, whoever made them: a policy, a person, parking, a stop.

    Args:
        limits: of the robot.
        workspace: what the arm must not touch; None: not checked.
    """

    def __init__(self, limits: Limits, workspace: Workspace | None) -> None:
        self._limits = limits
        self._workspace = workspace
        self._clear: Trajectory | None = None  # what passed last: clear to its end at rest

    def admit(
        self, plan: Plan, origin: Trajectory, *, now_ns: int, measured: Floats | None
    ) -> tuple[SafeTrajectory, Plan] | StopReason:
        """Check a plan; one that would touch is cut where the arm still comes to rest before.

        Args:
            plan: that continues `origin`.
            origin: what is executed, or an arm at rest.
            now_ns: the clock [ns].
            measured: (D,) where the arm is [rad]; given when nothing was executing.

        Returns:
            What to send, and the plan of it, or why nothing is sent.
        """
        verdict = self._check(plan, origin, measured)
        if isinstance(verdict, Touching):
            why, limits = verdict.message, self._limits
            for tick in self._cuts(plan, verdict.contact.tick):
                shorter = cut_plan(plan, origin, tick, now_ns=now_ns, limits=limits, why=why)
                cut = self._check(shorter, origin, measured)
                if not isinstance(cut, StopReason):
                    plan, verdict = shorter, cut
                    break
        if isinstance(verdict, StopReason):
            return verdict
        self._clear = plan.trajectory
        return verdict, plan

    def admit_stop(
        self, executing: Trajectory, *, now_ns: int, lead_ns: int
    ) -> tuple[SafeTrajectory, Plan] | None:
        """Slow to rest: straight on, or else along what is executed, which was clear.

        None where that cannot be braked sooner than it ends; it does so at rest, and clear. An arm
        whose way was not known to be clear (somebody else moved it) stops straight on.
        """
        limits = self._limits
        straight = plan_hold(executing, now_ns=now_ns, lead_ns=lead_ns, limits=limits)
        plan, verdict = straight, self._check(straight, executing)
        if isinstance(verdict, Touching):
            plan = plan_hold_on_path(executing, now_ns=now_ns, lead_ns=lead_ns, limits=limits)
            verdict = self._check(plan, executing)
        known = executing is self._clear or not isinstance(verdict, StopReason)
        if not known:
            plan, verdict = straight, self._check(straight, executing, clear=False)
        if isinstance(verdict, StopReason):
            return None
        self._clear = plan.trajectory if known else None
        return verdict, plan

    def _check(
        self,
        plan: Plan,
        executing: Trajectory,
        measured: Floats | None = None,
        *,
        clear: bool = True,
    ) -> SafeTrajectory | StopReason:
        return check(
            plan.sent,
            self._limits,
            workspace=self._workspace if clear else None,
            executing=executing,
            splice_tick=plan.splice_tick,
            measured=measured,
        )

    def _cuts(self, plan: Plan, touching: float) -> list[int]:
        """Where to try to cut a plan that touches at a grid point, the latest first."""
        last, limits = int(touching), self._limits
        speed = np.abs(plan.trajectory.knots(last, last).velocities[0])
        braking = float((speed / (limits.acceleration_max * limits.step_s)).max())
        ticks = [last - 1 - round(share * max(braking, 2.0)) for share in CUTS]
        return [tick for tick in ticks if tick >= plan.splice_tick + LEAST_LEFT_TICKS]


@dataclass(frozen=True, kw_only=True)
class Touching(StopReason):
    """A trajectory would touch something; until then it is clear."""

    contact: Contact


def check(
    trajectory: Trajectory,
    limits: Limits,
    *,
    workspace: Workspace | None = None,
    executing: Trajectory | None = None,
    splice_tick: int | None = None,
    measured: Floats | None = None,
) -> SafeTrajectory | StopReason:
    """Check everything that a controller will execute of a trajectory.

    Args:
        trajectory: to be sent.
        limits: of the robot.
        workspace: what the arm must not touch, from splice_tick on; None: not checked.
        executing: what the arm is commanded now; the trajectory must equal it up to splice_tick.
        splice_tick: where the new part begins; needed with `executing`.
        measured: (D,) where the arm is [rad]; given when nothing was executing.

    Returns:
        The trajectory, safe to send, or why it is not.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is rejected below
        problem = _malformed(trajectory, limits) or _breaks_limits(trajectory, limits)
    if problem is None and executing is not None:
        tick = trajectory.first_tick if splice_tick is None else splice_tick
        problem = _leaves_executing(trajectory, executing, tick)
    if problem is None and measured is not None:
        problem = _starts_elsewhere(trajectory, measured, limits)
    if problem is not None:
        return StopCode.CHUNK_BREAKS_LIMITS.because(problem)
    if workspace is not None:
        first = trajectory.first_tick if splice_tick is None else splice_tick
        contact = workspace.contact(trajectory, first)
        if contact is not None:
            return _touching(contact, (contact.tick - first) * trajectory.step_ns / 1e9)
    return SafeTrajectory(trajectory=trajectory, _key=_SAFETY_KEY)


def _touching(contact: Contact, after_s: float) -> Touching:
    first, second = contact.pair
    return Touching(
        code=StopCode.WOULD_TOUCH,
        message=f"'{first}' would touch '{second}' {after_s:.2f} s on (safety.collision)",
        contact=contact,
    )


def _malformed(trajectory: Trajectory, limits: Limits) -> str | None:
    positions, velocities = trajectory.positions, trajectory.velocities
    if positions.ndim != 2 or positions.shape[1] != limits.width or not len(positions):
        return f"trajectory of shape {positions.shape}, expected (N, {limits.width})"
    if velocities.shape != positions.shape:
        return f"velocities of shape {velocities.shape}, expected {positions.shape}"
    if trajectory.step_ns <= 0:
        return f"times do not increase: grid step {trajectory.step_ns} ns"
    if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
        return "trajectory with NaN or infinite values"
    if np.any(velocities[-1] != 0.0):
        return "trajectory does not end at rest"
    return None


def _breaks_limits(trajectory: Trajectory, limits: Limits) -> str | None:
    """The whole Hermite curve against velocity, acceleration and position limits."""
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


def _leaves_executing(
    trajectory: Trajectory, executing: Trajectory, splice_tick: int
) -> str | None:
    if not trajectory.first_tick <= splice_tick <= trajectory.last_tick:
        return "trajectory does not contain its splice"
    known = executing.knots(trajectory.first_tick, splice_tick)
    count = len(known.positions)
    jump = float(np.abs(trajectory.positions[:count] - known.positions).max())
    kick = float(np.abs(trajectory.velocities[:count] - known.velocities).max())
    if jump <= SEAM_TOLERANCE and kick <= SEAM_TOLERANCE:
        return None
    return (
        f"trajectory does not continue what the arm is executing: "
        f"{jump:.6f} rad and {kick:.6f} rad/s apart"
    )


def _starts_elsewhere(trajectory: Trajectory, measured: Floats, limits: Limits) -> str | None:
    distance, joint = limits.furthest(trajectory.positions[0], measured)
    if distance <= limits.max_start_error_rad:
        return None
    return (
        f"trajectory begins {limits.told(distance, joint)} away from where joint "
        f"'{limits.joint_names[joint]}' is measured, allowed "
        f"{limits.told(limits.max_start_error_rad, joint)}"
    )
