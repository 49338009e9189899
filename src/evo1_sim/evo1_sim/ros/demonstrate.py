"""`ros2 run evo1_sim demonstrate`: a scripted expert records demonstrations like a person would.

For each seed: reset the running simulation, plan in a world of its own, record, move the arm over
the teleop topic, save what succeeded and discard what failed.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rclpy
from rclpy.utilities import remove_ros_args
from tqdm import tqdm

from evo1_policy.command_line import INTERRUPTED, Parser, entry_point, tell
from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.ros.starting import start_ros
from evo1_sim.experts import ExpertError
from evo1_sim.rehearsals import MAX_SEED, Demonstration, plan_rehearsal
from evo1_sim.ros.demonstration_cell import CellError, DemonstrationCell, HeldError, Simulation
from evo1_sim.world import World

PERIOD_S = 1 / 30
OFFSETS_S = (1 / 30, 2 / 30, 3 / 30)  # how far each message looks ahead
LEAD_IN_S = 0.4  # at rest before and after, so that a take shows both
LEAD_OUT_S = 0.6
SETTLE_S = 3.0  # for the task's check to come true afterwards, and to hold as long as it must
REST_S = 0.7  # silence after which the relay begins anew
MAX_FAILURES = 10  # in a row

_EPILOG = """\
first start, in another terminal:
  evo1 launch xarm6 teleop:=true record:=true

examples:
  evo1 demonstrate --robot xarm6 --task can_into_box --episodes 20 --seed 0
  evo1 demonstrate --robot so100 --episodes 5 --no-record

