"""convert_checkpoint: bring an Evo-1 checkpoint from one layout into another.

Must not import ROS.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evo1_policy.cli.reading_options import add_reading_options, reading
from evo1_policy.command_line import Parser, entry_point

_DESCRIPTION = """\
Convert an Evo-1 checkpoint. IN is a folder in one of these layouts, told by its files:

  own        config.json, model.safetensors, norm_stats.json, tokenizer/, and robot.yaml (of a
             benchmark interface.yaml)
  official   the authors': mp_rank_00_model_states.pt (DeepSpeed) or checkpoint.pt (evo1-flash),
             with config.json (or model_config.json) and norm_stats.json
  lerobot    LeRobot's pretrained_model: config.json (type evo1), model.safetensors,
             policy_preprocessor.json and policy_postprocessor.json with their statistics

No tensor changes on the way, unless --dtype asks for it. Nothing in a checkpoint is executed.
"""
_EPILOG = """\
semantics
  The same weights give other actions under other rules: time index, padding of the state,
  whether the head sees padding, clamping, image arithmetic. The layout tells which rules hold:
    authors_main   mp_rank_00_model_states.pt
    evo1_flash     checkpoint.pt, or norm stats with datasets below the arm
    lerobot        LeRobot's folder
  Give --semantics where that is wrong: a LeRobot folder that was converted from the authors'
  weights needs --semantics authors_main.

examples
  # the authors' checkpoint, for our policy node
  evo1 convert-checkpoint Evo1_SO100 so100_policy --to own --robot robots/so100.yaml \\
      --rate 30 --embodiment so100 --units robots/units/so100_lerobot.yaml --tokenizer InternVL3-1B
  # one arm of many
  evo1 convert-checkpoint step_20000 out --to own --robot robots/xarm6.yaml \\
      --rate 30 --embodiment xarm6/pick_can --tokenizer InternVL3-1B
  # the published Meta-World weights, for evaluate --suite
  evo1 convert-checkpoint Evo1_MetaWorld metaworld_policy --to own --interface metaworld \\
      --tokenizer InternVL3-1B
  # our policy, for LeRobot
  evo1 convert-checkpoint my_policy my_policy_lerobot --to lerobot
"""


@entry_point("convert_checkpoint")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    # Lazily: torch takes seconds, --help shall not.
    from evo1_policy.conversion import convert_checkpoint

    said = convert_checkpoint(
        options.source,
        options.out,
        options.to,
        robot=options.robot,
        interface=options.interface,
        dtype=options.dtype,
        **reading(options),
    )
    print("\n".join(said))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evo1 convert-checkpoint",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("source", metavar="IN", type=Path, help="folder to read")
    add("out", metavar="OUT", type=Path, help="folder to write; must not exist")
    add("--to", required=True, choices=("own", "official", "lerobot"), help="layout of OUT")
    add(
        "--robot",
        type=Path,
        metavar="FILE",
        help="robot file; needed where IN has no robot.yaml (official and LeRobot folders)",
    )
    add(
        "--interface",
        metavar="NAME",
        help="in place of --robot where it was trained for a benchmark: metaworld, libero, a file",
    )
    add(
        "--dtype",
        default="keep",
        choices=("keep", "float32", "bfloat16"),
        help="of the weights in OUT (default: as in IN); sinusoid tables keep theirs",
    )
    add_reading_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
