"""`promote`: let a policy be the current one, if it is better than that. Must not import ROS."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.command_line import Parser, entry_point, tell
from evo1_policy.paths import point_link

if TYPE_CHECKING:
    from evo1_training.evaluation.outcomes import Evaluation

CURRENT = Path("~/evo1_runs/current")
REFUSED = 3
_DESCRIPTION = """\
Let a link show the policy that runs from now on, but only one that is better than the one that it
shows: by McNemar's exact test, one-sided, over the scenes of a paired evaluation (`evaluate OLD
NEW --json FILE`, or `trials report --json FILE`). A launch takes the link, as any folder:
checkpoint:=~/evo1_runs/current
example: evo1 promote out/new --evaluation out/both.json
"""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the scenes say: solved by the new one alone, by the current one alone, and p."""

    won: int
    lost: int
    p_value: float
    lines: tuple[str, ...]


def judge(evaluations: "Sequence[Evaluation]", current: Path, new: Path) -> Verdict:
    """Hold two policies of an evaluation against each other, over all of its conditions.

    Args:
        evaluations: of a paired evaluation.
        current: folder of the policy that runs.
        new: of the other one.

    Raises:
        EvaluationError: one of them was not tried, or on other scenes.
    """
    from evo1_training.evaluation.comparison import better_p, compare, comparison_lines

    found = [_of(evaluations, policy) for policy in (current, new)]
    compared = compare(*found)
    won, lost = sum(c.only_second for c in compared), sum(c.only_first for c in compared)
    lines = tuple(comparison_lines(compared))
    return Verdict(won=won, lost=lost, p_value=better_p(won, lost), lines=lines)


def _of(evaluations: "Sequence[Evaluation]", policy: Path) -> "Evaluation":
    from evo1_training.evaluation.outcomes import EvaluationError

    known = {str(e.facts["policy"]): e for e in evaluations}
    for name, evaluation in known.items():
        if Path(name).expanduser().resolve() == policy.resolve():
            return evaluation
    raise EvaluationError(
        f"{policy}: was not tried there, but {', '.join(known)}; evaluate both, on the same scenes"
    )


@entry_point("promote")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 3 where the policy is not better."""
    options = _parser().parse_args(arguments)
    from evo1_policy.robot_config import load_robot
    from evo1_training.evaluation.outcomes import EvaluationError
    from evo1_training.evaluation.report import read_evaluations
    from evo1_training.next_commands import launch_command

    link, new = options.current.expanduser(), options.policy.expanduser().resolve()
    if not 0.5 <= options.confidence < 1.0:
        tell("promote", f"--confidence {options.confidence:g}: expected 0.5 or more, below 1")
        return 2
    if not (new / "config.json").is_file():
        raise EvaluationError(f"{new}: no checkpoint")
    if link.exists() and not link.is_symlink():
        raise EvaluationError(f"{link}: is no link; name another with --current")
    verdict = None
    if link.is_symlink():
        if options.evaluation is None:
            raise EvaluationError(
                f"{link} shows {link.resolve()}; show by --evaluation FILE that this is better"
            )
        verdict = judge(read_evaluations(options.evaluation), link.resolve(), new)
        print("\n".join(verdict.lines))
        if verdict.p_value > 1.0 - options.confidence:
            tell(
                "promote",
                f"refused: not better at {options.confidence:.0%} (p {verdict.p_value:.3f}); more "
                f"trials may tell; {link} stays",
            )
            return REFUSED
    link.parent.mkdir(parents=True, exist_ok=True)
    told = {"policy": str(new), "verdict": verdict and asdict(verdict)}
    with link.with_name(f"{link.name}.jsonl").open("a") as journal:
        journal.write(json.dumps(told) + "\n")
    point_link(link, new)
    print(f"{link} shows {new}")
    if (robot_file := new / "robot.yaml").is_file():
        print("next:", launch_command(load_robot(robot_file), link))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("evo1 promote", description=_DESCRIPTION)
    add = parser.add_argument
    add("policy", type=Path, metavar="DIR", help="the policy")
    add("--evaluation", type=Path, metavar="FILE", help="of the current one and this one")
    add("--confidence", type=float, default=0.95, help="that it is better [0.95]")
    add("--current", type=Path, default=CURRENT, metavar="LINK", help=f"[{CURRENT}]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
