"""train: one stage of training, from datasets to a policy. Must not import ROS."""

import argparse
import dataclasses
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo1_policy.command_line import Parser, entry_point

if TYPE_CHECKING:
    from evo1_training.training.run_folder import RunFolder
    from evo1_training.training.train_config import Stage, TrainConfig

DEFAULT_PRESET = "tiny"
_DESCRIPTION = """\
Train Evo-1 on LeRobot datasets (v2.1 or v3.0), in the paper's two stages:

  stage 1   the action expert and its integration learn, the backbone stays as it is
  stage 2   everything learns, from stage 1's weights with a fresh optimiser

The same command goes on where it was cut off. What comes out is in ~/evo1_runs/<name>/stage1 (or
stage2, single): best and last are policies for evaluate and for the launch files.
"""
_EPILOG = """\
presets
  tiny    a few million weights from scratch, in minutes on a CPU (the default)
  paper   InternVL3-1B, 8 GPUs x 16 samples. With fewer GPUs raise the accumulation: the global
          batch of 128 matters (1 GPU: stage1.accumulation=8 stage2.accumulation=8)

choices
  Every choice is a key: they stand below, and --print-config shows them with their values.
  KEY=VALUE replaces one; keys of the stage that is run need no section (steps=500, lr=1e-4).

examples
  # the newest dataset below ~/evo1_datasets, on this computer, in minutes
  evo1 train --stage 1
  evo1 train --stage 2
  # the paper's recipe on 8 GPUs of one machine (DDP), then on two machines
  accelerate launch --multi_gpu --num_processes 8 -m evo1_training.cli.train --stage 1 \\
      --preset paper --backbone InternVL3-1B --dataset can_into_box
  torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST:29500 -m evo1_training.cli.train ...
  # from weights that somebody published for another arm
  evo1 train --stage 1 --from hub:MINT-SJTU/Evo1_SO100 --dataset D \\
      tokenizer=hub:OpenGVLab/InternVL3-1B
  # two datasets, the second one a third as often; adapters instead of a whole backbone
  evo1 train --stage 2 --dataset mine --dataset hub:user/other:0.3 lora=[backbone] lr=1e-4
  # success in simulation every 5,000 steps decides which checkpoint is `best`
  evo1 train --stage 2 rollouts.every=5000 saving.keep_every=10000
  # one stage instead of two, as the paper compares
  evo1 train --single-stage --preset paper --backbone InternVL3-1B
"""


@entry_point("train")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = build_parser().parse_intermixed_args(arguments)
    from evo1_training.training.config_values import plain, to_yaml

    logging.basicConfig(format="train: %(message)s", level=logging.WARNING)
    stage = _stage(options)
    config = choose_config(options, stage)
    if options.print_config:
        print(to_yaml(plain(config)), end="")
        return 0
    # Lazily: torch takes seconds, --help shall not.
    from evo1_training.training.session import train

    finished = train(config, stage, restart=options.restart)
    if finished.summary:
        print(finished.summary)
    return 0


def _stage(options: argparse.Namespace) -> "Stage":
    from evo1_training.training.config_values import TrainConfigError

    if options.single_stage == (options.stage is not None):
        raise TrainConfigError("give either --stage 1, --stage 2 or --single-stage")
    if options.single_stage:
        return "single"
    return "stage1" if options.stage == 1 else "stage2"


def choose_config(options: argparse.Namespace, stage: "Stage") -> "TrainConfig":
    """The choices of a command line: preset or earlier stage, then file, then its own keys.

    Raises:
        TrainConfigError: a key or value is wrong, or there is no stage 1 to go on from.
    """
    from evo1_training.training.presets import preset
    from evo1_training.training.run_folder import find_stage1
    from evo1_training.training.train_config import config_from

    base = preset(options.preset or DEFAULT_PRESET)
    asked = config_from(base, file=options.config, overrides=_overrides(options), stage=stage)
    if asked.start_from:
        base = _base_of_start(asked, options)
        asked = config_from(base, file=options.config, overrides=_overrides(options), stage=stage)
    named = bool(options.name) or asked.name != base.name
    if stage == "stage2" and not asked.start_from:
        runs = Path(asked.runs).expanduser()
        run = find_stage1(runs, asked.name if named else "")
        first = run.config()
        base = first
        if options.preset:
            base = dataclasses.replace(preset(options.preset), **_inherited(first))
        config = config_from(base, file=options.config, overrides=_overrides(options), stage=stage)
        start = _begun_from(run, options) or str(run.path / "last")  # the paper's final weights
        return dataclasses.replace(config, name=first.name, start_from=start)
    if named or options.print_config:
        return asked
    return dataclasses.replace(asked, name=_name_of_data(asked))


