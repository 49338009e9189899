"""Make the small policies that ship with the workspace, from a seed.

    python scripts/make_shipped_policies.py [--out src/evo1_policy/checkpoints]

They are not trained on any task. Only the last layer is fitted, in closed form, to a slow sway
around the home pose that starts wherever the arm is, so that everything around the model can be
run and seen: cameras, inference, chunks, seams, an arm that moves.
"""

import argparse
import dataclasses
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from evo1_policy.checkpoint import save_checkpoint
from evo1_policy.model import flow_matching
from evo1_policy.model.config import Evo1Config, Semantics, preset
from evo1_policy.model.evo1 import Context, Evo1, new_model
from evo1_policy.model.preprocessing import (
    SPECIAL_TOKENS,
    ModelInputs,
    PromptEncoder,
    load_tokenizer,
    prepare_views,
)
from evo1_policy.normalization import FeatureStats, NormStats, width_mask
from evo1_policy.robot_config import RobotConfig, load_robot

ROOT = Path(__file__).resolve().parents[1]
ROBOTS = ("xarm6", "so100")
ARM_RANGE_RAD = 0.35  # the norm stats span home +- this

SCENES = 120  # contexts of random images and instructions
SAMPLES = 8000  # states that the last layer is fitted to
RIDGE = 1e-4  # of the features' mean variance
CONTEXT_GAIN = 0.02  # keeps images and words from moving the arm more than the state does
STATE_GAIN = 8.0  # makes the state token stand out among the context tokens
NOISE_GAIN = 0.05  # keeps the denoising noise out of the motion

SWAY_PERIOD_S = 5.0
SWAY_RADIUS = 0.7  # of the normalised range
SWAY_CENTRE = (0.35, 0.0)
SWAY_GROWTH_HZ = 0.8  # how fast the sway finds its radius
FOLLOW_S = 0.6  # time constant of the joints that follow

INSTRUCTIONS = (
    "pick up the can and place it in the box",
    "put the can into the white box",
    "pick up the cube and place it in the box",
    "put the cube into the box",
    "pour the foam from the cup into the box",
    "hand over the cup",
    "stack the cans",
    "move the arm to the home pose",
    "open the gripper",
    "close the gripper and lift the object",
    "push the red block to the left",
    "wave",
)


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE of 512 tokens with Evo-1's special tokens; any text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[*SPECIAL_TOKENS[:1], "<|im_start|>", "<|im_end|>", *SPECIAL_TOKENS[1:]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    prompts = [f"Image-{k}: \n{text}" for text in INSTRUCTIONS for k in (1, 2, 3)]
    tokenizer.train_from_iterator(prompts, trainer)
    return tokenizer


def norm_stats(robot: RobotConfig) -> NormStats:
    """Arm joints: home +- ARM_RANGE_RAD within the limits; gripper: its full range."""
    low = np.maximum(np.array(robot.home) - ARM_RANGE_RAD, robot.position_min)
    high = np.minimum(np.array(robot.home) + ARM_RANGE_RAD, robot.position_max)
    if robot.gripper is not None:
        k = robot.joint_names.index(robot.gripper.joint)
        low[k], high[k] = sorted((robot.gripper.open, robot.gripper.closed))
    stats = FeatureStats.from_bounds(low, high)
    return NormStats(embodiment=robot.embodiment, state=stats, action=stats)


