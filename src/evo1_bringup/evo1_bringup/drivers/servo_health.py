"""Watches temperature, load, voltage and status byte of servos: warnings, then a named stop.

Must not import ROS.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from evo1_policy.node_parameters import ParameterTable, parameter
from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.sts3215 import decode, status_words

FIRST = sts3215.PRESENT_LOAD.address
LENGTH = sts3215.PRESENT_CURRENT.address + sts3215.PRESENT_CURRENT.length - FIRST
_CURRENT_UNIT_A = 0.0065
_OVERLOADED = 1 << 5
_CONFIRMATIONS = 2  # readings in a row that say the same, before the arm stops for it


@dataclass(frozen=True, kw_only=True)
class HealthReading:
    """One servo at one instant.

    Attributes:
        load: share of the stall torque, -1 to 1.
        voltage: [V].
        temperature: [deg C].
        current: [A].
        status: see sts3215.STATUS_BITS.
    """

    load: float
    voltage: float
    temperature: float
    current: float
    status: int


@dataclass(frozen=True, kw_only=True)
class HealthLimits(ParameterTable):
    """When to warn and when to stop: parameters of the driver's node."""

    temperature_warn: float = parameter(55.0, "Warn from here on [deg C].", span=(20.0, 120.0))
    temperature_stop: float = parameter(
        65.0,
        "Stop from here on; at 70 the servos' firmware lets go [deg C].",
        span=(0.0, 70.0),
    )
    load_warn: float = parameter(
        0.7, "Warn from this share of the stall torque on.", span=(0.0, 1.0)
    )
    load_stop: float = parameter(
        0.95, "Stop from this share on, where it lasts load_stop_s.", span=(0.0, 1.0)
    )
    load_stop_s: float = parameter(2.0, "See load_stop [s].", span=(0.1, 60.0))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong with a servo: a word for it, and a sentence with what to do."""

    code: str
    text: str


def read_health(data: bytes, status: int) -> HealthReading:
    """Decode the registers FIRST to FIRST + LENGTH, and the status byte of their reply."""

    def value(register: sts3215.Register) -> int:
        return decode(register, data[register.address - FIRST :])

    return HealthReading(
        load=value(sts3215.PRESENT_LOAD) / 1000,
        voltage=value(sts3215.PRESENT_VOLTAGE) / 10,
        temperature=float(value(sts3215.PRESENT_TEMPERATURE)),
        current=value(sts3215.PRESENT_CURRENT) * _CURRENT_UNIT_A,
        status=status | value(sts3215.STATUS),
    )


class HealthWatch:
    """Keeps the newest reading of each servo and judges it.

    Args:
        limits: when to warn and to stop.
        names: servo id -> how people are told about it.
        voltages: servo id -> lowest and highest that it accepts [V].
        gripping: ids whose overload is a warning: a gripper that holds something is overloaded,
            and lowers its torque by itself.
    """

    def __init__(
        self,
        limits: HealthLimits,
        *,
        names: Mapping[int, str],
        voltages: Mapping[int, tuple[float, float]],
        gripping: Collection[int] = (),
    ) -> None:
        self._limits = limits
        self._names = dict(names)
        self._voltages = dict(voltages)
        self._gripping = frozenset(gripping)
        self.readings: dict[int, HealthReading] = {}
        self._warnings: dict[int, list[Finding]] = {}
        self._stops: dict[int, tuple[str, int]] = {}
        self._loaded_since_ns: dict[int, int] = {}

    def observe(self, servo_id: int, reading: HealthReading, now_ns: int) -> Finding | None:
        """Take a reading; return why the arm must stop, where it must."""
        self.readings[servo_id] = reading
        self._warnings[servo_id] = self._warn(servo_id, reading)
        finding = self._stop(servo_id, reading, now_ns)
        if finding is None:
            self._stops.pop(servo_id, None)
            return None
        code, count = self._stops.get(servo_id, (finding.code, 0))
        count = count + 1 if code == finding.code else 1
        self._stops[servo_id] = finding.code, count
        return finding if count >= _CONFIRMATIONS else None

    def warnings(self) -> list[Finding]:
        """What is not well, but no reason to stop yet."""
        return [finding for findings in self._warnings.values() for finding in findings]

    def _warn(self, servo_id: int, reading: HealthReading) -> list[Finding]:
        name, limits, found = self._names[servo_id], self._limits, []
        if reading.temperature >= limits.temperature_warn:
            text = (
                f"{name} is at {reading.temperature:.0f} deg C; the arm stops at "
                f"{limits.temperature_stop:.0f}; let it rest"
            )
            found.append(Finding(code="hot", text=text))
        if abs(reading.load) >= limits.load_warn:
            text = f"{name} carries {abs(reading.load):.0%} of its stall torque"
            found.append(Finding(code="loaded", text=text))
        if reading.status & _OVERLOADED and servo_id in self._gripping:
            text = f"{name} reports: overloaded; it grips with less torque until it opens"
            found.append(Finding(code="grip", text=text))
        lowest, _ = self._voltages[servo_id]
        if reading.voltage < lowest + 0.5:
            text = (
                f"{name} gets {reading.voltage:.1f} V and needs {lowest:.1f}; "
                "check the power supply"
            )
            found.append(Finding(code="low_voltage", text=text))
        return found

    def _stop(self, servo_id: int, reading: HealthReading, now_ns: int) -> Finding | None:
        name, limits = self._names[servo_id], self._limits
        if reading.temperature >= limits.temperature_stop:
            text = (
                f"{name} is at {reading.temperature:.0f} deg C, allowed are "
                f"{limits.temperature_stop:.0f}: let it cool, with the arm supported"
            )
            return Finding(code="over_temperature", text=text)
        lowest, highest = self._voltages[servo_id]
        if not lowest <= reading.voltage <= highest:
            text = (
                f"{name} gets {reading.voltage:.1f} V, allowed are {lowest:.1f} to "
                f"{highest:.1f}: check the power supply and its plug"
            )
            return Finding(code="voltage", text=text)
        status = reading.status & ~(_OVERLOADED if servo_id in self._gripping else 0)
        if status:
            text = f"{name} reports: {status_words(status)}; free the arm"
            return Finding(code="servo_status", text=text)
        if abs(reading.load) < limits.load_stop:
            self._loaded_since_ns.pop(servo_id, None)
            return None
        since_ns = self._loaded_since_ns.setdefault(servo_id, now_ns)
        if now_ns - since_ns < limits.load_stop_s * 1e9:
            return None
        text = (
            f"{name} has carried {abs(reading.load):.0%} of its stall torque for "
            f"{limits.load_stop_s:g} s: free the arm"
        )
        return Finding(code="over_load", text=text)
