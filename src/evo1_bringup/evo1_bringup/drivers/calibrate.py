"""`ros2 run evo1_bringup calibrate_so100`: writes LeRobot's calibration of an SO-100 or SO-101.

Step by step, as LeRobot does: homing offsets, then ranges of motion. For follower and leader arms
alike. Must not import ROS.
"""

import argparse
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from evo1_bringup.drivers.feetech import BusError, FeetechBus
from evo1_bringup.drivers.so100_arm import count_one_turn
from evo1_bringup.installation import robot_file
from evo1_policy.command_line import INTERRUPTED, Parser, entry_point, tell
from evo1_policy.robot_config import load_robot
from evo1_policy.robot_joints import JointConfig
from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.so100_calibration import (
    FULL_TURN,
    MAX_HOMING_OFFSET,
    CalibrationError,
    ServoCalibration,
    check_range,
    lerobot_name,
    middle_rad,
    save_calibration,
)
from evo1_sim.servo_bus.sts3215 import TICKS_PER_TURN, decode

HALF_TURN = TICKS_PER_TURN // 2 - 1  # what a joint in its middle shall report
MIN_RANGE = 200  # ticks, about 18 degrees; a joint that moved less was forgotten


class So100Calibrator:
    """The arm that is being calibrated, limp all the time.

    Args:
        bus: an open one.
        joints: of the robot file, in the order of their ids, which count from 1.
    """

    def __init__(self, bus: FeetechBus, joints: Sequence[JointConfig]) -> None:
        self._bus = bus
        self._joints = {joint.name: joint for joint in joints}
        self._ids = {joint: index + 1 for index, joint in enumerate(self._joints)}
        self._offsets: dict[str, int] = {}
        self._positions: dict[str, int] = {}  # counted on over the encoder's jump [ticks]
        self.ranges: dict[str, tuple[int, int]] = {}

    def begin(self) -> None:
        """Find every servo, let it go, and forget its old calibration.

        Raises:
            BusError: a servo is missing or of another kind.
        """
        for joint, servo_id in self._ids.items():
            model = self._bus.ping(servo_id)
            if model != sts3215.MODEL:
                what = "no servo answers" if model is None else f"model {model} answers"
                raise BusError(
                    f"{self._bus.port_name}: {joint} (id {servo_id}): {what}, expected an "
                    f"STS3215 ({sts3215.MODEL}); check cables and power, and set ids with "
                    "lerobot-setup-motors"
                )
        for joint, servo_id in self._ids.items():
            self._bus.write(servo_id, sts3215.TORQUE_ENABLE, 0)
            count_one_turn(self._bus, servo_id, f"{joint} (id {servo_id})")
            self._bus.write(servo_id, sts3215.LOCK, 0)
            self._bus.write(servo_id, sts3215.OPERATING_MODE, 0)
            self._bus.write(servo_id, sts3215.HOMING_OFFSET, 0)
            self._bus.write(servo_id, sts3215.MIN_POSITION, 0)
            self._bus.write(servo_id, sts3215.MAX_POSITION, TICKS_PER_TURN - 1)

    def set_middle(self) -> None:
        """The arm stands in the middle of its range: let each joint report half a turn there.

        Raises:
            CalibrationError: a joint stands where no offset reaches.
            BusError: a servo does not answer.
        """
        offsets = {}
        for joint, servo_id in self._ids.items():
            encoder = self._bus.read(servo_id, sts3215.PRESENT_POSITION)
            offset = encoder - HALF_TURN
            if abs(offset) > MAX_HOMING_OFFSET:
                raise CalibrationError(
                    f"{joint}: its encoder is at {encoder}, where it jumps; turn the joint a "
                    "little and try again"
                )
            offsets[joint] = offset
        for joint, offset in offsets.items():
            self._bus.write(self._ids[joint], sts3215.HOMING_OFFSET, offset)
        self._offsets = offsets
        self._positions = dict.fromkeys(self._ids, HALF_TURN)
        self.ranges = dict.fromkeys(self._ids, (HALF_TURN, HALF_TURN))

    def watch(self) -> dict[str, int]:
        """Widen the ranges by where the joints are now.

        Returns:
            Joint -> position, counted on beyond 0 and 4095 [ticks], of those that answered.
        """
        address, length = sts3215.PRESENT_POSITION.address, sts3215.PRESENT_POSITION.length
        replies = self._bus.read_all(list(self._ids.values()), address, length)
        heard = {}
        for joint, servo_id in self._ids.items():
            if (reply := replies.get(servo_id)) is None:
                continue
            before, half = self._positions[joint], TICKS_PER_TURN // 2
            way = decode(sts3215.PRESENT_POSITION, reply.data) - before
            ticks = before + (way + half) % TICKS_PER_TURN - half
            lower, upper = self.ranges[joint]
            self.ranges[joint] = min(lower, ticks), max(upper, ticks)
            self._positions[joint] = heard[joint] = ticks
        return heard

    def finish(self) -> tuple[ServoCalibration, ...]:
        """Store the ranges in the servos; return the calibration.

        Raises:
            CalibrationError: a joint did not move, or moved beyond its turn or its limits.
            BusError: a servo does not answer.
        """
        servos = tuple(self._calibration(joint) for joint in self._ids)
        for servo in servos:
            self._bus.write(servo.servo_id, sts3215.MIN_POSITION, servo.range_min)
            self._bus.write(servo.servo_id, sts3215.MAX_POSITION, servo.range_max)
            self._bus.write(servo.servo_id, sts3215.LOCK, 1)
        return servos

    def _calibration(self, joint: str) -> ServoCalibration:
        lower, upper = self.ranges[joint]
        if (
            lerobot_name(joint) == FULL_TURN
            and not MIN_RANGE <= upper - lower < TICKS_PER_TURN - 1
        ):
            lower, upper = 0, TICKS_PER_TURN - 1  # left alone, or turned all around
        if upper - lower < MIN_RANGE:
            raise CalibrationError(
                f"{joint}: moved from {lower} to {upper} ticks only; move every joint through "
                "its whole range"
            )
        if lower < 0 or upper >= TICKS_PER_TURN:
            raise CalibrationError(
                f"{joint}: went from {lower} to {upper}, beyond its turn; it was not in the "
                "middle of its range when you said so"
            )
        check_range(self._joints[joint], lower, upper)
        return ServoCalibration(
            joint=joint,
            servo_id=self._ids[joint],
            homing_offset=self._offsets[joint],
            range_min=lower,
            range_max=upper,
            middle_rad=middle_rad(joint),
        )