def sway(
    states: npt.NDArray[np.float64], robot: RobotConfig, horizon: int
) -> npt.NDArray[np.float64]:
    """The motion that follows each normalised state (n, D) -> (n, H, D).

    The first two joints circle around SWAY_CENTRE (a limit cycle: any start leads onto it), the
    others follow in fixed proportions.
    """
    dt, omega = 1 / robot.rate_hz, 2 * math.pi / SWAY_PERIOD_S
    centre = np.array(SWAY_CENTRE)
    follow = np.zeros((2, robot.width - 2))  # proportions, alternating between the two phases
    for j in range(robot.width - 2):
        follow[j % 2, j] = 0.5 * (-1) ** (j // 2)
    offset = np.zeros(robot.width - 2)
    if robot.gripper is not None:
        offset[robot.joint_names.index(robot.gripper.joint) - 2] = -0.4
    substeps = 4
    q = states.copy()
    chunk = np.empty((len(states), horizon, robot.width))
    for h in range(horizon):
        for _ in range(substeps):
            z = q[:, :2] - centre  # (n, 2)
            grow = SWAY_GROWTH_HZ * (1 - (z**2).sum(1, keepdims=True) / SWAY_RADIUS**2)  # (n, 1)
            turn = np.stack((-z[:, 1], z[:, 0]), axis=1) * omega  # (n, 2)
            rate = np.concatenate(
                (grow * z + turn, (z @ follow + offset - q[:, 2:]) / FOLLOW_S), axis=1
            )
            q = q + rate * dt / substeps
        chunk[:, h] = q
    return chunk


def random_image(generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A smooth random scene (240, 320, 3)."""
    coarse = generator.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(np.kron(coarse, np.ones((40, 40, 1), np.uint8)), np.uint8)


def scenes(config: Evo1Config, tokenizer: Tokenizer, robot: RobotConfig) -> Iterator[ModelInputs]:
    """Observations of random images under the known instructions, at a zero state."""
    generator = np.random.default_rng(0)
    encoder = PromptEncoder(tokenizer, config)
    mask = torch.from_numpy(width_mask(robot.width, config.action_width))[None]
    for k in range(SCENES):
        images = [random_image(generator) for _ in robot.cameras]
        prompt = encoder.encode([INSTRUCTIONS[k % len(INSTRUCTIONS)]], [len(images)])
        yield ModelInputs(
            images=prepare_views(images, views=config.views, size=config.vision.image_size)[None],
            input_ids=prompt.input_ids,
            image_slots=prompt.image_slots,
            token_mask=prompt.token_mask,
            state=torch.zeros(1, config.state_width),
            action_mask=mask,
        )


@torch.no_grad()
def hidden_features(
    model: Evo1, inputs: ModelInputs, states: torch.Tensor, chunks: torch.Tensor, seed: int
) -> torch.Tensor:
    """What the last layer sees, (n, hidden), for padded states (n, W) at one Euler step."""
    captured: list[torch.Tensor] = []
    hook = model.action_head.mlp_head.fc2.register_forward_pre_hook(
        lambda _, args: captured.append(args[0])
    )
    steps = model.config.num_inference_steps
    step = seed % steps
    row = flow_matching.euler_time_index(step, steps, model.config.semantics.time_scale)
    generator = torch.Generator().manual_seed(seed)
    noise = flow_matching.sample_noise(tuple(chunks.shape), generator)
    time = torch.full((len(states),), step / steps)
    noisy = flow_matching.interpolate(chunks, noise, time) * inputs.action_mask[:, None]
    zero = model.encode(inputs)
    keys = zero.keys.expand(len(states), -1, -1).clone()  # (n, T+1, E)
    keys[:, -1:] = model.action_head.encode_state(states)
    mask = zero.key_mask.expand(len(states), -1) if zero.key_mask is not None else None
    model.predict(noisy, torch.full((len(states),), row), Context(keys=keys, key_mask=mask))
    hook.remove()
    return captured[0]


@torch.no_grad()
def fit_last_layer(model: Evo1, robot: RobotConfig, tokenizer: Tokenizer) -> float:
    """Fit the output layer by ridge regression; returns the rms error in normalised units."""
    config = model.config
    head = model.action_head
    model.embedder.model.language_model.norm.weight.mul_(CONTEXT_GAIN)
    head.state_encoder.fc2.linear.weight.mul_(STATE_GAIN)
    head.action_encoder.W1.linear.weight.mul_(NOISE_GAIN)
    for parameter in model.parameters():  # as they will be stored
        parameter.copy_(parameter.bfloat16().float())
    generator = np.random.default_rng(1)
    features, targets = [], []
    count = SAMPLES // SCENES
    for k, inputs in enumerate(scenes(config, tokenizer, robot)):
        states = generator.uniform(-1, 1, (count, robot.width))
        chunks = np.zeros((count, config.horizon, config.action_width))
        chunks[:, :, : robot.width] = sway(states, robot, config.horizon)
        padded = np.zeros((count, config.state_width))
        padded[:, : robot.width] = states
        target = torch.from_numpy(chunks).float()
        hidden = hidden_features(model, inputs, torch.from_numpy(padded).float(), target, k)
        features.append(hidden)
        targets.append(target.flatten(1))
    x = torch.cat(features).double()  # (n, hidden)
    y = torch.cat(targets).double()  # (n, H*D)
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + ridge, centred.T @ (y - mean_y))  # (hidden, H*D)
    output = head.mlp_head.fc2.linear
    output.weight.copy_(weight.T)
    output.bias.copy_(mean_y - mean_x @ weight)
    error = (x @ weight + output.bias - y).view(-1, config.horizon, config.action_width)
    return float(error[:, :, : robot.width].square().mean().sqrt())


def card(robot: RobotConfig, config: Evo1Config, parameters: int, error: float) -> str:
    """The model card."""
    return f"""# {robot.name}_tiny

**Untrained. It does not solve any task.** It exists so that the workspace runs as cloned: a real
Evo-1 forward pass (preset `evo1_tiny`, {parameters:,} parameters) whose chunks sway the arm
slowly around its home pose.

- Weights: random from a seed, except the output layer, which was fitted in closed form to a
  limit cycle of the first two joints with the others following (rms error {error:.3f} of the
  normalised range). The state decides the motion; images and instruction shift it only slightly.
- `prediction: {config.semantics.prediction}`: the head gives the clean chunk, not the velocity.
- `context_mode: {config.semantics.context_mode}`, {config.num_inference_steps} Euler steps.
- Norm stats: arm joints home +- {ARM_RANGE_RAD} rad, gripper over its full range.
- Made by `python scripts/make_shipped_policies.py`.

Licence: Apache-2.0, as the workspace.
"""


def make(name: str, tokenizer_dir: Path, out: Path) -> None:
    """Write one shipped checkpoint."""
    robot = load_robot(ROOT / "src" / "evo1_bringup" / "robots" / f"{name}.yaml")
    tiny = preset("evo1_tiny")
    semantics: Semantics = dataclasses.replace(tiny.semantics, prediction="sample")
    config = dataclasses.replace(tiny, semantics=semantics)
    model = new_model(config, seed=0)
    error = fit_last_layer(model, robot, load_tokenizer(tokenizer_dir))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    target = out / f"{name}_tiny"
    shutil.rmtree(target, ignore_errors=True)
    save_checkpoint(
        target,
        model=model,
        stats=norm_stats(robot),
        robot_text=robot.text,
        tokenizer_dir=tokenizer_dir,
        card=card(robot, config, parameters, error),
        dtype=torch.bfloat16,
    )
    megabytes = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) / 1e6
    print(f"{target}: {parameters:,} parameters, {megabytes:.1f} MB, rms error {error:.4f}")


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "evo1_policy" / "checkpoints")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer().save(str(Path(folder) / "tokenizer.json"), pretty=False)
        for name in ROBOTS:
            make(name, Path(folder), out)


if __name__ == "__main__":
    main()
