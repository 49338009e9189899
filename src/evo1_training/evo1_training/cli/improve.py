"""`improve`: rounds of correction that make a policy better. Must not import ROS.

What it does is improvement_steps.py's, imported once there is something to do.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evo1_policy.command_line import Parser, entry_point
from evo1_training.cli.evaluate import CONDITIONS

_FIRST_SEED = 500_000  # of scenes to correct in; demonstrations begin at 0
_DESCRIPTION = """\
Make a policy better by corrections, in rounds. In each one

  1. the policy drives in simulation; the scripted expert plays the person beside it: it takes over
     where the state leaves what it would have reached, and hands back,
  2. what was corrected and what led to it is kept as a dataset (`evo1.intervention`),
  3. training goes on from the policy with old and new data mixed,
  4. both are tried on the same scenes, and the one that solved more is kept.

Whatever stops it: the same command goes on. The page is index.html in --out.
"""
_EPILOG = """\
when the person takes over
  tool and thing together are more than 6 cm from the expert's own course for 0.3 s (astray), the
  policy gets no further along it for 4 s (stuck), or the arm was stopped for good. It hands back
  when it has lifted the thing, or solves the task where the policy held it already.

examples
  evo1 improve --checkpoint DIR --task can_into_box --dataset ~/evo1_datasets/can
  evo1 improve --checkpoint DIR --task can_into_box --condition background --rounds 3
  evo1 improve ... --demonstrations    as many full demonstrations in place of corrections
  evo1 improve --ros --checkpoint DIR --task can_into_box   on an arm: asks at each trial
  evo1 improve ... steps=1200 lr=1e-4  choices of the training; see evo1 train --help
"""


@entry_point("improve")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_intermixed_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch come
    from evo1_training.cli.improvement_steps import run_rounds

    return run_rounds(options)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("evo1 improve", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("choices", metavar="KEY=VALUE", nargs="*", help="of the training, such as steps=1200")
    add("--checkpoint", required=True, metavar="DIR", help="the policy to begin with")
    add("--task", default="", help="not given: the robot's first")
    add("--condition", default="none", choices=CONDITIONS, help="of the scene [none]")
    add("--rounds", type=int, default=3, metavar="N", help="[3]; more later go on")
    add("--corrections", type=int, default=20, metavar="N", help="of a round [20]")
    add("--demonstrations", action="store_true", help="full ones in place of corrections")
    add("--own", action="store_true", help="keep trials that the policy solves alone, too")
    add("--dataset", action="append", default=[], metavar="DIR", help="what it learned from; "
        "not given: as its run says")  # fmt: skip
    add("--share", type=float, default=0.5, help="of an epoch that the corrections have [0.5]")
    add("--trials", type=int, default=50, help="selection scenes, none that evaluate tries [50]")
    add("--seed", type=int, default=_FIRST_SEED, help="of the first scene to correct in")
    add("--out", type=Path, default=Path("evo1_improved"), metavar="DIR", help="all of it")
    add("--latency-ms", type=float, default=100.0, help="from frame to chunk [100 ms]")
    add("--device", default="auto", help="of the trials: auto, cpu or cuda")
    add("--workers", type=int, default=0, help="processes; not given: by cores and free memory")
    live = parser.add_argument_group("on an arm, with a person beside it")
    add = live.add_argument
    add("--ros", action="store_true", help="the system that runs; --corrections are trials then")
    add("--instruction", default="", help="what the policy is told; not given: the task's words")
    add("--limit-s", type=float, default=60.0, help="time of a trial [60 s]")
    add("--episodes", type=Path, default=Path("~/evo1_episodes"), help="the recorder's folder")
    add("--namespace", default="", help="of the arm")
    return parser


if __name__ == "__main__":
    sys.exit(main())
