"""The bus master against emulated servos that answer late, through a real pseudo-terminal."""

import threading
import time

import pytest

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.emulated_bus import EmulatedBus, EmulatedPort
from evo1_sim.servo_bus.emulated_servo import EmulatedServo

TIMEOUT_S, LATE_S, QUICK_S = 0.1, 0.15, 0.0003
PATIENCE_S = 30.0


@pytest.fixture
def line(tmp_path):
    bus = EmulatedBus([EmulatedServo(1), EmulatedServo(2)])
    for servo in bus.servos:
        servo.set(sts3215.MIN_POSITION, 867)
        servo.set(sts3215.MAX_POSITION, 3201)
    with EmulatedPort(bus, tmp_path / "servos", lock=threading.Lock()) as port:
        master = FeetechBus(str(port.link), timeout_s=TIMEOUT_S)
        yield bus, master
        master.close()


def read_late(bus, master, register):
    """Ask for a register whose answer comes after the deadline, and is quick from then on."""
    bus.faults.latency_s = LATE_S
    threading.Timer(TIMEOUT_S / 2, setattr, (bus.faults, "latency_s", QUICK_S)).start()
    assert master.read_one(1, register.address, register.length) is None


def test_a_late_reply_is_not_the_answer_to_the_next_question(line):
    bus, master = line
    read_late(bus, master, sts3215.MIN_POSITION)
    assert master.read(1, sts3215.MAX_POSITION) == 3201
    assert master.read(1, sts3215.MIN_POSITION) == 867


def test_a_late_reply_is_not_the_acknowledgement_of_a_write(line):
    bus, master = line
    bus.faults.latency_s = LATE_S
    threading.Timer(TIMEOUT_S / 2, setattr, (bus.faults, "latency_s", QUICK_S)).start()
    master.write(1, sts3215.LOCK, 0)  # the first answer is late, the write is repeated
    bus.faults.silent = {1}
    with pytest.raises(BusError, match="Goal_Position"):
        master.write(1, sts3215.GOAL_POSITION, 2000)


def test_the_other_servos_are_not_asked_twice_for_it(line):
    bus, master = line
    read_late(bus, master, sts3215.MIN_POSITION)
    before = master.traffic.requests
    assert master.read(2, sts3215.MAX_POSITION) == 3201
    assert master.traffic.requests == before + 1


def test_a_line_that_is_always_late_gives_no_numbers_at_all(line):
    bus, master = line
    bus.faults.latency_s = LATE_S
    with pytest.raises(BusError, match="Max_Position_Limit"):
        master.read(1, sts3215.MAX_POSITION)


def test_nobody_is_waited_for_once_the_last_has_answered(line):
    bus, master = line
    master.close()
    bus.faults.silent = {1}
    patient = FeetechBus(master.port_name, timeout_s=PATIENCE_S)
    began = time.monotonic()
    block = sts3215.MIN_POSITION.address, sts3215.MIN_POSITION.length
    assert set(patient.read_all([1, 2], *block)) == {2}
    assert time.monotonic() < began + PATIENCE_S
    assert patient.traffic.lost == 1
    patient.close()
