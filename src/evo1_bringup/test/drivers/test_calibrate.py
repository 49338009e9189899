"""The calibration command against the emulated arm, a script in place of the person."""

import json
import os
import threading

import pytest

from evo1_bringup.drivers.calibrate import HALF_TURN, So100Calibrator, main
from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.so100_calibration import CalibrationError, load_calibration
from evo1_sim.servo_bus.sts3215 import MULTI_TURN

MIDDLES = (1900, 2100, 2147, 2300, 1000, 1700)  # where the encoders stand in the middle
REACHES = (1200, 1100, 1000, 1150, 0, 700)


class Scripted:
    """A person who moves the limp arm and presses Enter."""

    def __init__(self, rig, reaches=REACHES):
        self.servos, self.reaches = rig.arm.servos, reaches
        ours, theirs = os.pipe()
        self.keys, self._hand = os.fdopen(ours), os.fdopen(theirs, "w")
        self._over = threading.Event()
        self.thread = threading.Thread(target=self._act, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.thread.join()
        self._hand.close()
        self.keys.close()

    def _act(self):
        for servo, encoder in zip(self.servos, MIDDLES, strict=True):
            servo.encoder = float(encoder)
        self._press()
        self._wait(lambda servo: servo.get(sts3215.LOCK) == 0)
        self._press()
        self._wait(lambda servo: servo.get(sts3215.HOMING_OFFSET) != 0)
        for share in (-1.0, -0.5, 0.0, 0.5, 1.0, 0.2):
            for servo, middle, reach in zip(self.servos, MIDDLES, self.reaches, strict=True):
                servo.encoder = middle + share * reach
            self._over.wait(0.25)
        self._press()

    def _wait(self, done):
        """Until the command has done its part with every servo."""
        while not all(map(done, self.servos)) and not self._over.wait(0.01):
            pass

    def _press(self):
        self._hand.write("\n")
        self._hand.flush()


def test_calibration_is_lerobots_and_the_servos_hold_it(rig, tmp_path, so100):
    file = tmp_path / "arm.json"
    with Scripted(rig) as person:
        assert main(["--port", str(rig.port.link), "--to", str(file)], keys=person.keys) == 0
    data = json.loads(file.read_text())
    assert data["shoulder_pan"] == {
        "id": 1,
        "drive_mode": 0,
        "homing_offset": 1900 - HALF_TURN,
        "range_min": HALF_TURN - 1200,
        "range_max": HALF_TURN + 1200,
    }
    assert (data["wrist_roll"]["range_min"], data["wrist_roll"]["range_max"]) == (0, 4095)
    assert list(data) == [joint.removesuffix("_joint") for joint in so100.joint_names]
    for servo in rig.arm.servos:
        assert servo.get(sts3215.LOCK) == 1
        servo.power_cycle()
    rig.servos = load_calibration(file, so100.joints)
    driver = rig.driver()
    driver.open()  # compares what the servos hold with the file


def test_a_joint_that_was_forgotten_is_named_and_nothing_is_written(rig, tmp_path, capsys):
    file = tmp_path / "arm.json"
    with Scripted(rig, reaches=(1200, 1100, 50, 1150, 0, 700)) as person:
        assert main(["--port", str(rig.port.link), "--to", str(file)], keys=person.keys) == 1
    assert "elbow_flex_joint: moved from" in capsys.readouterr().err
    assert not file.exists()


def test_a_missing_servo_is_named(rig, tmp_path, capsys):
    rig.faults.silent.add(6)
    file = tmp_path / "arm.json"
    with Scripted(rig) as person:
        assert main(["--port", str(rig.port.link), "--to", str(file)], keys=person.keys) == 1
    assert "gripper_joint (id 6): no servo answers" in capsys.readouterr().err


def test_a_file_is_not_overwritten_by_accident(tmp_path, capsys):
    file = tmp_path / "arm.json"
    file.touch()
    with pytest.raises(SystemExit):
        main(["--port", "/dev/none", "--to", str(file)])
    assert "give --overwrite" in capsys.readouterr().err


@pytest.fixture(params=["counts over turns", "wraps"])
def calibrator(request, rig, so100):
    """An arm in the middle of its ranges, its servos as they came."""
    for servo, encoder in zip(rig.arm.servos, MIDDLES, strict=True):
        servo.set(sts3215.PHASE, 12 | MULTI_TURN if request.param == "counts over turns" else 12)
        servo.encoder = float(encoder)
    bus = rig.bus()
    calibrator = So100Calibrator(bus, so100.joints)
    calibrator.begin()
    calibrator.set_middle()
    yield calibrator
    bus.close()


def sweep(calibrator, rig, **reaches):
    """Move each joint (by its place) from its middle so far down and up, in small steps."""
    names = [joint.removesuffix("_joint") for joint in calibrator.ranges]
    usual = dict(zip(names, ((-reach, reach) for reach in REACHES), strict=True))
    ways = (usual | reaches).values()
    for down, up in [(0.5, 0), (1, 0), (0.5, 0), (0, 0), (0, 0.5), (0, 1), (0, 0.4)]:
        for servo, middle, (lowest, highest) in zip(rig.arm.servos, MIDDLES, ways, strict=True):
            servo.encoder = middle + down * lowest + up * highest
        calibrator.watch()


def test_whichever_way_servos_count_they_are_set_to_wrap_and_calibrated_alike(calibrator, rig):
    assert [servo.get(sts3215.PHASE) for servo in rig.arm.servos] == [12] * 6
    sweep(calibrator, rig)
    servos = calibrator.finish()
    pan, roll = servos[0], servos[4]
    assert (pan.range_min, pan.range_max) == (HALF_TURN - 1200, HALF_TURN + 1200)
    assert (roll.range_min, roll.range_max) == (0, 4095)


def test_a_joint_swept_over_its_encoders_jump_is_refused_by_name(calibrator, rig):
    sweep(calibrator, rig, shoulder_lift=(-200, 2300))  # it was not in its middle
    with pytest.raises(CalibrationError, match="shoulder_lift_joint: went from 1847 to 4347, bey"):
        calibrator.finish()


def test_an_encoders_jump_inside_the_range_does_no_harm(calibrator, rig):
    rig.arm.servos[4].encoder = 1000.0  # its encoder jumps at -1000 from there
    sweep(calibrator, rig, wrist_roll=(-1934, 1934))
    roll = calibrator.finish()[4]
    assert (roll.range_min, roll.range_max) == (113, 3981)  # its stops, inside its turn


def test_a_wrist_roll_that_was_turned_all_around_has_its_whole_turn(calibrator, rig):
    sweep(calibrator, rig, wrist_roll=(-2100, 2100))
    roll = calibrator.finish()[4]
    assert (roll.range_min, roll.range_max) == (0, 4095)


def test_a_range_that_is_no_joints_is_refused_before_it_is_stored(calibrator, rig):
    sweep(calibrator, rig, elbow_flex=(-300, 300))
    with pytest.raises(
        CalibrationError, match=r"elbow_flex_joint: a range of 1747 to 2347 .*both"
    ):
        calibrator.finish()
    assert rig.arm.servos[2].get(sts3215.MIN_POSITION) == 0
