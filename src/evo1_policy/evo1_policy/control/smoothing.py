"""A network's noise from action to action is not motion: take it out before time is slowed for it.

No ROS, no torch. Letters: H horizon, D joints.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from evo1_policy.control.limits import Limits

# Of the penalty on second differences, weakest first. With 1.0 a zigzag from action to action
# keeps 6 % of its size, a motion to and fro within ten actions 87 %.
STRENGTHS = (0.1, 0.3, 1.0, 3.0)
MOST_RAD = 0.1  # that may be asked for: a path that is moved further is another one
SMOOTH_SHARE = 0.9  # of the acceleration limit that a smoothed chunk may use


def smooth(
    actions: npt.NDArray[np.float64], step_s: float, limits: Limits, *, most_rad: float
) -> npt.NDArray[np.float64]:
    """Smooth each joint of a chunk as little as is needed for its acceleration to fit.

    A network's error differs from action to action. At 30 Hz a zigzag of 1 mrad asks for more than
    6 rad/s^2, and time would be slowed for the whole chunk.

    Args:
        actions: (H, D) joint targets [rad].
        step_s: time from one to the next [s].
        limits: of the robot.
        most_rad: how far an action may be moved; 0: not at all [rad].

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
        rough &= np.abs(softer - actions).max(axis=0) <= most_rad
        smoothed[:, rough] = softer[:, rough]
    return smoothed


def _sharpness(actions: npt.NDArray[np.float64], step_s: float) -> npt.NDArray[np.float64]:
    """(D,) largest acceleration of the natural cubic spline through the actions [rad/s^2]."""
    curvature = np.abs(_curvature(len(actions)) @ actions)
    sharpness: npt.NDArray[np.float64] = curvature.max(axis=0, initial=0.0) / step_s**2
    return sharpness


@lru_cache(maxsize=8)
def _curvature(horizon: int) -> npt.NDArray[np.float64]:
    """(H - 2, H): second derivatives of that spline at its inner knots, one apart.

    They are 0 at both ends and linear between knots, so no other instant is sharper.
    """
    inner = max(horizon - 2, 0)
    mixed = (4.0 * np.eye(inner) + np.eye(inner, k=1) + np.eye(inner, k=-1)) / 6.0
    return np.asarray(np.linalg.solve(mixed, _bend(horizon)), dtype=np.float64)


@lru_cache(maxsize=32)
def _smoother(horizon: int, strength: float) -> npt.NDArray[np.float64]:
    """(H, H): least squares to the actions plus `strength` times that of second differences.

    Whittaker (1923). It leaves lines as they are, and the mean of every joint.
    """
    bend = _bend(horizon)
    return np.asarray(np.linalg.inv(np.eye(horizon) + strength * bend.T @ bend), dtype=np.float64)


def _bend(horizon: int) -> npt.NDArray[np.float64]:
    """(H - 2, H): second differences; no rows where there are none."""
    return np.diff(np.eye(horizon), n=2, axis=0)