_PERIOD_S = 0.02
_EPILOG = """\
steps:
  1. every servo is found and let go: SUPPORT THE ARM, it goes limp
  2. put every joint into the middle of its range, press Enter
  3. move every joint through its whole range, press Enter; leave the wrist's roll alone where
     it has no stops
  4. offsets and ranges are stored in the servos and in the file, which LeRobot reads too:
     ~/.cache/huggingface/lerobot/calibration/robots/so101_follower/<id>.json

example:
  evo1 calibrate --port /dev/ttyACM0 --to my_arm.json
"""

Say = Callable[[str], None]


def _wait_for_enter(keys: TextIO) -> None:
    if not keys.readline():
        raise CalibrationError("nobody presses Enter: the input has ended")


def _entered(keys: TextIO) -> bool:
    """Whether Enter was pressed."""
    if not select.select([keys], [], [], 0)[0]:
        return False
    _wait_for_enter(keys)
    return True


def calibrate(
    bus: FeetechBus, keys: TextIO, say: Say, robot: str = "so100"
) -> tuple[ServoCalibration, ...]:
    """Lead a person through the steps.

    Args:
        bus: an open one.
        keys: where the presses of Enter come from.
        say: takes each line.
        robot: name of the robot file that ships for this arm.

    Raises:
        BusError: a servo is missing or does not answer.
        CalibrationError: the arm was not moved as it must be, or nobody is there.
    """
    calibrator = So100Calibrator(bus, load_robot(robot_file(robot)).joints)
    say("1. Support the arm: its torque goes off. Press Enter.")
    _wait_for_enter(keys)
    calibrator.begin()
    say("   All six servos answer, and are limp.")
    say("2. Put every joint into the middle of its range of motion, then press Enter.")
    _wait_for_enter(keys)
    calibrator.set_middle()
    say("3. Move every joint through its whole range, then press Enter. Leave the wrist's roll")
    say("   alone where it has no stops.")
    shown = 0.0
    while not _entered(keys):
        positions = calibrator.watch()
        if time.monotonic() - shown > 1.0:
            shown = time.monotonic()
            say(_table(calibrator, positions))
        time.sleep(_PERIOD_S)
    return calibrator.finish()


def _table(calibrator: So100Calibrator, positions: dict[str, int]) -> str:
    lines = [f"   {'joint':22}{'lowest':>8}{'now':>8}{'highest':>9}"]
    for joint, (lower, upper) in calibrator.ranges.items():
        lines.append(f"   {joint:22}{lower:>8}{positions.get(joint, '-'):>8}{upper:>9}")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        "evo1 calibrate",
        description="Calibrate an SO-100 or SO-101, follower or leader, into a file in LeRobot's "
        "format.",
        epilog=_EPILOG,
    )
    parser.add_argument("--robot", choices=("so100", "so101"), default="so100")
    parser.add_argument("--port", required=True, help="Serial port, such as /dev/ttyACM0.")
    parser.add_argument("--to", required=True, type=Path, help="File to write (JSON).")
    parser.add_argument("--overwrite", action="store_true", help="Where the file exists already.")
    return parser


@entry_point("calibrate")
def main(argv: Sequence[str] | None = None, keys: TextIO | None = None) -> int:
    """Calibrate; return the exit code."""
    parser = build_parser()
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if arguments.to.exists() and not arguments.overwrite:
        parser.error(f"--to: '{arguments.to}' exists; give --overwrite, or another name")
    bus = FeetechBus(arguments.port)
    try:
        servos = calibrate(bus, keys or sys.stdin, _say, arguments.robot)
    except KeyboardInterrupt:
        tell("calibrate", "given up; calibrate before use")
        return INTERRUPTED
    finally:
        bus.close()
    save_calibration(arguments.to, servos)
    _say(f"Calibration saved to {arguments.to}, and stored in the servos.")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
