"""The last gate before the arm: only what passes here can be sent. No ROS, no torch.

The check covers the whole curve that the controller executes, the cubic Hermite between the
points, not only the points. Letters: N points, D joints.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.control.execution import Plan, cut_plan, plan_hold, plan_hold_on_path
from evo1_policy.control.limits import Limits, breaks_limits
from evo1_policy.control.signals import _SAFETY_KEY, SafeTrajectory, StopCode, StopReason

if TYPE_CHECKING:
    from evo1_policy.kinematics.collision import Contact, Workspace

LEAST_LEFT_TICKS = 3  # of a plan that is cut; less is no motion worth sending
CUTS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)  # times the braking time before a touch, where to cut
SEAM_TOLERANCE = 1e-6  # rad and rad/s, between what is executed and what is about to be sent


class Gate:
    """Lets plans pass, whoever made them: a policy, a person, parking, a stop.

    Args:
        limits: of the robot.
        workspace: what the arm must not touch; None: not checked.
    """

    def __init__(self, limits: Limits, workspace: "Workspace | None") -> None:
        self._limits = limits
        self._workspace = workspace
        self._clear: Trajectory | None = None  # what passed last: clear to its end at rest

    def admit(
        self, plan: Plan, origin: Trajectory, *, now_ns: int, measured: Floats | None
    ) -> tuple[SafeTrajectory, Plan] | StopReason:
        """Check a plan; what would touch, or the tool too fast, is cut where it can rest before.

        Args:
            plan: that continues `origin`.
            origin: what is executed, or an arm at rest.
            now_ns: the clock [ns].
            measured: (D,) where the arm is [rad]; given when nothing was executing.

        Returns:
            What to send, and the plan of it, or why nothing is sent.
        """
        verdict = self._check(plan, origin, measured)
        if isinstance(verdict, FurtherOn):
            why, limits = verdict.message, self._limits
            for tick in self._cuts(plan, verdict.tick):
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
        limits = replace(self._limits, tool=None)  # what slows is never refused for its speed
        straight = plan_hold(executing, now_ns=now_ns, lead_ns=lead_ns, limits=limits)
        plan, verdict = straight, self._check(straight, executing, limits=limits)
        if isinstance(verdict, FurtherOn):
            plan = plan_hold_on_path(executing, now_ns=now_ns, lead_ns=lead_ns, limits=limits)
            verdict = self._check(plan, executing, limits=limits)
        known = executing is self._clear or not isinstance(verdict, StopReason)
        if not known:
            plan, verdict = straight, self._check(straight, executing, limits=limits, clear=False)
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
        limits: Limits | None = None,
        clear: bool = True,
    ) -> SafeTrajectory | StopReason:
        return check(
            plan.sent,
            limits or self._limits,
            workspace=self._workspace if clear else None,
            executing=executing,
            splice_tick=plan.splice_tick,
            measured=measured,
        )

    def _cuts(self, plan: Plan, until: float) -> list[int]:
        """Where to try to cut a plan that may go on up to a grid point, the latest first."""
        last, limits = int(until), self._limits
        speed = np.abs(plan.trajectory.knots(last, last).velocities[0])
        braking = float((speed / (limits.acceleration_max * limits.step_s)).max())
        ticks = [last - 1 - round(share * max(braking, 2.0)) for share in CUTS]
        return [tick for tick in ticks if tick >= plan.splice_tick + LEAST_LEFT_TICKS]


@dataclass(frozen=True, kw_only=True)
class FurtherOn(StopReason):
    """A trajectory would touch something, or its tool be too fast; until then it may pass."""

    tick: float  # when, on its grid


def check(
    trajectory: Trajectory,
    limits: Limits,
    *,
    workspace: "Workspace | None" = None,
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
        problem = _malformed(trajectory, limits) or breaks_limits(trajectory, limits)
    if problem is None and executing is not None:
        tick = trajectory.first_tick if splice_tick is None else splice_tick
        problem = _leaves_executing(trajectory, executing, tick)
    if problem is None and measured is not None:
        problem = _starts_elsewhere(trajectory, measured, limits)
    if problem is not None:
        return StopCode.CHUNK_BREAKS_LIMITS.because(problem)
    first = trajectory.first_tick if splice_tick is None else splice_tick
    fast = limits.tool.too_fast(trajectory, first) if limits.tool is not None else None
    if fast is not None and limits.tool is not None:
        return FurtherOn(
            code=StopCode.CHUNK_BREAKS_LIMITS,
            message=f"the tool would move at {fast[1]:.3f} m/s, limit {limits.tool.most:g} m/s "
            "(safety.collision.tool_speed)",
            tick=fast[0],
        )
    if workspace is not None:
        contact = workspace.contact(trajectory, first)
        if contact is not None:
            return _touching(contact, (contact.tick - first) * trajectory.step_ns / 1e9)
    return SafeTrajectory(trajectory=trajectory, _key=_SAFETY_KEY)


def _touching(contact: "Contact", after_s: float) -> FurtherOn:
    first, second = contact.pair
    return FurtherOn(
        code=StopCode.WOULD_TOUCH,
        message=f"'{first}' would touch '{second}' {after_s:.2f} s on (safety.collision)",
        tick=contact.tick,
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
