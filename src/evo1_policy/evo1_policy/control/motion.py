"""What the arm is commanded: chunks and stops, each checked before it counts. No ROS, no torch."""

from dataclasses import dataclass, replace

import numpy as np

from evo1_policy.action_chunk import ActionChunk, Guidance, Trajectory
from evo1_policy.control import safety
from evo1_policy.control.ensemble import Ensemble
from evo1_policy.control.execution import Plan, first_tick_after, plan_chunk, plan_hold
from evo1_policy.control.guidance import left_over
from evo1_policy.control.limits import Limits
from evo1_policy.control.modes import ExecutionMode
from evo1_policy.control.schedule import executed_actions
from evo1_policy.control.signals import (
    LoopSettings,
    SafeTrajectory,
    SeamReport,
    StopCode,
    StopReason,
)
from evo1_policy.observation import JointSample, Observation
from evo1_policy.robot_config import RobotConfig

SETTLE_NS = 500_000_000  # after a trajectory's end, until the arm must be where it ended


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A chunk that became a command."""

    command: SafeTrajectory
    chunk: ActionChunk
    seam: SeamReport


class Motion:
    """The commanded trajectory of one arm on the clock.

    Attributes:
        chunk: being executed; None while the arm rests or brakes.
    """

    def __init__(self, robot: RobotConfig, settings: LoopSettings, horizon: int | None) -> None:
        """Of `robot`; `horizon` is checked on every chunk where it is known."""
        self.chunk: ActionChunk | None = None
        self._robot = robot
        self._settings = settings
        self._horizon = horizon
        self._limits = Limits.of(robot)
        self._ensemble = Ensemble(settings.ensemble_decay_per_s)
        self._executing: Trajectory | None = None  # None: the commanded place is unknown
        self._from_dead_clock: Trajectory | None = None
        self._tail_ns = 0  # when its braking tail begins
        self._driven = False  # by a person, not by a chunk

    @property
    def executing(self) -> Trajectory | None:
        """What the arm is commanded; None before the first command and after a clock jump."""
        return self._executing

    @property
    def driven(self) -> bool:
        """Whether what is commanded came from a person's target."""
        return self._driven

    @property
    def lost(self) -> bool:
        """Whether the clock jumped back and the arm has not been measured since."""
        return self._from_dead_clock is not None

    def at_rest(self, now_ns: int) -> bool:
        """Whether the commanded trajectory is over."""
        return self._executing is None or now_ns >= self._executing.end_ns

    def used_up(self, now_ns: int) -> bool:
        """Whether the chunk being executed has reached its braking tail."""
        return self.chunk is not None and now_ns >= self._tail_ns

    def brake(self, now_ns: int) -> SafeTrajectory | None:
        """Stop from the commanded state; None where the arm stops or stands already."""
        moved = self.chunk is not None or self._driven
        self.chunk, self._driven = None, False
        self._ensemble.clear()
        if not moved or now_ns >= self._tail_ns or self._executing is None:
            return None
        return self._stop(self._executing, now_ns)

    def adopt(self, trajectory: Trajectory) -> None:
        """Count as commanded what a person's target became, checked and about to be sent."""
        self._executing, self._tail_ns = trajectory, trajectory.end_ns
        self.chunk, self._driven = None, True
        self._ensemble.clear()

    def _stop(self, executing: Trajectory, now_ns: int) -> SafeTrajectory | None:
        plan = plan_hold(executing, now_ns=now_ns, limits=self._limits)
        verdict = safety.check(
            plan.sent, self._limits, executing=executing, splice_tick=plan.splice_tick
        )
        if isinstance(verdict, safety.Rejected):
            # Unreachable by construction; what is being executed ends at rest by itself.
            return None
        self._executing, self._tail_ns = plan.trajectory, plan.tail_ns
        return verdict

    def leave_clock(self, before_ns: int, now_ns: int) -> None:
        """The clock jumped back: every planned time lies on a dead clock."""
        commanded = self._executing or self._from_dead_clock
        if commanded is not None and before_ns < commanded.end_ns:
            ticks = first_tick_after(now_ns - before_ns, self._limits.step_ns)
            self._from_dead_clock = commanded.shifted(ticks)
        self._executing = self.chunk = None
        self._driven = False
        self._ensemble.clear()

    def find_arm(self, measured: JointSample | None, now_ns: int) -> SafeTrajectory | None:
        """Once measured on the new clock, stop where the arm is, whatever the jump meant."""
        commanded = self._from_dead_clock
        if commanded is None or measured is None or measured.stamp_ns > now_ns:
            return None
        self._from_dead_clock = None
        position, _ = commanded.sample(measured.stamp_ns)
        error, _ = self._limits.furthest(position, measured.positions)
        if error <= self._robot.safety.max_tracking_error_rad:
            return self._stop(commanded, now_ns)
        # The arm is somewhere else: a simulation that was reset.
        return self._stop(self._rest_at(measured.positions, now_ns), now_ns)

    def execute(
        self, chunk: ActionChunk, measured: JointSample | None, now_ns: int
    ) -> Accepted | StopReason:
        """Splice a chunk into the motion, or say why not."""
        splice_tick = first_tick_after(
            now_ns + self._settings.splice_lead_ns, self._limits.step_ns
        )
        origin = self._origin(measured, now_ns)
        if isinstance(origin, StopReason):
            return origin
        if self._settings.mode is ExecutionMode.SYNCHRONOUS and self.at_rest(now_ns):
            # The arm waited where the chunk begins: nothing of it is past.
            start_ns = splice_tick * self._limits.step_ns + chunk.step_ns
            chunk = replace(chunk, start_ns=max(chunk.start_ns, start_ns))
        known = origin.knots(splice_tick, splice_tick)
        refused = safety.check_chunk(
            chunk,
            self._robot,
            commanded=known.positions[0],
            splice_ns=known.start_ns,
            horizon=self._horizon,
        )
        if refused is not None:
            return refused
        plan = plan_chunk(
            self._shape(chunk),
            origin,
            now_ns=now_ns,
            splice_tick=splice_tick,
            limits=self._limits,
            smoothing_rad=self._settings.smoothing_rad,
        )
        fresh = origin is not self._executing and measured is not None
        verdict = safety.check(
            plan.sent,
            self._limits,
            executing=origin,
            splice_tick=splice_tick,
            measured=measured.positions if fresh and measured is not None else None,
        )
        if isinstance(verdict, safety.Rejected):
            return verdict.reason
        return self._accept(plan, verdict, chunk)

    def guidance(self, observation: Observation, *, takeover_ns: int) -> Guidance | None:
        """What the chunk from an observation shall begin with, in mode rtc but for the first."""
        executing, settings = self._executing, self._settings
        if settings.mode is not ExecutionMode.RTC or settings.dry_run:
            return None
        if executing is None or self.chunk is None:
            return None
        same = observation.instruction == self.chunk.instruction
        return left_over(
            executing,
            until_ns=self._tail_ns,
            start_ns=observation.stamp_ns + self._robot.step_ns,
            step_ns=self._robot.step_ns,
            takeover_ns=takeover_ns,
            fall_actions=settings.rtc_fall_actions if same else 0,
        )

    def _shape(self, chunk: ActionChunk) -> ActionChunk:
        """What is planned of a chunk that passed the check."""
        if self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return replace(chunk, actions=chunk.actions[: executed_actions(chunk, self._settings)])
        if self._settings.mode is ExecutionMode.ENSEMBLE:
            return self._ensemble.mean(chunk)
        return chunk

    def _accept(self, plan: Plan, command: SafeTrajectory, chunk: ActionChunk) -> Accepted:
        self.chunk, self._executing, self._tail_ns = chunk, plan.trajectory, plan.tail_ns
        self._driven = False
        self._ensemble.add(chunk)
        return Accepted(command=command, chunk=chunk, seam=plan.seam)

    def _origin(self, measured: JointSample | None, now_ns: int) -> Trajectory | StopReason:
        """What a chunk continues: the executed trajectory, or an arm at rest where it is."""
        executing = self._executing
        if measured is None:
            return executing or _unmeasured(self._robot)
        broken = np.flatnonzero(~np.isfinite(measured.positions))
        if len(broken):
            return _unreadable(self._robot, self._robot.joint_names[broken[0]])
        if executing is not None and self._in_place(executing, measured, now_ns):
            return executing
        position = measured.positions.copy()
        outside = np.maximum(
            position - self._limits.position_max, self._limits.position_min - position
        )
        joint = int(np.argmax(outside))
        if outside[joint] > self._settings.outside_rad:
            return self._out_of_range(joint, float(position[joint]))
        if executing is not None and not self._settings.dry_run:  # the gripper keeps its grip
            position = np.where(self._limits.is_arm, position, executing.positions[-1])
        return self._rest_at(position, now_ns)

    def _in_place(self, executing: Trajectory, measured: JointSample, now_ns: int) -> bool:
        """Whether the arm moves as commanded, or rests where it was commanded."""
        if self._settings.dry_run:
            return False
        if now_ns < executing.end_ns + SETTLE_NS:
            return True
        drift, _ = self._limits.furthest(executing.positions[-1], measured.positions)
        return drift <= self._settings.rest_drift_rad

    def _out_of_range(self, joint: int, angle: float) -> StopReason:
        config = self._robot.joints[joint]
        return StopReason(
            code=StopCode.CHUNK_BREAKS_LIMITS,
            message=f"joint '{config.name}' is measured at {angle:.3f} rad, outside its position "
            f"limits [{config.position_min:g}, {config.position_max:g}]; "
            "move it back by hand, then resume",
        )

    def _rest_at(self, position: safety.Floats, now_ns: int) -> Trajectory:
        step_ns = self._limits.step_ns
        return Trajectory.resting(position, tick=now_ns // step_ns, step_ns=step_ns)


def _unmeasured(robot: RobotConfig) -> StopReason:
    return StopReason(
        code=StopCode.JOINTS_STALE,
        message=f"no joint positions yet on '{robot.state.topic}', so the arm's place is unknown",
    )


def _unreadable(robot: RobotConfig, joint: str) -> StopReason:
    return StopReason(
        code=StopCode.JOINT_MISSING,
        message=f"joint '{joint}' on '{robot.state.topic}' is no number; look at its encoder "
        "and at the arm's driver",
    )
