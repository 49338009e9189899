"""To the park or home pose: slowly, straight in joint space, a piece at a time. No ROS, no torch.

Only what comes within the next half second is ever sent, so an arm whose policy died stops there.
"""

import numpy as np

from evo1_policy.action_chunk import Trajectory
from evo1_policy.control.execution import first_tick_after, plan_path
from evo1_policy.control.motion import Motion
from evo1_policy.control.signals import Request, SafeTrajectory, StopCode, StopReason
from evo1_policy.control.tool_speed import PLANNED_SHARE
from evo1_policy.observation import JointSample

# What a person may ask whatever the policy does, that ends its chunks.
LEAVING = (Request.TAKE_OVER, Request.PARK, Request.HOME)
SHARE = 0.2  # of the velocity and acceleration limits
SHORTEST_S = 0.5
PIECE_NS = 600_000_000  # sent at a time ...
LEFT_NS = 400_000_000  # ... whenever no more than this is left of it
WAY_LOOKS = 129  # at the tool along the way


def on_the_way(pose: str) -> StopReason:
    """Why no chunks run while the arm goes to its 'park' or 'home' pose."""
    return StopCode.PARKING.because(f"going slowly to the {pose} pose; then at rest")


class Parking:
    """One way to a pose.

    Args:
        motion: of the arm.
        pose: (D,) [rad]; a gripper stays as it is.
    """

    def __init__(self, motion: Motion, pose: tuple[float, ...]) -> None:
        self._motion = motion
        self._pose = np.array(pose)
        self._begin = np.empty(0)  # (D,) [rad]
        self._begin_ns: int | None = None
        self._duration_s = 0.0
        self._sent_ns = 0  # up to where the way was sent

    def over(self, now_ns: int) -> bool:
        """Whether the arm was sent the whole way, and has had the time for it."""
        return self._sent_whole and self._motion.at_rest(now_ns)

    def step(
        self, measured: JointSample | None, now_ns: int
    ) -> SafeTrajectory | StopReason | None:
        """The next piece to send, why there can be none, or None while nothing is due."""
        motion, limits = self._motion, self._motion.limits
        if self._begin_ns is not None and now_ns > self._sent_ns and not self._sent_whole:
            self._begin_ns = None  # this process stood still: the way begins anew
        if self._begin_ns is None:
            if not motion.at_rest(now_ns):
                return None  # it slows to rest first
        elif now_ns < self._sent_ns - LEFT_NS or self._sent_whole or motion.unheard(now_ns):
            return None
        origin = motion.origin(measured, now_ns)
        if isinstance(origin, StopReason):
            return origin
        splice_tick = first_tick_after(now_ns + motion.lead_ns, limits.step_ns)
        if self._begin_ns is None:
            self._set_out(origin, splice_tick)
        ticks = splice_tick + np.arange(1, PIECE_NS // limits.step_ns + 1)
        plan = plan_path(
            self._way(ticks * limits.step_ns),
            origin,
            now_ns=now_ns,
            splice_tick=splice_tick,
            limits=limits,
            pace=limits,
        )
        self._sent_ns = int(ticks[-1]) * limits.step_ns
        sent = motion.send(plan, origin, measured, now_ns)
        return sent if isinstance(sent, StopReason) else sent[0]

    @property
    def _sent_whole(self) -> bool:
        if self._begin_ns is None:
            return False
        return self._sent_ns >= self._begin_ns + round(self._duration_s * 1e9)

    def _set_out(self, origin: Trajectory, splice_tick: int) -> None:
        limits = self._motion.limits
        self._begin_ns = splice_tick * limits.step_ns
        self._begin = origin.knots(splice_tick, splice_tick).positions[0]
        self._pose = np.where(limits.is_arm, self._pose, self._begin)  # a gripper keeps its grip
        gap = np.abs(self._pose - self._begin)
        # A smoothstep of a gap within T peaks at 1.5 gap / T and 6 gap / T^2.
        slowest = np.maximum(
            1.5 * gap / (SHARE * limits.velocity_max),
            np.sqrt(6.0 * gap / (SHARE * limits.acceleration_max)),
        )
        self._duration_s = max(float(slowest.max()), SHORTEST_S)
        if limits.tool is not None:
            times_ns = self._begin_ns + np.linspace(0.0, self._duration_s * 1e9, WAY_LOOKS)
            too_fast = limits.tool.share(*self._way(times_ns)).max() / PLANNED_SHARE
            self._duration_s *= max(float(too_fast), 1.0)

    def _way(self, times_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions [rad] and velocities [rad/s] (M, D) at times (M,) [ns]."""
        assert self._begin_ns is not None
        u = np.clip((times_ns - self._begin_ns) / 1e9 / self._duration_s, 0.0, 1.0)[:, np.newaxis]
        gap = self._pose - self._begin
        way = self._begin + gap * u * u * (3.0 - 2.0 * u)
        return way, gap * 6.0 * u * (1.0 - u) / self._duration_s
