"""What controllers say that they command, held against what was sent. No ROS, no torch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Trajectory
from evo1_policy.control.limits import Limits

APART_RAD, APART_RAD_S = 0.01, 0.05  # a controller that is nearer follows what was sent ...
BLUR_S = 0.02  # ... or would within this time: its stamps and ours may differ by so much

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class HeldState:
    """What the arm's controllers say that they command. Arrays are (D,), NaN where none says.

    Attributes:
        positions: [rad].
        velocities: [rad/s].
        stamps_ns: when each was so, by the controllers' clock; 0 where none says [ns].
        received_ns: when the newest arrived, by our clock [ns].
        delay_ns: median of arrival minus stamp: transport, and how far their clock is behind [ns].
    """

    positions: Floats
    velocities: Floats
    stamps_ns: npt.NDArray[np.int64]
    received_ns: int
    delay_ns: int = 0

    @property
    def known(self) -> Mask:
        """(D,) of which joints a controller says what it holds."""
        known: Mask = np.isfinite(self.positions) & np.isfinite(self.velocities)
        return known

    def of(self, trajectory: Trajectory) -> tuple[Floats, Floats]:
        """Positions and velocities (D,) of a trajectory at the instants of which this tells."""
        positions, velocities = np.empty_like(self.positions), np.empty_like(self.positions)
        for stamp in set(self.stamps_ns.tolist()):
            there = self.stamps_ns == stamp
            position, velocity = trajectory.sample(stamp)
            positions[there], velocities[there] = position[there], velocity[there]
        return positions, velocities

    def follows(self, trajectory: Trajectory, limits: Limits) -> Mask:
        """(D,) where a controller follows a trajectory, as far as stamps tell, or says nothing."""
        position, velocity = self.of(trajectory)
        apart = np.abs(self.positions - position) - BLUR_S * np.abs(velocity)
        faster = np.abs(self.velocities - velocity) - BLUR_S * limits.acceleration_max
        return ~self.known | ((apart <= APART_RAD) & (faster <= APART_RAD_S))

    def moves_in(self, trajectory: Trajectory) -> bool:
        """Whether a trajectory moves a joint of which this tells, at the instant of which."""
        return bool((np.abs(self.of(trajectory)[1]) > APART_RAD_S)[self.known].any())

    def distance(self, trajectory: Trajectory) -> float:
        """How far it is from a trajectory, over the joints of which it tells [rad]."""
        apart = np.abs(self.positions - self.of(trajectory)[0])
        return float(apart[self.known].max(initial=0.0))
