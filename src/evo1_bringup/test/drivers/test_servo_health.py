"""When servos warn, and when they stop the arm."""

import dataclasses

import pytest

from evo1_bringup.drivers.servo_health import (
    HealthLimits,
    HealthReading,
    HealthWatch,
    read_health,
)

S = 1_000_000_000
WELL = HealthReading(load=0.1, voltage=7.4, temperature=35.0, current=0.1, status=0)


def watch():
    return HealthWatch(
        HealthLimits(),
        names={3: "elbow_flex_joint (id 3)", 6: "gripper_joint (id 6)"},
        voltages=dict.fromkeys((3, 6), (4.0, 8.0)),
        gripping=[6],
    )


def reading(**change):
    return dataclasses.replace(WELL, **change)


def test_registers_become_physical_numbers():
    data = bytes([0xF4, 0x05, 74, 41, 0, 0, 1, 0, 0, 100, 0])  # load -500 of 1000: sign in bit 10
    heard = read_health(data, status=0b100)
    assert (heard.load, heard.voltage, heard.temperature) == (-0.5, 7.4, 41.0)
    assert heard.current == pytest.approx(0.65)
    assert heard.status == 0b100


def test_a_servo_that_is_well_is_silent():
    watched = watch()
    assert watched.observe(3, WELL, 0) is None
    assert watched.warnings() == []


def test_one_bad_reading_is_no_reason_and_two_are():
    watched = watch()
    assert watched.observe(3, reading(temperature=90.0), 0) is None
    assert watched.observe(3, WELL, S) is None
    assert watched.observe(3, reading(temperature=90.0), 2 * S) is None
    assert watched.observe(3, reading(temperature=90.0), 3 * S).code == "over_temperature"


def test_a_load_stops_only_when_it_lasts():
    watched = watch()
    for now in range(2):
        assert watched.observe(3, reading(load=-0.97), now * S) is None
    assert [finding.code for finding in watched.warnings()] == ["loaded"]
    watched.observe(3, reading(load=-0.97), 2 * S)
    finding = watched.observe(3, reading(load=-0.97), 3 * S)
    assert finding.code == "over_load"
    assert finding.text.startswith("elbow_flex_joint (id 3)")


def test_low_voltage_is_a_warning_before_it_is_a_reason():
    watched = watch()
    assert watched.observe(3, reading(voltage=4.3), 0) is None
    assert [finding.code for finding in watched.warnings()] == ["low_voltage"]
    watched.observe(3, reading(voltage=3.9), S)
    assert watched.observe(3, reading(voltage=3.9), 2 * S).code == "voltage"


def test_an_overloaded_gripper_grips_on_and_any_other_joint_stops():
    watched, overloaded = watch(), reading(status=1 << 5)
    for now in range(5):
        assert watched.observe(6, overloaded, now * S) is None
    assert [finding.code for finding in watched.warnings()] == ["grip"]
    watched.observe(3, overloaded, 0)
    assert "reports: overloaded" in watched.observe(3, overloaded, S).text
