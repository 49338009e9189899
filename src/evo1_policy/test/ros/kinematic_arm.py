"""An arm without dynamics that executes JointTrajectory messages as the real controller does."""

import numpy as np


class KinematicArm:
    """Follows the newest trajectory of each joint by cubic Hermite interpolation.

    A new message replaces the old one; before its first point the arm goes there from where it
    is; after the last point it stands.
    """

    def __init__(self, joint_names, positions):
        self.joint_names = tuple(joint_names)
        self._rest = dict(zip(joint_names, positions, strict=True))
        self._knots = {}  # joint -> (times [s], positions, velocities)

    def execute(self, message, now_ns):
        start_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        times = np.array([_seconds(point.time_from_start) for point in message.points])
        times = times + (start_ns or now_ns) * 1e-9
        now = now_ns * 1e-9
        for column, name in enumerate(message.joint_names):
            positions = np.array([point.positions[column] for point in message.points])
            velocities = np.array([point.velocities[column] for point in message.points])
            if now < times[0]:
                position, velocity = self._sample(name, now)
                knots = (
                    np.concatenate(([now], times)),
                    np.concatenate(([position], positions)),
                    np.concatenate(([velocity], velocities)),
                )
            else:
                knots = (times, positions, velocities)
            self._knots[name] = knots

    def positions(self, now_ns):
        return np.array([self._sample(name, now_ns * 1e-9)[0] for name in self.joint_names])

    def _sample(self, name, now):
        if name not in self._knots:
            return self._rest[name], 0.0
        times, positions, velocities = self._knots[name]
        if now >= times[-1]:
            return positions[-1], 0.0
        if now <= times[0]:
            return positions[0], velocities[0]
        k = int(np.searchsorted(times, now, side="right")) - 1
        return _hermite(
            (now - times[k]) / (times[k + 1] - times[k]),
            times[k + 1] - times[k],
            positions[k : k + 2],
            velocities[k : k + 2],
        )


def _hermite(u, step, positions, velocities):
    p0, p1 = positions
    m0, m1 = velocities * step
    position = (
        (2 * u**3 - 3 * u**2 + 1) * p0
        + (u**3 - 2 * u**2 + u) * m0
        + (3 * u**2 - 2 * u**3) * p1
        + (u**3 - u**2) * m1
    )
    slope = (
        (6 * u**2 - 6 * u) * p0
        + (3 * u**2 - 4 * u + 1) * m0
        + (6 * u - 6 * u**2) * p1
        + (3 * u**2 - 2 * u) * m1
    )
    return position, slope / step


def _seconds(duration):
    return duration.sec + duration.nanosec * 1e-9
