"""The driver core against the emulated bus, through a real pseudo-terminal."""

import os
import sys
import time

import numpy as np
import pytest
from so100_rig import PERIOD_S, START, go, run

from evo1_bringup.drivers import so100_arm
from evo1_bringup.drivers.feetech import BusError, PortLostError
from evo1_bringup.drivers.following import LONGEST_STEP_S
from evo1_bringup.drivers.so100_driver import DriverState
from evo1_bringup.drivers.so100_parameters import DriverParameters
from evo1_sim.servo_bus import sts3215
from evo1_sim.trajectory import TrajectoryError

TICK = 2 * np.pi / 4096
BUS_SECONDS = float(os.environ.get("EVO1_BUS_SECONDS", "4"))  # 600 once, by hand
AWAY = START + np.array([0.3, 0.2, -0.2, 0.1, -0.3, 0.4])


@pytest.fixture(autouse=True)
def few_ids(monkeypatch):
    """Nobody waits for ids above the wrong one of these tests, which do not answer."""
    monkeypatch.setattr(so100_arm, "HIGHEST_SOUGHT_ID", 9)


def heard(readings):
    return [reading for reading in readings if reading is not None]


def test_engaging_holds_the_arm_where_it_stands(rig):
    driver = rig.driver()
    driver.open()
    assert driver.state is DriverState.LIMP
    assert rig.arm.torques() == [False] * 6
    driver.engage()
    assert driver.state is DriverState.HOLDING
    assert rig.arm.torques() == [True] * 6
    np.testing.assert_allclose(rig.arm.goals(), START, atol=TICK)
    readings = heard(run(driver, 0.3))
    np.testing.assert_allclose(readings[-1].positions, START, atol=TICK)


def test_a_trajectory_is_followed_and_reported_with_its_velocity(rig):
    driver = rig.engaged()
    go(driver, rig.robot, AWAY, 0.6)
    readings = heard(run(driver, 0.9))
    assert driver.state is DriverState.FOLLOWING
    np.testing.assert_allclose(rig.arm.positions(), AWAY, atol=3 * TICK)
    np.testing.assert_allclose(readings[-1].positions, AWAY, atol=3 * TICK)
    fastest = max(reading.velocities[0] for reading in readings)
    assert 0.3 < fastest < 4.0


def test_positions_and_goals_share_the_bus_and_a_cycle_fits_its_hundredth_of_a_second(rig):
    driver = rig.engaged()
    go(driver, rig.robot, AWAY, 0.5)
    before, durations = rig.arm.bus.counts.requests, []
    while len(durations) < 60:
        began = time.monotonic()
        driver.cycle()
        durations.append(time.monotonic() - began)
    requests = rig.arm.bus.counts.requests - before
    assert requests >= 2.5 * len(durations)  # read, write, and half a look at health
    assert np.quantile(durations, 0.25) < PERIOD_S  # the others waited for a processor
    assert set(driver.report().health) == {servo.name for servo in rig.servos}


def test_releasing_slows_to_rest_before_the_torque_goes(rig):
    driver = rig.engaged()
    go(driver, rig.robot, AWAY, 0.5)
    run(driver, 0.25)
    driver.slow_down()
    assert not driver.at_rest
    readings = heard(run(driver, 2.0, until=lambda: driver.at_rest))
    steps = np.abs(np.diff([reading.positions for reading in readings], axis=0)).max(axis=1)
    assert len(readings) > 3
    assert steps[-1] < steps[0] + 2 * TICK
    assert rig.arm.torques() == [True] * 6
    driver.release()
    assert rig.arm.torques() == [False] * 6
    with pytest.raises(TrajectoryError, match="does not follow: torque off"):
        go(driver, rig.robot, AWAY, 0.5)


