"""The untrained policy: only the last layer is fitted, in closed form, to a slow sway.

It sways around the home pose from wherever the arm is, so that everything around the model can be
run and seen: cameras, inference, chunks, seams, an arm that moves.
Letters: D joints, H horizon, n samples.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from evo1_policy.model import flow_matching
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.evo1 import Context, Evo1
from evo1_policy.model.preprocessing import ModelInputs, PromptEncoder, prepare_views
from evo1_policy.normalization import FeatureStats, NormStats, width_mask
from evo1_policy.robot_config import RobotConfig

ARM_RANGE_RAD = 0.35  # the norm stats span home +- this

SCENES = 120  # contexts of random images and instructions
SAMPLES = 8000  # states that the last layer is fitted to
RIDGE = 1e-4  # of the features' mean variance
CONTEXT_GAIN = 0.02  # keeps images and words from moving the arm more than the state does
STATE_GAIN = 8.0  # makes the state token stand out among the context tokens
NOISE_GAIN = 0.05  # keeps the denoising noise out of the motion

SWAY_PERIOD_S = 5.0
SWAY_RADIUS = 0.8  # of the normalised range
SWAY_GROWTH_HZ = 0.6  # how fast the sway finds its radius
SWAY_BAND = 0.3  # around the radius, in which growth turns to decay
FOLLOW_S = 0.6  # time constant of the joints that follow


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

    The first two joints circle around home: any start leads onto the same limit cycle. The others
    follow in fixed proportions. Inside the circle the motion is linear in the state, because that
    is fitted best; a motion that is fitted badly comes out damped, and stalls.
    """
    dt, omega = 1 / robot.rate_hz, 2 * math.pi / SWAY_PERIOD_S
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
            z = q[:, :2]  # (n, 2)
            radius = np.linalg.norm(z, axis=1, keepdims=True)  # (n, 1)
            grow = SWAY_GROWTH_HZ * np.clip((SWAY_RADIUS - radius) / SWAY_BAND, -1, 1)
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


def scenes(
    config: Evo1Config, tokenizer: Tokenizer, robot: RobotConfig, instructions: tuple[str, ...]
) -> Iterator[ModelInputs]:
    """Observations of random images under the known instructions, at a zero state."""
    generator = np.random.default_rng(0)
    encoder = PromptEncoder(tokenizer, config)
    mask = torch.from_numpy(width_mask(robot.width, config.action_width))[None]
    for k in range(SCENES):
        images = [random_image(generator) for _ in robot.cameras]
        prompt = encoder.encode([instructions[k % len(instructions)]], [len(images)])
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
def fit_last_layer(
    model: Evo1, robot: RobotConfig, tokenizer: Tokenizer, instructions: tuple[str, ...]
) -> float:
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
    for k, inputs in enumerate(scenes(config, tokenizer, robot, instructions)):
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
- Made by `python scripts/make_shipped_policies.py --only {robot.name}`.

Licence: Apache-2.0, as the workspace.
"""
