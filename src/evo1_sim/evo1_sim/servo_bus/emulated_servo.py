"""One STS3215 as the bus sees it: its registers, and a shaft that follows the goal.

Written from Feetech's manual, apart from the driver, so that each tests the other. Must not
import ROS.
"""

import math

from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.sts3215 import TICKS_PER_TURN, Register, decode, encode

MAX_SPEED = 3100.0  # ticks/s, without load
LAG_S = 0.02  # behind a moving goal
_SIZE = 87
_DEFAULTS = {
    sts3215.MODEL_NUMBER: sts3215.MODEL,
    sts3215.RETURN_DELAY: 250,
    sts3215.RESPONSE_LEVEL: 1,
    sts3215.MAX_POSITION: TICKS_PER_TURN - 1,
    sts3215.MAX_TEMPERATURE: 70,
    sts3215.MAX_VOLTAGE: 80,
    sts3215.MIN_VOLTAGE: 40,
    sts3215.MAX_TORQUE: 1000,
    sts3215.PHASE: 12 | sts3215.MULTI_TURN,
    sts3215.P_GAIN: 32,
    sts3215.D_GAIN: 32,
    sts3215.PROTECTION_CURRENT: 500,
    sts3215.OVERLOAD_TORQUE: 80,
    sts3215.TORQUE_LIMIT: 1000,
    sts3215.LOCK: 1,
}
_READ_ONLY = range(56, 71)


class EmulatedServo:
    """Registers and shaft of one servo. Not thread-safe.

    Attributes:
        encoder: where the shaft stands, before the homing offset [ticks].
        velocity: [ticks/s].
        load: share of the stall torque, -1 to 1.
        temperature: [deg C].
        voltage: [V].

    Args:
        servo_id: its bus id.
        encoder: see above.
    """

    def __init__(self, servo_id: int, *, encoder: float = 2047.0) -> None:
        self.encoder = encoder
        self.velocity = 0.0
        self.load = 0.0
        self.temperature = 32.0
        self.voltage = 7.4
        self._memory = bytearray(_SIZE)
        for register, value in _DEFAULTS.items():
            self.set(register, value)
        self.set(sts3215.ID, servo_id)
        self._stored = bytes(self._memory)

    @property
    def servo_id(self) -> int:
        """Its bus id."""
        return self.get(sts3215.ID)

    @property
    def torque(self) -> bool:
        """Whether it holds its goal."""
        return self.get(sts3215.TORQUE_ENABLE) == 1

    @property
    def shaft(self) -> float:
        """Where the shaft stands on the servo's own scale, which may wrap [ticks]."""
        shaft = self.encoder - self.get(sts3215.HOMING_OFFSET)
        wraps = not self.get(sts3215.PHASE) & sts3215.MULTI_TURN
        return shaft % TICKS_PER_TURN if wraps else shaft

    @property
    def present(self) -> int:
        """The position that it reports [ticks]."""
        wraps = not self.get(sts3215.PHASE) & sts3215.MULTI_TURN
        return round(self.shaft) % TICKS_PER_TURN if wraps else round(self.shaft)

    @property
    def goal(self) -> int:
        """Where it holds or goes to, within its limits [ticks]; present while it is limp."""
        if not self.torque:
            return self.present
        lower, upper = self.get(sts3215.MIN_POSITION), self.get(sts3215.MAX_POSITION)
        return min(max(self.get(sts3215.GOAL_POSITION), lower), upper)

    @property
    def status(self) -> int:
        """The status byte."""
        too_hot = self.temperature > self.get(sts3215.MAX_TEMPERATURE)
        lower, upper = self.get(sts3215.MIN_VOLTAGE), self.get(sts3215.MAX_VOLTAGE)
        bad_voltage = not lower <= self.voltage * 10 <= upper
        return bad_voltage << 0 | too_hot << 2

    def get(self, register: Register) -> int:
        """A register's value as it is stored."""
        return decode(register, bytes(self._memory[register.address :]))

    def set(self, register: Register, value: int) -> None:
        """Set a register from inside, read-only ones too."""
        data = encode(register, value)
        self._memory[register.address : register.address + len(data)] = data

    def place(self, present: float, velocity: float = 0.0) -> None:
        """Put the shaft where it reports `present` [ticks], turning at [ticks/s]."""
        self.encoder = present + self.get(sts3215.HOMING_OFFSET)
        self.velocity = velocity

    def advance(self, duration_s: float) -> None:
        """Turn towards the goal, ever slower, and no faster than the servo can."""
        error = self.goal - self.shaft if self.torque else 0.0  # never across the seam
        reach = MAX_SPEED * duration_s
        wanted = error * -math.expm1(-duration_s / LAG_S)
        moved = min(max(wanted, -reach), reach)
        self.encoder += moved
        self.velocity = moved / duration_s

    def power_cycle(self) -> None:
        """Lose what was not stored."""
        self._memory[:40] = self._stored[:40]
        self._memory[40:] = bytes(_SIZE - 40)
        self.set(sts3215.LOCK, 1)

    def read(self, address: int, length: int) -> bytes:
        """What the bus reads."""
        self._refresh()
        return bytes(self._memory[address : address + length]).ljust(min(length, _SIZE), b"\0")

    def write(self, address: int, data: bytes) -> None:
        """What the bus writes; read-only registers ignore it."""
        for offset, value in enumerate(data):
            if address + offset < _SIZE and address + offset not in _READ_ONLY:
                self._memory[address + offset] = value
        if address < 40 and self.get(sts3215.LOCK) == 0:
            self._stored = bytes(self._memory)

    def _refresh(self) -> None:
        if self.temperature > self.get(sts3215.MAX_TEMPERATURE):
            self.set(sts3215.TORQUE_ENABLE, 0)  # as the firmware does
        self.set(sts3215.PRESENT_POSITION, self.present)
        self.set(sts3215.PRESENT_VELOCITY, round(self.velocity))
        self.set(sts3215.PRESENT_LOAD, round(self.load * 1000))
        self.set(sts3215.PRESENT_VOLTAGE, round(self.voltage * 10))
        self.set(sts3215.PRESENT_TEMPERATURE, round(self.temperature))
        self.set(sts3215.STATUS, self.status)
        self.set(sts3215.MOVING, int(abs(self.velocity) > 1))
        self.set(sts3215.PRESENT_CURRENT, round(abs(self.load) * 200))
