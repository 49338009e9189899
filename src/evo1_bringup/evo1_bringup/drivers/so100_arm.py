"""Six servos as one arm: who is on the bus, torque, positions. Ticks and radians meet here.

Must not import ROS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_bringup.drivers import servo_health
from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.servo_health import HealthReading, read_health
from evo1_policy.action_chunk import Floats
from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.so100_calibration import (
    RAD_PER_TICK,
    ServoCalibration,
    lerobot_name,
    to_radians,
    to_ticks,
)
from evo1_sim.servo_bus.sts3215 import MULTI_TURN, TICKS_PER_TURN, Register, decode

HIGHEST_SOUGHT_ID = 20  # looked through where a servo is missing
_FIRST = sts3215.PRESENT_POSITION.address
_LENGTH = 4  # position and velocity
_READS = 12  # until every servo gave two positions that agree
MAX_SPEED = 8.0 * 4096 / 6.2832  # ticks/s; twice what an STS3215 does without load
SLACK = 12  # ticks; of play and noise
_STALE_NS = 40_000_000  # after it a joint may be so far away that a forged position looks likely
RANGE = (-4096, 8191)  # ticks; nothing else is a position of a servo that turns once

# As LeRobot sets its followers up, so that an arm feels the same under both.
_SETTINGS = {
    sts3215.RETURN_DELAY: 0,
    sts3215.OPERATING_MODE: 0,
    sts3215.P_GAIN: 16,
    sts3215.I_GAIN: 0,
    sts3215.D_GAIN: 32,
    sts3215.MAX_ACCELERATION: 254,
    sts3215.ACCELERATION: 254,
}
_GRIPPER_SETTINGS = {
    sts3215.MAX_TORQUE: 500,
    sts3215.PROTECTION_CURRENT: 250,
    sts3215.OVERLOAD_TORQUE: 25,
}


@dataclass(frozen=True, kw_only=True)
class ArmReading:
    """Where the arm was at one instant.

    Attributes:
        positions: (D,) [rad].
        velocities: (D,) [rad/s].
    """

    positions: Floats
    velocities: Floats


class So100Arm:
    """Speaks to the servos of a calibrated arm, in positions modulo a turn. Not thread-safe.

    Args:
        bus: an open one.
        servos: the calibration, in the order of every (D,) array here.
    """

    def __init__(self, bus: FeetechBus, servos: Sequence[ServoCalibration]) -> None:
        self.bus = bus
        self._servos = tuple(servos)
        self._ids = tuple(servo.servo_id for servo in servos)
        self.filter = PositionFilter()
        self._next_health = 0

    def identify(self) -> None:
        """Find every servo, and check its model.

        Raises:
            BusError: a servo is missing or of another kind; the message names joint and id.
        """
        models = {servo.servo_id: self.bus.ping(servo.servo_id) for servo in self._servos}
        missing = [servo for servo in self._servos if models[servo.servo_id] is None]
        if missing:
            raise BusError(f"{self.bus.port_name}: {self._describe_missing(missing)}")
        for servo in self._servos:
            if models[servo.servo_id] != sts3215.MODEL:
                raise BusError(
                    f"{self.bus.port_name}: {servo.name}: model {models[servo.servo_id]}, "
                    f"expected {sts3215.MODEL} (STS3215)"
                )

    def check_calibration(self) -> None:
        """Check that the servos hold the calibration of the file.

        Raises:
            BusError: they do not: the joints would be elsewhere than the file says.
        """
        for servo in self._servos:
            for register, expected in _calibration_registers(servo):
                held = self.bus.read(servo.servo_id, register)
                if held != expected:
                    raise BusError(
                        f"{servo.name}: {register.name} is {held} in the servo and {expected} in "
                        "the calibration file, so it is not this arm's; give the right file, "
                        "calibrate (evo1 calibrate), or start with write_calibration:=true where "
                        "you know that the file is right"
                    )

    def write_calibration(self) -> None:
        """Store the file's calibration in the servos; limp where one has another.

        Raises:
            BusError: a servo does not take it.
        """
        for servo in self._servos:
            store(self.bus, servo.servo_id, dict(_calibration_registers(servo)))

    def set_up(self) -> None:
        """Give the servos the settings that LeRobot gives them; limp where one has others.

        Raises:
            BusError: a servo does not take them.
        """
        for servo in self._servos:
            gripper = lerobot_name(servo.joint) == "gripper"
            store(self.bus, servo.servo_id, _SETTINGS | (_GRIPPER_SETTINGS if gripper else {}))
            count_one_turn(self.bus, servo.servo_id, servo.name)

    def voltages(self) -> dict[int, tuple[float, float]]:
        """The lowest and the highest that each servo accepts, by id [V].

        Raises:
            BusError: a servo does not answer.
        """
        ends = (sts3215.MIN_VOLTAGE, sts3215.MAX_VOLTAGE)
        return {
            servo_id: (
                self.bus.read(servo_id, ends[0]) / 10,
                self.bus.read(servo_id, ends[1]) / 10,
            )
            for servo_id in self._ids
        }

    def release(self) -> None:
        """Torque off: the arm goes limp.

        Raises:
            BusError: a servo does not answer; the others are limp all the same.
        """
        problem: BusError | None = None
        for servo_id in self._ids:
            try:
                self.bus.write(servo_id, sts3215.TORQUE_ENABLE, 0)
            except BusError as error:
                problem = error
        if problem is not None:
            raise problem

    def hold(self, now_ns: Callable[[], int]) -> Floats:
        """Hold the arm where it is: goals := present, read back, then torque on.

        Args:
            now_ns: present time [ns].

        Returns:
            Where it is (D,) [rad].

        Raises:
            BusError: no two readings of a servo agree, or one does not answer.
        """
        self.filter.forget()
        for _ in range(_READS):
            self.read(now_ns())
            if self.filter.knows(self._ids):
                break
        present = {}
        for servo in self._servos:
            ticks = self.filter.position(servo.servo_id)
            if ticks is None:
                raise BusError(
                    f"{self.bus.port_name}: {servo.name}: no two readings of its position agree"
                )
            present[servo.servo_id] = ticks
        for servo_id, ticks in present.items():
            self.bus.write(servo_id, sts3215.GOAL_POSITION, ticks)
            if self.bus.read(servo_id, sts3215.GOAL_POSITION) != ticks:
                raise BusError(f"{self.bus.port_name}: servo {servo_id} did not take its goal")
        for servo_id in self._ids:
            self.bus.write(servo_id, sts3215.TORQUE_ENABLE, 1)
        return to_radians(list(present.values()), self._servos)

    def read(self, now_ns: int, *, retry: bool = True) -> ArmReading | list[ServoCalibration]:
        """Where the arm is at now_ns; or the servos of which nothing credible was heard.

        Args:
            now_ns: present time, on a clock that never jumps [ns].
            retry: whether those that did not answer are asked once more.
        """
        rows = self._read_rows(now_ns, retry=retry)
        if isinstance(rows, list):
            return rows
        return ArmReading(
            positions=to_radians(rows[:, 0], self._servos),
            velocities=np.asarray(rows[:, 1] * RAD_PER_TICK, dtype=np.float64),
        )

    def read_ticks(self, now_ns: int) -> npt.NDArray[np.int64] | list[ServoCalibration]:
        """Positions (D,) [ticks]; or the servos of which nothing credible was heard."""
        rows = self._read_rows(now_ns, retry=True)
        return rows if isinstance(rows, list) else rows[:, 0]

    def _read_rows(
        self, now_ns: int, *, retry: bool
    ) -> npt.NDArray[np.int64] | list[ServoCalibration]:
        """Position [ticks] and velocity [ticks/s] of each servo (D, 2)."""
        heard: dict[int, tuple[int, int]] = {}
        self._collect(self._ids, now_ns, heard)
        missing = [servo_id for servo_id in self._ids if servo_id not in heard]
        if missing and retry:
            self.bus.traffic.retried += 1
            self._collect(missing, now_ns, heard)
        silent = [servo for servo in self._servos if servo.servo_id not in heard]
        if silent:
            return silent
        return np.array([heard[servo_id] for servo_id in self._ids], dtype=np.int64)

    def write(self, goals: npt.ArrayLike) -> None:
        """Send the joints to goals (D,) [rad], within the calibrated ranges."""
        ticks = to_ticks(goals, self._servos)
        values = dict(zip(self._ids, ticks.tolist(), strict=True))
        self.bus.write_all(sts3215.GOAL_POSITION, values)

    def read_health(self) -> tuple[int, HealthReading] | None:
        """The id and the state of one servo, each in its turn; None where it did not answer."""
        servo_id = self._ids[self._next_health]
        self._next_health = (self._next_health + 1) % len(self._ids)
        reply = self.bus.read_one(servo_id, servo_health.FIRST, servo_health.LENGTH)
        return None if reply is None else (servo_id, read_health(reply.data, reply.status))

    def _collect(
        self, servo_ids: Sequence[int], now_ns: int, into: dict[int, tuple[int, int]]
    ) -> None:
        for servo_id, reply in self.bus.read_all(servo_ids, _FIRST, _LENGTH).items():
            ticks = decode(sts3215.PRESENT_POSITION, reply.data)
            velocity = decode(sts3215.PRESENT_VELOCITY, reply.data[2:])
            if abs(velocity) > MAX_SPEED:
                self.filter.rejected += 1
            elif self.filter.believe(servo_id, ticks, now_ns):
                into[servo_id] = ticks % TICKS_PER_TURN, velocity

    def _describe_missing(self, missing: Sequence[ServoCalibration]) -> str:
        names = ", ".join(servo.name for servo in missing)
        text = f"no servo answers for {names}"
        if len(missing) == len(self._servos):
            return f"{text}; is the arm's power on?"
        strangers = [
            servo_id
            for servo_id in range(HIGHEST_SOUGHT_ID + 1)
            if servo_id not in self._ids and self.bus.ping(servo_id) is not None
        ]
        if strangers:
            found = ", ".join(map(str, strangers))
            return (
                f"{text}, but id {found} does: it has a wrong id; set it with lerobot-setup-motors"
            )
        return (
            f"{text}; check its cable, and that no two servos have the same id (then neither "
            "can be understood)"
        )


def _calibration_registers(servo: ServoCalibration) -> tuple[tuple[Register, int], ...]:
    return (
        (sts3215.HOMING_OFFSET, servo.homing_offset),
        (sts3215.MIN_POSITION, servo.range_min),
        (sts3215.MAX_POSITION, servo.range_max),
    )


def store(bus: FeetechBus, servo_id: int, values: Mapping[Register, int]) -> None:
    """Write those of a servo's registers that differ, unlocked and limp; the memory wears.

    Raises:
        BusError: the servo does not take them.
    """
    changed = {
        register: value
        for register, value in values.items()
        if bus.read(servo_id, register) != value
    }
    if not changed:
        return
    bus.write(servo_id, sts3215.TORQUE_ENABLE, 0)
    bus.write(servo_id, sts3215.LOCK, 0)
    for register, value in changed.items():
        bus.write(servo_id, register, value)
    bus.write(servo_id, sts3215.LOCK, 1)


def count_one_turn(bus: FeetechBus, servo_id: int, name: str) -> None:
    """Let a servo report, and take, positions modulo a turn.

    Raises:
        BusError: it does not: after a loss of power its goals could be a turn away.
    """
    phase = bus.read(servo_id, sts3215.PHASE)
    store(bus, servo_id, {sts3215.PHASE: phase & ~MULTI_TURN})
    if bus.read(servo_id, sts3215.PHASE) & MULTI_TURN:
        raise BusError(
            f"{bus.port_name}: {name} keeps counting over turns (bit 4 of its register Phase, "
            "18); clear it with Feetech's own program"
        )


class PositionFilter:
    """Believes a position in ticks only if the joint can have got there since the last one.

    A checksum of one byte lets one damaged reply in 256 through. Where the last one that was
    believed is missing or old, it needs to see two that agree: one alone may be forged, and then
    the joint would seem to jump for as long as the silence was. Positions are modulo a turn.
    """

    def __init__(self) -> None:
        self._believed: dict[int, tuple[int, int]] = {}
        self._candidates: dict[int, tuple[int, int]] = {}
        self.rejected = 0

    def believe(self, servo_id: int, ticks: int, now_ns: int) -> bool:
        """Whether a position read at now_ns is credible; if so, the next is judged by it."""
        believed = self._believed.get(servo_id)
        possible = believed is None or _reachable(believed, ticks, now_ns)
        if not (RANGE[0] <= ticks <= RANGE[1] and possible):
            self.rejected += 1
            return False
        if believed is None or now_ns - believed[1] > _STALE_NS:
            candidate = self._candidates.get(servo_id)
            self._candidates[servo_id] = ticks, now_ns
            if candidate is None or not _reachable(candidate, ticks, now_ns):
                self.rejected += candidate is not None
                return False
        self._candidates.pop(servo_id, None)
        self._believed[servo_id] = ticks % TICKS_PER_TURN, now_ns
        return True

    def position(self, servo_id: int) -> int | None:
        """The last position that was believed, 0 to 4095 [ticks]."""
        believed = self._believed.get(servo_id)
        return None if believed is None else believed[0]

    def knows(self, servo_ids: Sequence[int]) -> bool:
        """Whether there is a believed position of each."""
        return all(servo_id in self._believed for servo_id in servo_ids)

    def forget(self) -> None:
        """Begin anew: the arm was moved while nobody looked."""
        self._believed.clear()
        self._candidates.clear()


def _reachable(known: tuple[int, int], ticks: int, now_ns: int) -> bool:
    before, then_ns = known
    way = abs((ticks - before + TICKS_PER_TURN // 2) % TICKS_PER_TURN - TICKS_PER_TURN // 2)
    return way <= MAX_SPEED * (now_ns - then_ns) * 1e-9 + SLACK
