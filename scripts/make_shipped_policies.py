"""Make the small policies that ship with the workspace, from a seed.

    python scripts/make_shipped_policies.py [--only xarm6] [--train --minutes 25]

They are not trained on any task: they sway around the home pose. With --train the xArm6's is
trained in simulation instead, on demonstrations that are made first.
"""

import argparse
import dataclasses
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from shipped_policies import closed_loop, sway, training, words
from shipped_policies.demonstrations import write_shard
from tqdm import tqdm

from evo1_policy.checkpoint import save_checkpoint
from evo1_policy.model.config import Evo1Config, Semantics, preset
from evo1_policy.model.evo1 import Evo1, new_model
from evo1_policy.model.preprocessing import PromptEncoder, load_tokenizer
from evo1_policy.normalization import NormStats
from evo1_policy.policy import Policy
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_sim.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "src" / "evo1_policy" / "checkpoints"
TASK = TASKS["xarm6"][0]
HORIZON = 25
TRAIN_SEED = 1_000_000  # first seed of the demonstrations
TEST_SEED = 0  # first seed of the test; never trained on
SHARD_EPISODES = 10
INSTRUCTIONS = (  # the first is drawn most often
    TASK.instruction,
    "pick up the can and place it in the box",
    "put the can into the white box",
    "put the can into the box",
)


def small_config() -> Evo1Config:
    """The preset evo1_tiny, with fewer layers and a shorter chunk: training time is scarce."""
    tiny = preset("evo1_tiny")
    semantics: Semantics = dataclasses.replace(tiny.semantics, prediction="sample")
    return dataclasses.replace(
        tiny,
        vision=dataclasses.replace(tiny.vision, layers=2, mlp_width=384),
        language=dataclasses.replace(tiny.language, layers=2, mlp_width=384),
        semantics=semantics,
        horizon=HORIZON,
    )


def demonstrate(folder: Path, robot: RobotConfig, *, episodes: int, workers: int) -> None:
    """Fill `folder` with demonstrations; shards that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    size = small_config().vision.image_size
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = []
        for start in range(TRAIN_SEED, TRAIN_SEED + episodes, SHARD_EPISODES):
            path = folder / f"{start}.npz"
            if not path.exists():
                seeds = range(start, start + SHARD_EPISODES)
                arguments = (path, robot.name, TASK.name, seeds, size, HORIZON)
                jobs.append(pool.submit(write_shard, *arguments))
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="demonstrations", unit="shard"):
            job.result()


def train(
    folder: Path, robot: RobotConfig, tokenizer_dir: Path, *, minutes: float
) -> tuple[training.Trainer, NormStats]:
    """Train on the demonstrations in `folder`."""
    config = small_config()
    windows = training.Windows(folder, HORIZON)
    stats = training.norm_stats(windows, robot.embodiment)
    encoder = PromptEncoder(load_tokenizer(tokenizer_dir), config)
    trainer = training.Trainer(new_model(config, seed=0), windows, stats, encoder, INSTRUCTIONS)
    form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=1.0, desc="training", bar_format=form) as bar:

        def report(trainer: training.Trainer, progress: float, loss: float, aux: float) -> None:
            bar.update(progress - bar.n)
            bar.set_postfix(steps=trainer.steps, loss=f"{loss:.4f}", places=f"{aux:.3f}")

        training.train(trainer, minutes=minutes, report=report)
    return trainer, stats


def evaluate(policy: Policy, robot: RobotConfig, episodes: int) -> list[closed_loop.Outcome]:
    """Closed loop on seeds that were not trained on."""
    loop = closed_loop.ClosedLoop(robot, TASK.name)
    seeds = tqdm(range(TEST_SEED, TEST_SEED + episodes), desc="test", unit="episode")
    return [loop.run(policy, seed, execute=HORIZON // 2) for seed in seeds]


def trained_card(trainer: training.Trainer, minutes: float, test: str) -> str:
    """The model card of a trained policy."""
    windows = trainer.windows
    parameters = sum(p.numel() for p in trainer.model.parameters())
    text = (Path(__file__).parent / "shipped_policies" / "trained_card.md").read_text("utf-8")
    return text.format(
        parameters=parameters,
        instruction=TASK.instruction,
        others="; ".join(INSTRUCTIONS[1:]),
        horizon=HORIZON,
        execute=HORIZON // 2,
        episodes=windows.episodes,
        windows=len(windows),
        first_seed=TRAIN_SEED,
        steps=trainer.steps,
        batch=training.BATCH,
        minutes=f"{minutes:.0f}",
        test=test,
    )


def test_text(outcomes: list[closed_loop.Outcome]) -> str:
    """The result of `evaluate` in words."""
    count, solved = len(outcomes), sum(o.success for o in outcomes)
    if not count:
        return "not measured"
    low, high = closed_loop.wilson(solved, count)
    lifted = sum(o.lifted for o in outcomes)
    reached = sum(o.nearest_m < closed_loop.REACHED_M for o in outcomes)
    return (
        f"**{solved} of {count} solved ({100 * solved / count:.0f} %, Wilson 95 % interval "
        f"{100 * low:.0f} to {100 * high:.0f} %)**; in {lifted} the can was lifted, in {reached} "
        f"the tool came within {100 * closed_loop.REACHED_M:.0f} cm of its middle"
    )


def write(
    target: Path, model: Evo1, stats: NormStats, robot: RobotConfig, tokenizer: Path, card: str
) -> None:
    """Write a checkpoint in place of an old one."""
    shutil.rmtree(target, ignore_errors=True)
    save_checkpoint(
        target,
        model=model,
        stats=stats,
        robot_text=robot.text,
        tokenizer_dir=tokenizer,
        card=card,
        dtype=torch.bfloat16,
    )
    megabytes = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) / 1e6
    print(f"{target}: {megabytes:.1f} MB")


def make_trained(target: Path, tokenizer: Path, options: argparse.Namespace) -> None:
    """Demonstrate, train, test, and write the checkpoint with its card."""
    robot = robot_file("xarm6")
    demonstrate(options.data, robot, episodes=options.episodes, workers=options.workers)
    trainer, stats = train(options.data, robot, tokenizer, minutes=options.minutes)
    write(target, trainer.average, stats, robot, tokenizer, "")
    policy = Policy.load(target, robot=robot, device="cpu", threads=1)
    test = test_text(evaluate(policy, robot, options.test_episodes))
    (target / "README.md").write_text(trained_card(trainer, options.minutes, test), "utf-8")


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
    parser.add_argument("--train", action="store_true", help="train the xArm6's")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS)
    parser.add_argument("--minutes", type=float, default=25.0, help="of training")
    parser.add_argument("--episodes", type=int, default=400, help="demonstrations tried")
    parser.add_argument("--workers", type=int, default=2, help="processes that demonstrate")
    parser.add_argument("--test-episodes", type=int, default=100)
    parser.add_argument("--data", type=Path, default=ROOT / "out" / "can_into_box")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(folder)
        words.train_tokenizer().save(str(tokenizer / "tokenizer.json"), pretty=False)
        for name in ("xarm6", "so100"):
            target = options.out / f"{name}_tiny"
            if options.only not in (None, name):
                continue
            if name == "xarm6" and options.train:
                make_trained(target, tokenizer, options)
            else:
                make_swaying(name, target, tokenizer)


if __name__ == "__main__":
    main()
