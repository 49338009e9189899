"""Six servos as one arm: who is on the bus, torque, positions. Ticks and radians meet here.

Must not import ROS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_bringup.drivers import servo_health, sts3215
from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.position_filter import MAX_SPEED, PositionFilter
from evo1_bringup.drivers.servo_health import HealthReading, VoltageRange, read_health
from evo1_bringup.drivers.so100_calibration import (
    RAD_PER_TICK,
    ServoCalibration,
    lerobot_name,
    to_radians,
    to_ticks,
)
from evo1_bringup.drivers.sts3215 import Register, decode

HIGHEST_SOUGHT_ID = 20  # looked through where a servo is missing
_FIRST = sts3215.PRESENT_POSITION.address
_LENGTH = 4  # position and velocity
_READS = 12  # until every servo gave two positions that agree

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

Joints = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ArmReading:
    """Where the arm was at one instant.

    Attributes:
        positions: (D,) [rad].
        velocities: (D,) [rad/s].
    """

    positions: Joints
    velocities: Joints


class So100Arm:
    """Speaks to the servos of a calibrated arm. Not thread-safe.

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
            self._store(servo.servo_id, dict(_calibration_registers(servo)))

    def set_up(self) -> None:
        """Give the servos the settings that LeRobot gives them; limp where one has others.

        Raises:
            BusError: a servo does not take them.
        """
        for servo in self._servos:
            gripper = lerobot_name(servo.joint) == "gripper"
            self._store(servo.servo_id, {**_SETTINGS, **(_GRIPPER_SETTINGS if gripper else {})})

    def voltages(self) -> dict[int, VoltageRange]:
        """What each servo accepts, by id.

        Raises:
            BusError: a servo does not answer.
        """
        return {
            servo_id: VoltageRange(
                lower=self.bus.read(servo_id, sts3215.MIN_VOLTAGE) / 10,
                upper=self.bus.read(servo_id, sts3215.MAX_VOLTAGE) / 10,
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

    def hold(self, now_ns: Callable[[], int]) -> Joints:
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
                into[servo_id] = ticks, velocity

    def _store(self, servo_id: int, values: Mapping[Register, int]) -> None:
        """Write what differs, unlocked and limp; the memory wears."""
        changed = {
            register: value
            for register, value in values.items()
            if self.bus.read(servo_id, register) != value
        }
        if not changed:
            return
        self.bus.write(servo_id, sts3215.TORQUE_ENABLE, 0)
        self.bus.write(servo_id, sts3215.LOCK, 0)
        for register, value in changed.items():
            self.bus.write(servo_id, register, value)
        self.bus.write(servo_id, sts3215.LOCK, 1)

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
