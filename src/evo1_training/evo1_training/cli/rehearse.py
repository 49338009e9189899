"""`rehearse`: scripted demonstrations in simulated time, as episodes of the recorder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evo1_policy.command_line import INTERRUPTED, Parser, entry_point, tell

_DESCRIPTION = """\
Let the scripted expert demonstrate a task in simulated time and record it: the same episodes as
`demonstrate` gives through a running system, several times faster than real time.

Half of the takes begin from an arm that was pushed aside, and in most of the others the arm sways
around what the expert asks for, so that the policy sees how to recover; --plain leaves both out.
--vary also changes the scene by seed, and writes into each episode what it changed.
Failed attempts are discarded, and the next seed is tried. Several processes share the seeds: the
same command with the same --workers records the same episodes.
"""

_EPILOG = """\
examples
  evo1 rehearse --suite metaworld --tasks reach,easy --root ~/evo1_datasets/easy
  evo1 rehearse --robot xarm6 --episodes 200 --root ~/evo1_episodes
  evo1 rehearse --task all --episodes 100 --root ~/four   the paper's four
  evo1 convert ~/evo1_episodes --to ~/evo1_datasets/can
"""


@entry_point("rehearse")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    from tqdm import tqdm

    from evo1_policy.robot_config import load_robot
    from evo1_sim.rehearsals import MAX_SEED
    from evo1_sim.tasks import all_tasks
    from evo1_training.next_commands import command
    from evo1_training.recording.rehearsal import Rehearsal, rehearse

    if min(options.episodes, options.workers) < 1 or not 0 <= options.seed <= MAX_SEED:
        print(
            "rehearse: --episodes and --workers must be 1 or more, "
            f"--seed 0 to {MAX_SEED}: later ones are evaluated on",
            file=sys.stderr,
        )
        return 2
    if options.vary and options.suite:
        tell("rehearse", "--vary: of our own scenes, not of a suite's")
        return 2
    try:
        if options.suite:
            return _of_suite(options)
        from evo1_training.datasets.reader.adoption import robot_file  # late: pyarrow is slow

        file = robot_file(options.robot)
        root = (options.root or Path("~/evo1_episodes")).expanduser()
        tasks = options.task or [""]
        if "all" in tasks:
            tasks = all_tasks(load_robot(file).name)
        total, failed = options.episodes * len(tasks), 0
        with tqdm(total=total, unit="episode", file=sys.stderr) as bar:
            for task in tasks:
                rehearsal = Rehearsal(
                    robot_file=file,
                    task=task,
                    root=root,
                    episodes=options.episodes,
                    seed=options.seed,
                    rough=not options.plain,
                    varied=options.vary,
                    width=options.width,
                    height=options.height,
                )
                workers = min(options.workers, options.episodes)
                failed += rehearse(rehearsal, workers, bar.update)
    except KeyboardInterrupt:
        tell("rehearse", "interrupted; finished episodes stay")
        return INTERRUPTED
    print(f"{total} demonstrations saved in {root}, {failed} attempts failed")
    dataset = f"~/evo1_datasets/{'_'.join(options.task) or 'demonstrations'}"
    print("next: ", command("convert", root, "--to", dataset))
    return 0


def _of_suite(options: argparse.Namespace) -> int:
    """Demonstrate a benchmark's tasks straight into a dataset."""
    from tqdm import tqdm

    from evo1_training.suites import rehearsal as suites  # late: pyarrow is slow
    from evo1_training.suites.suite import SUITES, chosen, tasks_of

    root = (options.root or Path("~/evo1_datasets") / options.suite).expanduser()
    if (
        options.episodes > suites.MOST_EPISODES
        or options.side % 2
        or not 32 <= options.side <= 448
    ):
        tell("rehearse", f"--episodes: at most {suites.MOST_EPISODES}; --side: even, 32 to 448")
        return 2
    asked = suites.SuiteRehearsal(
        root=root,
        tasks=chosen(tasks_of(SUITES[options.suite]), options.tasks),
        episodes=options.episodes,
        seed=options.seed,
        rough=not options.plain,
        side=options.side,
        rendering=options.rendering,
    )
    total = len(asked.tasks) * asked.episodes
    with tqdm(total=total, unit="episode", file=sys.stderr) as bar:
        failed = suites.rehearse(asked, min(options.workers, total), bar.update)
    print(f"{total} demonstrations in the dataset {root}, {failed} attempts failed")
    return 0


def _parser() -> argparse.ArgumentParser:
    from evo1_sim.scene import IMAGE_HEIGHT, IMAGE_WIDTH
    from evo1_training.datasets.worker_pool import available_cores
    from evo1_training.suites.suite import ALL, RENDERINGS

    parser = Parser(
        "evo1 rehearse",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--robot", default="xarm6", help="xarm6 (default), so100, or a robot file")
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME",
        help="not given: the arm's first; again for several; all: the paper's four",
    )
    parser.add_argument(
        "--episodes", type=int, default=50, metavar="N", help="of each task (default: 50)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first attempt")
    parser.add_argument(
        "--root", type=Path, metavar="FOLDER", help="default: ~/evo1_episodes, or the dataset"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=available_cores(),
        metavar="N",
        help="processes, about 0.5 GB each (default: one for each core, %(default)s here)",
    )
    parser.add_argument("--plain", action="store_true", help="no pushes, no sway")
    parser.add_argument(
        "--vary",
        action="store_true",
        help="by seed: table, walls, light, cameras by a few mm, colours that the words leave "
        "open, things beside the path, heights, friction; never what evaluations hold out",
    )
    suites = parser.add_argument_group("benchmarks (scripts/setup_suites.sh installs them)")
    suites.add_argument(
        "--suite", choices=["metaworld"], help="its scripts, as a dataset; --episodes of each task"
    )
    suites.add_argument("--tasks", default=ALL, help="all, or groups, names or numbers, by commas")
    suites.add_argument("--side", type=int, default=128, help="of its square pictures [128 px]")
    suites.add_argument(
        "--rendering", choices=RENDERINGS, default="light", help="full: as in evaluations [light]"
    )
    parser.add_argument("--width", type=int, default=IMAGE_WIDTH, help="of the images [px]")
    parser.add_argument("--height", type=int, default=IMAGE_HEIGHT, help="of the images [px]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
