"""`ros2 run evo1_training evaluate`: how often a policy does a task in simulation.

What it does is evaluation_steps.py's, imported once there is something to do: --help waits for no
simulator. Must not import ROS or torch.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evo1_policy.cli.reading_options import add_reading_options
from evo1_policy.command_line import Parser, describe, entry_point, tell
from evo1_training.suites.suite import ALL, EPISODES, RENDERINGS, SUITES

# As evo1_sim.tasks.DISTURBANCES and rollouts.Keep have them, which would load MuJoCo.
CONDITIONS = (
    *("none", "distractor", "background"),
    *(f"{way}{far}" for way in ("back", "up") for far in (10, 20, 30)),
)
VIDEOS = ("none", "failures", "all")
_EPILOG = f"""\
examples:
  evo1 evaluate DIR                                    20 trials of the robot's first task
  evo1 evaluate DIR --trials 100 --report out/eval --json out/eval.json
  evo1 evaluate DIR --disturb all                      the table of the paper's disturbances
  evo1 evaluate DIR --task all                         the paper's four tasks, its Figure 4
  evo1 evaluate CAN POUR HAND STACK --task all         the same, a checkpoint for each task
  evo1 evaluate A B C --trials 100                     which is better: compared scene by scene
  evo1 evaluate A0 A1 A2 B0 B1 B2 --recipes            two recipes, three trainings of each
  evo1 evaluate DIR --latency-ms 200 --jitter-ms 100   likewise --camera-lag-ms
  evo1 evaluate hub:user/name --robot so100.yaml --rate 30   somebody's, of another layout
  evo1 evaluate --expert --robot so100                 the scripted expert: the task can be done
  evo1 evaluate --ros --task can_into_box              the system that runs, over its topics
  evo1 evaluate DIR --suite metaworld --tasks easy     a benchmark, by the protocol of the paper
  evo1 evaluate --suite libero_10 --server host:9000   likewise, of a policy that is served

How: each trial resets the scene with a seed of its own and runs the policy through the same loop
as on the robot (splices, limits, stop reasons), in processes side by side. The clock is simulated:
a chunk arrives --latency-ms after its frame however slow this machine is, so on the CPU a seed
gives the same result every time. A trial succeeds when the task's criterion holds (the can inside
the box, released and at rest) before --limit-s.

Seeds: --seed S tries the scenes 1000000 + 10000 S and up; demonstrations use seeds below 1000000.
Every condition of --disturb has the same seeds. With `back..` the target stands so far behind the
area in which demonstrations have it; with `up..` it stands on a block.

conditions: {", ".join(CONDITIONS)}
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    from evo1_policy.control.signals import ExecutionMode, LoopSettings

    parser = Parser(
        "evo1 evaluate",
        description="Count how often a policy does a task in simulation.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("policies", nargs="*", metavar="DIR", help="Checkpoints, or hub:user/name; to compare.")
    add("--checkpoint", action="append", default=[], metavar="DIR", help="The same, by a name.")
    add("--expert", action="store_true", help="The scripted expert in its place.")
    add("--ros", action="store_true", help="The policy node that runs.")
    add("--robot", default="", help="xarm6, so100 or a robot file; else the checkpoint's.")
    add("--task", default="", help="Not given: the robot's first; all: the paper's four.")
    add("--instruction", default="", help="Not given: the task's own words.")
    add("--trials", type=int, default=20, help="Of each condition [20].")
    add("--seed", type=int, default=0, help="Which set of start states [0].")
    add("--disturb", default="none", help="One condition, several with commas, or all.")
    add("--limit-s", type=float, default=30.0, help="Time of a trial [30 s].")
    add("--workers", type=int, default=0, help="Processes; not given: by cores and free memory.")
    add("--device", default="auto", help="auto, cpu or cuda.")
    add("--latency-ms", type=float, default=100.0, help="From frame to chunk [100 ms].")
    add("--jitter-ms", type=float, default=0.0, help="By which each is more or less [0 ms].")
    add("--camera-lag-ms", type=float, default=0.0, help="Age of a picture at its stamp [0 ms].")
    add(
        "--recipes",
        action="store_true",
        help="The first half of the policies are trainings of one recipe, the others of another.",
    )
    add(
        "--execute-actions",
        type=int,
        help="Of each chunk; not given: as the checkpoint says, else half of it.",
    )
    add(
        "--mode",
        choices=[mode.value for mode in ExecutionMode],
        default=ExecutionMode.REPLACE.value,
        help="How chunks follow one another [replace].",
    )
    add(
        "--smoothing-rad",
        type=float,
        default=LoopSettings.smoothing_rad,
        help="How far an action may be moved to take noise out of a chunk that would have to be "
        f"slowed for it; 0: no smoothing [{LoopSettings.smoothing_rad:g}].",
    )
    add("--json", type=Path, metavar="FILE", help="Write every number there.")
    add("--report", type=Path, metavar="DIR", help="Write a page with videos there.")
    add("--videos", choices=VIDEOS, default="failures", help="With --report.")
    add("--namespace", default="", help="Of the arm, with --ros.")
    _add_suite_options(parser)
    add_reading_options(parser)
    return parser


def _add_suite_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("benchmarks (scripts/setup_suites.sh installs them)")
    add = group.add_argument
    add(
        "--suite",
        choices=list(SUITES),
        help="Which; of the options above only those that name "
        "policies, workers, device and files hold then.",
    )
    add("--tasks", default=ALL, help="all, or groups, names or numbers, with commas [all].")
    add("--episodes", type=int, default=EPISODES, help=f"Of each task [{EPISODES}].")
    add("--server", metavar="HOST[:PORT]", help="Asked as the authors' client asks.")
    add(
        "--colour",
        choices=["rgb", "bgr"],
        help="That the policy learned; not given: as its layout says.",
    )
    add(
        "--rendering",
        choices=RENDERINGS,
        default=RENDERINGS[0],
        help="Of Meta-World; light: coarser shadows in a third of the time [full].",
    )


@entry_point("evaluate")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; return the exit code: 0 done, whatever the rate; 1 failed; 2 usage."""
    arguments = build_parser().parse_intermixed_args(argv)
    arguments.policies = [*arguments.checkpoint, *arguments.policies]
    # Before numpy's and torch's threads start, here and in every worker: a core for each process.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from evo1_training.cli.evaluation_steps import USAGE, evaluations_of, finish

    try:
        evaluations = evaluations_of(arguments)
    except USAGE as error:
        tell("evaluate", describe(error))
        return 2
    finish(arguments, evaluations)
    return 0


if __name__ == "__main__":
    sys.exit(main())
