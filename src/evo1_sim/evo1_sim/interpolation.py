"""Piecewise polynomials between the points of a trajectory: lines, cubics, quintics.

Must not import ROS. Letters: N points, S segments, D joints.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CommandedState:
    """What is commanded at one instant: (D,) float64 [rad], [rad/s], [rad/s^2]."""

    positions: Array
    velocities: Array
    accelerations: Array


@dataclass(frozen=True, kw_only=True)
class Knots:
    """Points in the follower's joint order.

    `order` (N,) is the highest derivative that a point gives: 0, 1 or 2. `values` (N, 3, D)
    holds positions, velocities and accelerations, zero where a point gives none.
    """

    times_ns: npt.NDArray[np.int64]
    values: Array
    order: npt.NDArray[np.int64]

    def shifted(self, offset_ns: int) -> "Knots":
        """Return the same points, later by offset_ns."""
        return Knots(times_ns=self.times_ns + offset_ns, values=self.values, order=self.order)


class Course:
    """The polynomials through knots, by the clock of the knots' times."""

    def __init__(self, knots: Knots) -> None:
        """Through `knots`, of which there is at least one."""
        self._times_ns = knots.times_ns
        self._coefficients = polynomials(knots)
        self._last = knots.values[-1]
        self.end_ns = int(knots.times_ns[-1])

    def sample(self, now_ns: int) -> CommandedState:
        """What is commanded at now_ns: before the first point that point, after the last the last.

        The last point comes back as it was given, with what velocity it had.
        """
        if now_ns >= self.end_ns or not len(self._coefficients):  # a single point
            positions, velocities, accelerations = self._last
            return CommandedState(
                positions=positions, velocities=velocities, accelerations=accelerations
            )
        index = max(int(self._times_ns.searchsorted(now_ns, side="right")) - 1, 0)
        seconds = max(now_ns - int(self._times_ns[index]), 0) * 1e-9
        return evaluate(self._coefficients[index], seconds)


def lead_in(before: CommandedState, now_ns: int, knots: Knots) -> Knots:
    """Return the knots with a commanded state at now_ns before them."""
    state = np.stack([before.positions, before.velocities, before.accelerations])
    return Knots(
        times_ns=np.concatenate([[now_ns], knots.times_ns]),
        values=np.concatenate([state[None], knots.values]),
        order=np.concatenate([[2], knots.order]),
    )


def polynomials(knots: Knots) -> Array:
    """Polynomials between the knots: (S, 6, D) coefficients, lowest power first [rad, s]."""
    order = np.minimum(knots.order[:-1], knots.order[1:])[:, None]
    t = np.diff(knots.times_ns)[:, None] * 1e-9
    p0, v0, a0 = np.moveaxis(knots.values[:-1], 1, 0)
    p1, v1, a1 = np.moveaxis(knots.values[1:], 1, 0)
    gap = p1 - p0
    zero = np.zeros_like(gap)
    line = [p0, gap / t, zero, zero, zero, zero]
    cubic = [
        p0,
        v0,
        (3 * gap - (2 * v0 + v1) * t) / t**2,
        ((v0 + v1) * t - 2 * gap) / t**3,
        zero,
        zero,
    ]
    quintic = [
        p0,
        v0,
        a0 / 2,
        (20 * gap - (12 * v0 + 8 * v1) * t - (3 * a0 - a1) * t**2) / (2 * t**3),
        (-30 * gap + (16 * v0 + 14 * v1) * t + (3 * a0 - 2 * a1) * t**2) / (2 * t**4),
        (12 * gap - 6 * (v0 + v1) * t - (a0 - a1) * t**2) / (2 * t**5),
    ]
    choices = [
        np.where(order == 0, low, np.where(order == 1, middle, high))
        for low, middle, high in zip(line, cubic, quintic, strict=True)
    ]
    return np.stack(choices, axis=1)


def evaluate(coefficients: Array, seconds: float) -> CommandedState:
    """Evaluate one segment's coefficients (6, D), `seconds` after its start."""
    t, t2 = seconds, seconds * seconds
    t3, t4 = t2 * t, t2 * t2
    powers = np.array(
        [
            [1, t, t2, t3, t4, t4 * t],
            [0, 1, 2 * t, 3 * t2, 4 * t3, 5 * t4],
            [0, 0, 2, 6 * t, 12 * t2, 20 * t3],
        ]
    )
    positions, velocities, accelerations = powers @ coefficients
    return CommandedState(positions=positions, velocities=velocities, accelerations=accelerations)


def at_rest(positions: Array) -> CommandedState:
    """Return positions (D,) [rad] without motion."""
    rest = np.zeros_like(positions)
    return CommandedState(positions=positions.copy(), velocities=rest, accelerations=rest)
