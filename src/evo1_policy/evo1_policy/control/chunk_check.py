"""Whether a chunk from the policy may be planned at all. No ROS, no torch."""

import numpy as np

from evo1_policy.action_chunk import ActionChunk, Floats
from evo1_policy.control.limits import LARGEST_RAD, Limits
from evo1_policy.control.signals import StopCode, StopReason
from evo1_policy.robot_config import RobotConfig


def check_chunk(
    chunk: ActionChunk,
    robot: RobotConfig,
    limits: Limits,
    *,
    commanded: Floats,
    splice_ns: int,
    horizon: int | None = None,
    speed: float = 1.0,
) -> StopReason | None:
    """Whether a chunk from the policy may be planned at all.

    Args:
        chunk: as the policy gave it.
        robot: that it is for.
        limits: of the robot.
        commanded: (D,) where the arm will be commanded at the splice [rad].
        splice_ns: when the chunk would take over [ns].
        horizon: H that the policy announced, where known.
        speed: share of the policy's own pace at which the chunk is to be executed.

    Returns:
        None, or why not.
    """
    return (
        _wrong_shape(chunk, robot, horizon)
        or _wrong_pace(chunk, robot, speed)
        or _not_finite(chunk, robot)
        or (StopCode.CHUNK_OUT_OF_REACH.because(off) if (off := chunk.tool_problem) else None)
        or _too_early(chunk, splice_ns)
        or _too_late(chunk, splice_ns, robot.step_ns // 2)
        or _too_far(chunk, limits, commanded, splice_ns)
    )


def _wrong_shape(chunk: ActionChunk, robot: RobotConfig, horizon: int | None) -> StopReason | None:
    shape, length = chunk.actions.shape, "H" if horizon is None else str(horizon)
    wrong = len(shape) != 2 or shape[0] < 1 or shape[1] != robot.width
    if wrong or (horizon is not None and shape[0] != horizon):
        return StopCode.CHUNK_WRONG_SHAPE.because(
            f"the chunk has shape {shape}, expected ({length}, {robot.width}): "
            f"{robot.width} joints of robot '{robot.name}'; use a checkpoint trained for it",
        )
    return None


def _wrong_pace(chunk: ActionChunk, robot: RobotConfig, speed: float) -> StopReason | None:
    step_ns = robot.step_ns / speed
    # Nanosecond steps are rounded, so half a percent tells another rate from rounding.
    if abs(chunk.step_ns - step_ns) > step_ns / 200:
        return StopCode.CHUNK_WRONG_SHAPE.because(
            f"the chunk's actions are {chunk.step_ns / 1e6:.2f} ms apart, expected "
            f"{step_ns / 1e6:.2f} ms (rate_hz {robot.rate_hz:g} of robot '{robot.name}')",
        )
    return None


def _not_finite(chunk: ActionChunk, robot: RobotConfig) -> StopReason | None:
    # A number without meaning overflows where it is squared; NaN compares as False.
    bad = np.argwhere(~(np.abs(chunk.actions) <= LARGEST_RAD))
    if not len(bad):
        return None
    action, joint = (int(index) for index in bad[0])
    return StopCode.CHUNK_NOT_FINITE.because(
        f"{len(bad)} of {chunk.actions.size} values of the chunk are NaN, infinite or "
        f"beyond {LARGEST_RAD:g} rad, first action {action} of joint "
        f"'{robot.joint_names[joint]}'; check the checkpoint and its normalisation, then resume",
    )


def _too_early(chunk: ActionChunk, splice_ns: int) -> StopReason | None:
    """An observation from the future; a chunk begins one step after what it was made from."""
    ahead_ns = chunk.start_ns - splice_ns
    if ahead_ns <= 2 * chunk.step_ns:
        return None
    return StopCode.CHUNK_WRONG_SHAPE.because(
        f"the chunk begins {ahead_ns / 1e6:.0f} ms in the future, expected at most "
        f"{2 * chunk.step_ns / 1e6:.0f} ms; compare the clocks of the cameras and of this node",
    )


def _too_late(chunk: ActionChunk, splice_ns: int, grid_step_ns: int) -> StopReason | None:
    if chunk.end_ns >= splice_ns + grid_step_ns:
        return None
    age_ms = (splice_ns - chunk.observation_stamp_ns) / 1e6
    lasts_ms = (chunk.end_ns - chunk.observation_stamp_ns) / 1e6
    return StopCode.INFERENCE_LATE.because(
        f"all {chunk.horizon} actions are past: the observation is {age_ms:.0f} ms old "
        f"and its chunk lasts {lasts_ms:.0f} ms; a faster device or fewer flow steps are needed",
    )


def _too_far(
    chunk: ActionChunk, limits: Limits, commanded: Floats, splice_ns: int
) -> StopReason | None:
    first = int(np.argmax(chunk.times_ns() >= splice_ns))
    distance, joint = limits.furthest(chunk.actions[first], commanded)
    if distance <= limits.max_start_error_rad:
        return None
    return StopCode.CHUNK_TOO_FAR.because(
        f"the chunk begins {limits.told(distance, joint)} away from the arm at joint "
        f"'{limits.joint_names[joint]}': action {chunk.actions[first][joint]:.3f}, arm commanded "
        f"at {commanded[joint]:.3f}, allowed {limits.told(limits.max_start_error_rad, joint)} "
        "(safety.max_start_error_rad); bring the arm to where the task starts, then resume",
    )
