"""Make the small policies that ship with the workspace, from a seed.

    python scripts/make_shipped_policies.py [--only xarm6]

They are not trained on any task: they sway around the home pose.
"""

import argparse
import dataclasses
import shutil
import tempfile
from pathlib import Path

import torch
from shipped_policies import sway, words

from evo1_policy.checkpoint import save_checkpoint
from evo1_policy.model.config import Semantics, preset
from evo1_policy.model.evo1 import Evo1, new_model
from evo1_policy.model.preprocessing import load_tokenizer
from evo1_policy.normalization import NormStats
from evo1_policy.robot_config import RobotConfig, load_robot

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "src" / "evo1_policy" / "checkpoints"


def write(
    target: Path, model: Evo1, stats: NormStats, robot: RobotConfig, tokenizer: Path, card: str
) -> None:
    """Write a checkpoint in place of an old one."""
    output = {id(parameter) for parameter in model.action_head.mlp_head.fc2.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in output:  # whose large terms cancel: rounded, it would tremble
            parameter.data = parameter.data.bfloat16()
    shutil.rmtree(target, ignore_errors=True)
    save_checkpoint(
        target,
        model=model,
        stats=stats,
        robot_text=robot.text,
        tokenizer_dir=tokenizer,
        card=card,
    )
    megabytes = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) / 1e6
    print(f"{target}: {megabytes:.1f} MB")


def make_swaying(name: str, target: Path, tokenizer: Path) -> None:
    """Write an untrained checkpoint."""
    robot = robot_file(name)
    tiny = preset("evo1_tiny")
    semantics: Semantics = dataclasses.replace(tiny.semantics, prediction="sample")
    config = dataclasses.replace(tiny, semantics=semantics)
    model = new_model(config, seed=0)
    error = sway.fit_last_layer(model, robot, load_tokenizer(tokenizer), words.INSTRUCTIONS)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    card = sway.card(robot, config, parameters, error)
    write(target, model, sway.norm_stats(robot), robot, tokenizer, card)


def robot_file(name: str) -> RobotConfig:
    """The workspace's robot file."""
    return load_robot(ROOT / "src" / "evo1_bringup" / "robots" / f"{name}.yaml")


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=("xarm6", "so100"), help="make one of them")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(folder)
        words.train_tokenizer().save(str(tokenizer / "tokenizer.json"), pretty=False)
        for name in ("xarm6", "so100"):
            if options.only in (None, name):
                make_swaying(name, options.out / f"{name}_tiny", tokenizer)


if __name__ == "__main__":
    main()
