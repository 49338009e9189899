"""Where the arm is by what others say: controllers held against what was sent, encoders.

No ROS, no torch.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats, Trajectory
from evo1_policy.control.limits import Limits
from evo1_policy.observation import JointSample
from evo1_policy.perception.messages import stamp_ns

APART_RAD = 0.03  # nearer to what was sent a controller follows it: some limit by themselves ...
STILL_RAD_S, MOVING_RAD_S = 0.005, 0.02  # ... but for one that stands while a trajectory moves
SILENT_NS = 500_000_000  # a controller that spoke and does not for so long is off ...
STALE_NS = 150_000_000  # ... and what it said before this says nothing
DELAYS_KEPT = 100  # words of a controller, for the median of their delay
BLUR_NS = 20_000_000  # by which its stamps and ours may differ

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
        return np.asarray(np.isfinite(self.positions) & np.isfinite(self.velocities))

    def of(self, trajectory: Trajectory, later_ns: int = 0) -> tuple[Floats, Floats]:
        """Positions and velocities (D,) of a trajectory at, or after, what this tells of."""
        positions, velocities = np.empty_like(self.positions), np.empty_like(self.positions)
        for stamp in set(self.stamps_ns.tolist()):
            there = self.stamps_ns == stamp
            position, velocity = trajectory.sample(stamp + later_ns)
            positions[there], velocities[there] = position[there], velocity[there]
        return positions, velocities

    def follows(self, trajectory: Trajectory) -> Mask:
        """(D,) where a controller follows a trajectory, as far as stamps tell, or says nothing."""
        position, velocity = self.of(trajectory)
        apart = np.abs(self.positions - position) - BLUR_NS / 1e9 * np.abs(velocity)
        left_behind = ~self.moving & self._moved_by(trajectory)
        return ~self.known | ((apart <= APART_RAD) & ~left_behind)

    @property
    def moving(self) -> Mask:
        """(D,) which joints a controller moves; False where none says."""
        return np.asarray(np.abs(self.velocities) > STILL_RAD_S)

    def parting(self, trajectory: Trajectory, most_ns: int) -> str:
        """Why it may not follow a trajectory that moves, in words for people.

        Args:
            trajectory: that was sent.
            most_ns: where that was up to so long before, it is followed late [ns].
        """
        if not self.moving[self.known].any():
            return (
                "it stands: it gave up by a tolerance of its own (its log says which), was "
                "switched off and on, or was sent to rest by somebody else"
            )
        if any(
            replace(self, stamps_ns=self.stamps_ns - late_ns).distance(trajectory) <= APART_RAD
            for late_ns in range(0, most_ns, trajectory.step_ns)
        ):
            return "it follows too late: look at what else its machine runs"
        return "somebody else commands it, or a command was lost"

    def moves_in(self, trajectory: Trajectory) -> bool:
        """Whether a trajectory moves a joint of which this tells, at the instant of which."""
        return bool(self._moved_by(trajectory)[self.known].any())

    def _moved_by(self, trajectory: Trajectory) -> Mask:
        """(D,) which joints a trajectory moves at this instant, whosever clock tells it."""
        speeds = [np.abs(self.of(trajectory, by)[1]) for by in (-BLUR_NS, 0, BLUR_NS)]
        return np.asarray(np.min(speeds, axis=0) > MOVING_RAD_S)

    def goes_on(
        self, trajectory: Trajectory, apart: Mask, *, first_tick: int, last_tick: int
    ) -> Trajectory:
        """What joints will do: some follow a trajectory, those `apart` go on as they move."""
        path = trajectory.knots(first_tick, last_tick)
        moves = np.where(self.moving, self.velocities, 0.0)
        passed_s = (path.times_ns()[:, np.newaxis] - self.stamps_ns) / 1e9
        return replace(
            path,
            positions=np.where(apart, self.positions + moves * passed_s, path.positions),
            velocities=np.where(apart, moves, path.velocities),
        )

    def rests_since(self, time_ns: int) -> bool:
        """Whether it tells of rest, and of an instant at or after `time_ns`."""
        return bool((~self.moving & (self.stamps_ns >= time_ns))[self.known].all())

    def distance(self, trajectory: Trajectory) -> float:
        """How far it is from a trajectory, over the joints of which it tells [rad]."""
        apart = np.abs(self.positions - self.of(trajectory)[0])
        return float(apart[self.known].max(initial=0.0))


class HeldStates:
    """Collects what controllers say, each on its own topic.

    Args:
        joint_names: D, of the robot.
        outputs: joints of each command output.
    """

    def __init__(self, joint_names: Sequence[str], outputs: Sequence[Sequence[str]]) -> None:
        self._names = tuple(joint_names)
        self._columns = [[self._names.index(name) for name in joints] for joints in outputs]
        self._delays: deque[int] = deque(maxlen=DELAYS_KEPT)
        self.clear()

    def clear(self) -> None:
        """Forget everything: the clock jumped, or the node stops."""
        self._delays.clear()
        self._heard_ns: dict[int, int] = {}  # output -> when it spoke last
        self._newest: HeldState | None = None

    def add(self, output: int, message: Any, received_ns: int) -> None:
        """Take in one message of an output's controller; joints by name, strangers left out.

        One that gives no velocities is measured by its last two positions.

        Args:
            output: index of the command output.
            message: its controller's state, of rclpy or rosbags.
            received_ns: by our clock [ns].
        """
        names, stamp = message.joint_names, stamp_ns(message.header.stamp)
        positions, velocities = message.reference.positions, message.reference.velocities
        width, before = len(self._names), self._newest
        held = (
            (np.full(width, np.nan), np.full(width, np.nan), np.zeros(width, dtype=np.int64))
            if before is None
            else (before.positions.copy(), before.velocities.copy(), before.stamps_ns.copy())
        )
        for i, name in enumerate(names):
            if name not in self._names or i >= len(positions):
                continue
            place = self._names.index(name)
            passed_s = (stamp - int(held[2][place])) / 1e9
            if len(velocities) == len(names):
                held[1][place] = velocities[i]
            elif held[2][place] and passed_s > 0.0:
                held[1][place] = (positions[i] - held[0][place]) / passed_s
            held[0][place], held[2][place] = positions[i], stamp
        self._heard_ns[output] = received_ns
        self._delays.append(received_ns - stamp)
        self._newest = HeldState(
            positions=held[0],
            velocities=held[1],
            stamps_ns=held[2],
            received_ns=received_ns,
            delay_ns=sorted(self._delays)[len(self._delays) // 2],
        )

    def state(self, now_ns: int) -> HeldState | None:
        """What the controllers said lately; None where none did."""
        newest = self._newest
        stale = [output for output, at in self._heard_ns.items() if now_ns - at > STALE_NS]
        if newest is None or not stale:
            return newest
        if len(stale) == len(self._heard_ns):
            return None
        positions = newest.positions.copy()
        for output in stale:
            positions[self._columns[output]] = np.nan
        return replace(newest, positions=positions)

    def silent(self, now_ns: int) -> tuple[int, int] | None:
        """An output whose controller spoke, and for how long it has not; None: there is none."""
        for output, heard_ns in self._heard_ns.items():
            if now_ns - heard_ns > SILENT_NS:
                return output, now_ns - heard_ns
        return None


ZEROS_NS = 1_000_000_000  # some drivers say 0 for every joint before they have measured any
STEADY_NS = 50_000_000  # positions must be possible for so long before anything starts there
JUMP, JUMP_RAD = 3.0, 0.05  # times its velocity limit, and beside it: nothing moves so fast


class Encoders:
    """Notices positions that jump faster than any arm moves.

    Args:
        limits: of the robot.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._measured: JointSample | None = None
        self._steady_since_ns: int | None = None

    def look(self, measured: JointSample | None) -> None:
        """Take in the newest sample."""
        before, self._measured = self._measured, measured
        if measured is None or not np.isfinite(measured.positions).all():
            self._steady_since_ns = None
        elif before is None or self._steady_since_ns is None:
            self._steady_since_ns = measured.stamp_ns
        else:
            passed_s = (measured.stamp_ns - before.stamp_ns) / 1e9
            reach = JUMP * self._limits.velocity_max * passed_s + JUMP_RAD
            if (np.abs(measured.positions - before.positions) > reach).any():
                self._steady_since_ns = measured.stamp_ns

    def steady(self, measured: JointSample) -> bool:
        """Whether it has been possible for long enough that the arm is there."""
        if self._steady_since_ns is None:
            return False
        needed_ns = STEADY_NS if measured.positions.any() else ZEROS_NS
        return measured.stamp_ns - self._steady_since_ns >= needed_ns
