"""replay: a recorded bag through the policy again, chunk by chunk. Must not import ROS."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.cli.reading_options import add_reading_options, reading
from evo1_policy.command_line import Parser, entry_point, positive
from evo1_policy.replay import TOLERANCE_RAD

if TYPE_CHECKING:
    from evo1_policy.replay.replaying import Policy, PolicyLoader, Report
    from evo1_policy.robot_config import RobotConfig

_DESCRIPTION = """\
Make the chunks of a recorded bag again, and compare them with those that were recorded.

For each chunk on policy/action_chunk the frames and joint states that it was made from are found
in the bag by the live node's own decoding and alignment; the policy infers from them with the
recorded noise, number of steps and (mode rtc) frozen beginning; what it proposes, before any
limit, is compared with what was proposed then. No ROS and no clock take part: the same bag gives
the same answer as often as you like. So what went wrong in the field becomes a test.
"""
_EPILOG = """\
to record one
  evo1 launch xarm6 record:=true         then evo1 record; the chunks are in every take
  ros2 bag record /policy/action_chunk /joint_states CAMERA_TOPICS ...     needs --robot here

exit status
  0   every chunk that could be made again is within the tolerance, or another model was compared
  1   a chunk differs, or none could be made again
  2   the bag cannot be replayed: no chunks, a camera is missing, another robot or model

columns
  equal, differs, -   within the tolerance; beyond it; cannot be made again, and why
  joints              largest difference over the chunk's actions [rad]
  first difference    the first action beyond the tolerance, after what time, and its joint

reading it
  equal chunks, and yet the arm did something odd: the cause is what it saw, or what came after
  (limits, seam; the chunk's `commanded` and `seam` tell). Chunks that differ with the same model:
  other code, other libraries or another device than recorded. On another kind of machine or
  device the last digits differ; --tolerance 1e-2 is sensible between CPU and GPU.

examples
  # is what the policy decided there what this code decides?
  evo1 replay ~/evo1_episodes/episode_000012
  # what would another checkpoint have done?
  evo1 replay ~/evo1_episodes/episode_000012 --checkpoint runs/can/stage2/best --plot other.png
  # a bag of ros2 bag record, for a script
  evo1 replay field.mcap --robot robots/so100.yaml --json replay.json
"""


@entry_point("replay", failed=2)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    from tqdm import tqdm

    from evo1_policy.replay.replaying import replay
    from evo1_policy.replay.report import summary, table

    with tqdm(desc="replay", unit="chunk", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        report = replay(
            options.bag,
            _loader(options),
            robot_file=options.robot,
            chunk_topic=options.chunks,
            other_model=options.checkpoint is not None,
            seed=options.seed,
            tolerance_rad=options.tolerance,
            progress=progress,
        )
    print(f"{table(report)}\n\n{summary(report)}")
    _write(report, options)
    return 0 if report.passed or (report.compared and not report.is_test) else 1


def _write(report: "Report", options: argparse.Namespace) -> None:
    from evo1_policy.replay.report import as_json

    if options.json:
        options.json.write_text(json.dumps(as_json(report), indent=1) + "\n")
        print(f"json: {options.json}")
    if options.plot:
        from evo1_policy.replay.report import plot_replay  # matplotlib: a second to import

        plot_replay(report, options.plot)
        print(f"plot: {options.plot}")


def _loader(options: argparse.Namespace) -> "PolicyLoader":
    def load(robot: "RobotConfig", seed: int, steps: int) -> "Policy":
        # Lazily: torch takes seconds, --help shall not.
        from evo1_policy.checkpoint import shipped_checkpoint
        from evo1_policy.policy import Policy as Evo1Policy

        return Evo1Policy.load(
            options.checkpoint or shipped_checkpoint(robot.embodiment),
            robot=robot,
            device=options.device,
            seed=seed,
            num_steps=steps or None,
            rate_hz=robot.rate_hz,  # what was recorded is repeated as it was
            **reading(options),
        )

    return load


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evo1 replay",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("bag", metavar="BAG", type=Path, help="folder of the bag, or its .mcap or .db3 file")
    add(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="default: the one that ships for the robot; another than recorded makes this a "
        "comparison, not a test",
    )
    add("--robot", type=Path, metavar="FILE", help="robot file; default: the one in the bag")
    add("--device", default="auto", help="auto (default), cpu, cuda or cuda:1; best as recorded")
    add(
        "--tolerance",
        type=positive,
        default=TOLERANCE_RAD,
        metavar="RAD",
        help=f"what counts as equal (default: {TOLERANCE_RAD:g} rad)",
    )
    add("--json", type=Path, metavar="FILE", help="everything, for a script")
    add("--plot", type=Path, metavar="PNG", help="recorded and replayed joints over time")
    add("--chunks", default="", metavar="TOPIC", help="of the policy, where the bag has several")
    add("--seed", type=int, help="of the noise instead of the recorded one, or where none is told")
    add_reading_options(parser, rate=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
