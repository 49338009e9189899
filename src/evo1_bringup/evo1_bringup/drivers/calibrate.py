"""`ros2 run evo1_bringup calibrate_so100`: writes LeRobot's calibration file of an SO-100.

For follower and leader arms alike. Needs no ROS.
"""

import argparse
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from evo1_bringup.drivers.feetech import FeetechBus
from evo1_bringup.drivers.so100_calibrator import So100Calibrator
from evo1_bringup.installation import robot_file
from evo1_policy.command_line import INTERRUPTED, entry_point, tell
from evo1_policy.robot_config import load_robot
from evo1_sim.servo_bus.so100_calibration import (
    CalibrationError,
    ServoCalibration,
    save_calibration,
)

_PERIOD_S = 0.02
_EPILOG = """\
steps:
  1. every servo is found and let go: SUPPORT THE ARM, it goes limp
  2. put every joint into the middle of its range, press Enter
  3. move every joint through its whole range, press Enter; leave the wrist's roll alone where
     it has no stops
  4. offsets and ranges are stored in the servos and in the file, which LeRobot reads too:
     ~/.cache/huggingface/lerobot/calibration/robots/so100_follower/<id>.json

example:
  evo1 calibrate --port /dev/ttyACM0 --to my_arm.json
"""

Say = Callable[[str], None]


class Person:
    """Who presses Enter.

    Args:
        keys: where the presses come from.
    """

    def __init__(self, keys: TextIO) -> None:
        self._keys = keys

    def wait(self) -> None:
        """Until Enter.

        Raises:
            EOFError: nobody is there.
        """
        if not self._keys.readline():
            raise EOFError("nobody presses Enter: the input has ended")

    def pressed(self) -> bool:
        """Whether Enter was pressed.

        Raises:
            EOFError: nobody is there.
        """
        if not select.select([self._keys], [], [], 0)[0]:
            return False
        self.wait()
        return True


def calibrate(bus: FeetechBus, person: Person, say: Say) -> tuple[ServoCalibration, ...]:
    """Lead a person through the steps.

    Raises:
        BusError: a servo is missing or does not answer.
        CalibrationError: the arm was not moved as it must be.
        EOFError: nobody is there.
    """
    calibrator = So100Calibrator(bus, load_robot(robot_file("so100")).joints)
    say("1. Support the arm: its torque goes off. Press Enter.")
    person.wait()
    calibrator.begin()
    say("   All six servos answer, and are limp.")
    say("2. Put every joint into the middle of its range of motion, then press Enter.")
    person.wait()
    calibrator.set_middle()
    say("3. Move every joint through its whole range, then press Enter. Leave the wrist's roll")
    say("   alone where it has no stops.")
    shown = 0.0
    while not person.pressed():
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
    parser = argparse.ArgumentParser(
        prog="ros2 run evo1_bringup calibrate_so100",
        description="Calibrate an SO-100, follower or leader, into a file in LeRobot's format.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
        servos = calibrate(bus, Person(keys or sys.stdin), _say)
    except EOFError as error:
        raise CalibrationError(str(error)) from error
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