def _begun_from(first: "RunFolder", options: argparse.Namespace) -> str:
    """What a stage 2 beside this stage 1 began from; empty where there is none to go on with."""
    from evo1_training.training.run_folder import CONFIG, RunFolder

    second = RunFolder(first.path.with_name("stage2"))
    if options.restart or not (second.path / CONFIG).is_file():
        return ""
    return second.config().start_from


def _base_of_start(asked: "TrainConfig", options: argparse.Namespace) -> "TrainConfig":
    """The preset with the checkpoint's architecture; the paper's for a published model."""
    from evo1_training.training.presets import preset
    from evo1_training.training.starting_point import followed_architecture  # lazily: torch

    base = preset(options.preset or DEFAULT_PRESET)
    model = followed_architecture(base.model, asked.start_from)
    if not options.preset and model.vision.stem == "patch":
        base = preset("paper")
        model = followed_architecture(base.model, asked.start_from)
    return dataclasses.replace(base, model=model)


def _inherited(first: "TrainConfig") -> dict[str, Any]:
    """What stage 2 takes from stage 1 whichever preset it has."""
    names = ["name", "data", "normalization", "model", "backbone", "tokenizer", "seed"]
    names += ["action_space", "absolute_grippers"]
    return {name: getattr(first, name) for name in names}


def _name_of_data(config: "TrainConfig") -> str:
    from evo1_training.datasets.reader.adoption import dataset_name
    from evo1_training.training.data_selection import dataset_weights

    if config.data.groups:
        return Path(config.data.groups).stem
    return dataset_name(next(iter(dataset_weights(config.data))))


def _overrides(options: argparse.Namespace) -> list[str]:
    """Options and KEY=VALUE as one list; the latter have the last word."""
    given = {
        "name": options.name,
        "runs": options.runs,
        "start_from": getattr(options, "from"),
        "backbone": options.backbone,
        "data.robot": options.robot,
        "data.interface": options.interface,
        "data.groups": options.groups,
        "data.phrasings": options.phrasings,
        "normalization.stats": options.norm_stats,
    }
    texts = [f"{key}={value}" for key, value in given.items() if value]
    if options.dataset:
        texts.append(f"data.datasets=[{', '.join(map(repr, options.dataset))}]")
    if options.wandb:
        texts.append("watching.wandb=true")
    return [*texts, *options.choices]


def _keys() -> str:
    """Every key, its default in the authors' form, and what it means."""
    from evo1_training.training.config_values import described
    from evo1_training.training.run_folder import STAGES
    from evo1_training.training.train_config import StageConfig, TrainConfig

    lines = [
        "",
        "keys, with their values where no preset says otherwise; the first are each stage's",
    ]
    for key, default, about in (*described(StageConfig), *described(TrainConfig)):
        if not key.startswith(STAGES):
            text = f"{key} [{default!r}]: {about}"
            lines += textwrap.wrap(text, 98, initial_indent="  ", subsequent_indent="      ")
    return "\n".join([*lines, "  model.*: sizes and semantics of the model", ""])


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    from evo1_training.training.presets import PRESETS

    parser = Parser(
        "evo1 train",
        description=_DESCRIPTION,
        epilog=_EPILOG + _keys(),
    )
    add = parser.add_argument
    add("choices", metavar="KEY=VALUE", nargs="*", help="replace a choice, such as lr=1e-4")
    add("--stage", type=int, choices=(1, 2), help="which of the two stages")
    add("--single-stage", action="store_true", help="everything at once, without stages")
    add("--preset", choices=tuple(PRESETS), help=f"choices to begin with ({DEFAULT_PRESET})")
    add("--config", type=Path, metavar="FILE", help="YAML with any of the keys")
    add(
        "--dataset",
        action="append",
        metavar="DIR",
        help="or hub:user/name; may be repeated; DIR:0.3 shows its frames 0.3 times an epoch",
    )
    add("--phrasings", metavar="FILE", help="other words for tasks: {task: [words, words]}")
    add("--groups", metavar="FILE", help="the authors' dataset file, instead of --dataset")
    add("--robot", metavar="FILE", help="robot file, for datasets that carry none")
    add("--interface", metavar="NAME", help="of a benchmark's datasets: metaworld, libero, a file")
    add("--name", help="of the run; default: the dataset's folder name")
    add("--runs", metavar="DIR", help="folder of all runs (~/evo1_runs)")
    add(
        "--from",
        metavar="DIR",
        help="checkpoint to start from, in any layout and for any robot, also hub:user/name: its "
        "architecture is followed; stage 2 finds stage 1's itself",
    )
    add("--backbone", metavar="DIR", help="InternVL3-1B's folder, which the paper starts from")
    add(
        "--norm-stats",
        metavar="FILE",
        help="norm stats to use: a file, or 'compute' (default: the checkpoint's, else computed)",
    )
    add("--restart", action="store_true", help="set an earlier run of this name aside")
    add("--wandb", action="store_true", help="also send the numbers to Weights & Biases")
    add("--print-config", action="store_true", help="print every key with its value, and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