def test_goals_keep_to_the_limits_whoever_asks(rig):
    driver = rig.engaged()
    go(driver, rig.robot, START + np.array([5.0, 0, 0, 0, 0, 0]), 0.05)
    positions = [START]
    for _ in range(60):
        driver.cycle()
        end_s = time.monotonic() + 1.0  # until the servos have it: a busy machine delivers late
        while np.abs(rig.arm.goals() - driver.commanded[0]).max() > TICK:
            assert time.monotonic() < end_s
            time.sleep(0.001)
        positions.append(rig.arm.goals())
        time.sleep(0.01)
    limit = rig.robot.velocity_max[0] * LONGEST_STEP_S + TICK
    assert np.abs(np.diff(np.array(positions)[:, 0])).max() <= limit
    assert np.array(positions)[:, 0].max() <= rig.robot.position_max[0] + TICK


def test_a_missing_servo_is_named_with_its_joint(rig):
    rig.faults.silent.add(3)
    with pytest.raises(BusError, match=r"no servo answers for elbow_flex_joint \(id 3\); check"):
        rig.driver().open()


def test_a_wrong_id_is_named(rig):
    rig.arm.servos[2].set(sts3215.ID, 9)
    message = r"no servo answers for elbow_flex_joint \(id 3\), but id 9 does: it has a wrong id"
    with pytest.raises(BusError, match=message):
        rig.driver().open()


def test_two_servos_with_one_id_are_suspected(rig):
    rig.arm.servos[2].set(sts3215.ID, 2)
    with pytest.raises(BusError, match=r"no two servos have the same id"):
        rig.driver().open()


def test_another_model_is_refused(rig):
    rig.arm.servos[5].set(sts3215.MODEL_NUMBER, 1284)
    with pytest.raises(BusError, match=r"gripper_joint \(id 6\): model 1284, expected 777"):
        rig.driver().open()


def test_no_power_is_said(rig):
    rig.faults.silent.update(range(1, 7))
    with pytest.raises(BusError, match="is the arm's power on"):
        rig.driver().open()


def test_another_arms_calibration_is_refused_unless_it_shall_be_written(rig):
    rig.arm.servos[1].set(sts3215.HOMING_OFFSET, 300)
    message = r"shoulder_lift_joint \(id 2\): Homing_Offset is 300 in the servo and -98 in"
    with pytest.raises(BusError, match=message):
        rig.driver().open()
    rig.driver(settings=DriverParameters(write_calibration=True)).open()
    assert rig.arm.servos[1].get(sts3215.HOMING_OFFSET) == -98
    rig.arm.servos[1].power_cycle()
    assert rig.arm.servos[1].get(sts3215.HOMING_OFFSET) == -98


def test_corrupt_and_forged_replies_never_reach_a_command_or_a_state(rig):
    """One reply in a hundred is damaged, one in five of these under a right checksum."""
    rig.faults.corrupt_rate, rig.faults.forged_share = 0.01, 0.2
    driver = rig.engaged()
    low, high = np.minimum(START, AWAY) - 3 * TICK, np.maximum(START, AWAY) + 3 * TICK
    cycles = unknown = 0
    began = due = time.monotonic()
    turn = 0
    while time.monotonic() < began + BUS_SECONDS or rig.arm.bus.counts.corrupted < 12:
        turn += 1
        go(driver, rig.robot, AWAY if turn % 2 == 0 else START, 0.6)
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            reading, goals = driver.cycle(), rig.arm.goals()
            cycles, unknown = cycles + 1, unknown + (reading is None)
            for row in (goals, *([reading.positions] if reading else [])):
                assert ((row >= low) & (row <= high)).all()
            due = max(due + PERIOD_S, time.monotonic() - PERIOD_S)
            time.sleep(max(due - time.monotonic(), 0.0))
    rate_hz = cycles / (time.monotonic() - began)
    counts, report = rig.arm.bus.counts, driver.report()
    sys.stdout.write(
        f"{cycles} cycles, {rate_hz:.1f} Hz, {unknown} unknown, {counts}, {report.traffic}, "
        f"{report.rejected} rejected\n"
    )
    assert counts.malformed == 0
    assert report.traffic.corrupt + report.traffic.lost + report.rejected > 0
    assert driver.fault is None
    assert unknown < cycles / 4