Seeds count up from --seed: attempt k starts the scene of seed + k. A failed attempt is discarded
and the next seed is tried, until enough demonstrations succeeded.
"""


@dataclass
class Tally:
    """How it went so far."""

    succeeded: int = 0
    failed: int = 0
    in_a_row: int = 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        "evo1 demonstrate",
        description="Let a scripted expert demonstrate a task in the running simulation.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--robot",
        choices=("xarm6", "so100", "so101"),
        default="",
        help="Not given: the one that runs.",
    )
    parser.add_argument("--task", default="", help="Not given: the one that runs.")
    parser.add_argument("--episodes", type=int, default=1, help="How many shall succeed.")
    parser.add_argument("--seed", type=int, default=0, help="Start state of the first attempt.")
    parser.add_argument(
        "--keep-failed", action="store_true", help="Save failed attempts too, not counting them."
    )
    parser.add_argument("--no-record", action="store_true", help="Move, but record nothing.")
    parser.add_argument("--namespace", default="", help="Of the arm.")
    parser.add_argument(
        "--timeout", type=float, default=15.0, help="Seconds to wait for a part of the system."
    )
    return parser


class Demonstrator:
    """Makes attempts until enough succeeded.

    Args:
        cell: connected.
        simulation: what runs.
        task: its name.
        record: whether the recorder is steered.
        keep_failed: whether failed attempts are saved.
    """

    def __init__(
        self,
        cell: DemonstrationCell,
        simulation: Simulation,
        *,
        task: str,
        record: bool,
        keep_failed: bool,
    ) -> None:
        self._cell = cell
        self._task = task
        self._record = record
        self._keep_failed = keep_failed
        self._recording = False
        self._world = World(simulation.arm, task=task)

    def attempt(self, seed: int) -> str:
        """Make one attempt; return why it failed, '' where it succeeded.

        Raises:
            CellError: the system does not do its part.
            WorldError: no such task.
        """
        cell = self._cell
        try:
            demonstration = plan_rehearsal(
                self._world, self._task, seed, rough=False
            ).demonstration
        except ExpertError as error:
            return str(error)
        cell.spin_for(REST_S)  # the arm is at rest and the relay has seen the end
        cell.reset(self._task, seed)
        cell.resume()
        self._check_start(demonstration)
        if self._record:
            cell.record(demonstration.instruction)
            self._recording = True
        try:
            self._move(demonstration)
            detail = self._judge()
        except HeldError as error:
            detail = str(error)
        self._finish(keep=not detail or self._keep_failed)
        return detail

    def abandon(self) -> None:
        """Discard a take that still runs."""
        if self._recording:
            self._finish(keep=False)

    def _check_start(self, demonstration: Demonstration) -> None:
        """Wait until the arm stands where the demonstration starts."""
        cell, names = self._cell, demonstration.joint_names
        problem = "no joint states arrive"

        def stands() -> bool:
            nonlocal problem
            measured = cell.measured(names)
            if measured is not None:
                problem = demonstration.start_problem(measured)
                return not problem
            return False

        cell.forget_joints()
        cell.wait(stands, "start state", lambda: f": {problem}")

    def _move(self, demonstration: Demonstration) -> None:
        """Publish the demonstration at 30 Hz, with rest before and after."""
        cell = self._cell
        start_ns = cell.now_ns() + round(LEAD_IN_S * 1e9)
        end_ns = start_ns + round((demonstration.duration_s + LEAD_OUT_S) * 1e9)
        due_ns = cell.now_ns()
        while (now_ns := cell.now_ns()) < end_ns:
            times_s = (now_ns - start_ns) / 1e9 + np.array(OFFSETS_S)
            cell.send(
                TeleopTarget(
                    joint_names=demonstration.joint_names,
                    stamp_ns=now_ns,
                    offsets_ns=tuple(round(offset * 1e9) for offset in OFFSETS_S),
                    positions=demonstration.sample(times_s),
                )
            )
            due_ns = max(due_ns + round(PERIOD_S * 1e9), now_ns)
            cell.spin_for((due_ns - cell.now_ns()) / 1e9)

    def _judge(self) -> str:
        """Wait a little for success; return what is missing."""
        for _ in range(round(SETTLE_S / 0.1)):
            success, detail = self._cell.solved()
            if success:
                return ""
            self._cell.spin_for(0.1)
        return detail or "not solved"

    def _finish(self, *, keep: bool) -> None:
        if self._recording:
            self._recording = False
            self._cell.ask_recorder("save" if keep else "discard")


def demonstrate(demonstrator: Demonstrator, *, episodes: int, seed: int) -> Tally:
    """Attempt until `episodes` succeeded, with a progress bar.

    Raises:
        CellError: the system does not do its part, or too many attempts failed in a row.
    """
    tally = Tally()
    with tqdm(total=episodes, unit="episode", file=sys.stderr) as bar:
        while tally.succeeded < episodes:
            detail = demonstrator.attempt(seed)
            if detail:
                tally.failed += 1
                tally.in_a_row += 1
                bar.write(f"seed {seed} failed: {detail}", file=sys.stderr)
            else:
                tally.succeeded += 1
                tally.in_a_row = 0
                bar.update()
            bar.set_postfix(seed=seed, succeeded=tally.succeeded, failed=tally.failed)
            if tally.in_a_row >= MAX_FAILURES:
                raise CellError(
                    f"{MAX_FAILURES} attempts in a row failed, the last one with: {detail}"
                )
            seed += 1
    return tally


def run(arguments: argparse.Namespace) -> Tally:
    """Connect and demonstrate.

    Raises:
        CellError: the system does not do its part.
        WorldError: no such task.
        RobotConfigError: the simulation's robot file cannot be read here.
    """
    cell = DemonstrationCell(
        namespace=arguments.namespace, robot=arguments.robot, timeout_s=arguments.timeout
    )
    demonstrator = None
    try:
        simulation = cell.connect()
        demonstrator = Demonstrator(
            cell,
            simulation,
            task=arguments.task or simulation.task,
            record=not arguments.no_record,
            keep_failed=arguments.keep_failed,
        )
        return demonstrate(demonstrator, episodes=arguments.episodes, seed=arguments.seed)
    finally:
        try:
            if demonstrator is not None:
                demonstrator.abandon()
        finally:
            cell.close()


@entry_point("demonstrate")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    arguments = parser.parse_args(remove_ros_args(["demonstrate", *words])[1:])
    if arguments.episodes < 1 or not 0 <= arguments.seed <= MAX_SEED:
        parser.error(
            f"--episodes must be 1 or more, --seed 0 to {MAX_SEED}: later ones are evaluated on"
        )
    # Ctrl-C stays Python's: a running take is discarded before the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    start_ros(words)
    try:
        tally = run(arguments)
    except KeyboardInterrupt:
        tell("demonstrate", "interrupted; the running take was discarded")
        return INTERRUPTED
    finally:
        rclpy.try_shutdown()
    shown = "demonstration" if tally.succeeded == 1 else "demonstrations"
    verb = "shown" if arguments.no_record else "saved"
    print(f"{tally.succeeded} {shown} {verb}, {tally.failed} attempts failed")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