def test_engaging_on_a_bad_line_still_holds_where_the_arm_stands(rig):
    rig.faults.corrupt_rate, rig.faults.forged_share, rig.faults.drop_rate = 0.1, 0.5, 0.02
    for _ in range(5):
        driver = rig.driver()
        try:
            driver.open()
            driver.engage()
        except BusError:  # refusing is right, guessing is not
            pass
        np.testing.assert_allclose(rig.arm.goals(), START, atol=3 * TICK)
        driver.close()


def test_a_servo_that_falls_silent_stops_the_motion_with_its_name(rig):
    driver = rig.engaged()
    go(driver, rig.robot, AWAY, 1.0)
    run(driver, 0.3)
    rig.faults.silent.add(4)
    readings = run(driver, 2.0, until=lambda: driver.fault is not None)
    assert readings[-1] is None
    assert driver.fault.code == "servo_silent"
    assert "wrist_flex_joint (id 4)" in driver.fault.text
    run(driver, 1.0, until=lambda: driver.at_rest)
    time.sleep(0.15)  # the servos' lag
    stopped = rig.arm.positions()
    assert all(reading is None for reading in run(driver, 0.2))
    np.testing.assert_allclose(rig.arm.positions(), stopped, atol=2 * TICK)
    with pytest.raises(TrajectoryError, match="servo_silent"):
        go(driver, rig.robot, START, 0.5)
    with pytest.raises(BusError):
        driver.recover()
    assert driver.state is DriverState.FAULT
    rig.faults.silent.clear()
    driver.recover()
    assert driver.state is DriverState.HOLDING
    np.testing.assert_allclose(rig.arm.goals(), rig.arm.positions(), atol=2 * TICK)


def test_unplugging_stops_and_only_a_person_starts_again(rig):
    driver = rig.engaged()
    go(driver, rig.robot, AWAY, 1.0)
    run(driver, 0.3)
    rig.port.unplug()
    readings = run(driver, 1.0, until=lambda: driver.fault is not None)
    assert readings[-1] is None
    assert driver.fault.code == "port_lost"
    assert str(rig.port.link) in driver.fault.text
    with pytest.raises(PortLostError, match="cannot open it: No such file or directory;"):
        driver.recover()
    rig.port.plug()
    assert all(reading is None for reading in run(driver, 0.2))
    assert driver.state is DriverState.FAULT
    driver.recover()
    assert driver.state is DriverState.HOLDING
    stands = rig.arm.positions()
    assert heard(run(driver, 0.3))
    np.testing.assert_allclose(rig.arm.positions(), stands, atol=2 * TICK)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"temperature": 66.0}, "over_temperature", "66 deg C, allowed are 65"),
        ({"voltage": 3.1}, "voltage", "gets 3.1 V, allowed are 4.0 to 8.0"),
        ({"load": 0.99}, "over_load", "99% of its stall torque"),
    ],
)
def test_a_servo_in_trouble_stops_the_arm_with_a_reason(rig, change, code, words):
    settings = DriverParameters(load_stop_s=0.3, reply_timeout_ms=400.0)
    driver = rig.engaged(settings=settings)
    for name, value in change.items():
        setattr(rig.arm.servos[1], name, value)
    run(driver, 3.0, until=lambda: driver.fault is not None)
    assert driver.fault.code == code
    assert driver.fault.text.startswith("shoulder_lift_joint (id 2)")
    assert words in driver.fault.text


def test_a_warm_servo_is_a_warning_and_no_stop(rig):
    driver = rig.engaged()
    rig.arm.servos[0].temperature = 58.0
    readings = run(driver, 5.0, until=lambda: driver.report().warnings)
    assert readings[-1] is not None
    assert driver.fault is None
    assert [finding.code for finding in driver.report().warnings] == ["hot"]


def test_the_servos_own_status_stops_the_arm(rig):
    rig.arm.servos[4].set(sts3215.MAX_TEMPERATURE, 30)
    driver = rig.engaged()
    run(driver, 2.0, until=lambda: driver.fault is not None)
    assert driver.fault.code == "servo_status"
    assert "wrist_roll_joint (id 5) reports: too hot" in driver.fault.text


def test_a_port_in_use_or_absent_is_said(rig, tmp_path):
    driver = rig.driver()
    driver.open()
    with pytest.raises(PortLostError, match="does no other program use it"):
        rig.bus()
