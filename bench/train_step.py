"""What one step of training costs: time and memory of both stages, with and without checkpointing.

Random weights and samples of the right shapes; everything else is the trainer's own: augmentation,
loss, backward pass, clipping, AdamW. `--preset paper` is the paper's size, for a GPU.
"""

import dataclasses
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from figures import bench_parser, merge_figures
from model_inputs import random_inputs
from torch import Tensor

from evo1_policy.model.evo1 import new_model
from evo1_training.training.batch import TrainingBatch, augmented_inputs
from evo1_training.training.objective import (
    Objective,
    attention_for,
    has_fast_bf16,
    new_milestone_head,
)
from evo1_training.training.optimizer import freeze, new_optimizer, set_modes
from evo1_training.training.presets import PRESETS, preset
from evo1_training.training.train_config import StageConfig, TrainConfig

JOINTS = 7


def main() -> int:
    """Measure every combination, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="one step each")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
    parser.add_argument("--batch", type=int, help="samples a step (the preset's)")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    config, device = preset(arguments.preset), torch.device(arguments.device)
    bf16 = has_fast_bf16(device)
    print(
        f"{arguments.preset}, {device}, {'bf16' if bf16 else 'fp32'}, "
        f"{torch.get_num_threads()} threads"
    )
    print(
        f"{'stage':<8}{'checkpointing':<15}{'batch':>6}{'ms a step':>11}{'samples/s':>11}{'GB':>7}"
    )
    figures: dict[str, float] = {}
    steps = 1 if arguments.quick else arguments.steps
    for name in ("stage1", "stage2"):
        for checkpointing in (False, True):
            stage = dataclasses.replace(
                getattr(config, name),
                gradient_checkpointing=checkpointing,
                **({"batch_size": arguments.batch} if arguments.batch else {}),
            )
            # In a process of its own: the memory of a process is the most it ever had.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                seconds, gigabytes = alone.submit(
                    measure, config, stage, device, steps, bf16=bf16
                ).result()
            rate = stage.batch_size / seconds
            print(
                f"{name:<8}{'yes' if checkpointing else 'no':<15}{stage.batch_size:>6}"
                f"{1e3 * seconds:>11.0f}{rate:>11.1f}{gigabytes:>7.1f}",
                flush=True,
            )
            key = f"train.{arguments.preset}_{name}{'_checkpointing' if checkpointing else ''}"
            figures |= {f"{key}_ms": 1e3 * seconds, f"{key}_memory_gb": gigabytes}
    merge_figures(arguments.json, figures)
    return 0


def measure(
    config: TrainConfig, stage: StageConfig, device: torch.device, steps: int, *, bf16: bool
) -> tuple[float, float]:
    """Mean time of a step [s] after a warm-up, and the most memory in use [GB].

    On a GPU that of its tensors, on the CPU that of the process.
    """
    model = new_model(config.model, seed=0).to(device)
    freeze(model, stage)
    head = None
    if stage.learns_milestones:
        head = new_milestone_head(config.model, seed=0)
    objective = Objective(model, stage, head).to(device)
    set_modes(model)
    optimizer = new_optimizer(objective.named_parameters(), stage, device)
    batch = random_batch(config, stage.batch_size).to(device)
    generator = torch.Generator(device).manual_seed(0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def step() -> None:
        inputs = augmented_inputs(batch, config.model, config.augmentation, generator)
        with attention_for(device, bf16=bf16):  # what is recomputed must be so in the same way
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss: Tensor = objective(inputs, batch=batch, generator=generator)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), stage.clip)
        optimizer.step()
        optimizer.zero_grad()

    step()
    _wait(device)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    seconds = (time.perf_counter() - began) / steps
    if device.type == "cuda":
        return seconds, torch.cuda.max_memory_allocated() / 1e9
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def random_batch(config: TrainConfig, size: int) -> TrainingBatch:
    """A batch of the model's shapes, all rows with the same prompt."""
    model = config.model
    one = random_inputs(model, present=min(2, model.views))
    real = torch.zeros(size, model.action_width, dtype=torch.bool)
    real[:, :JOINTS] = True
    state = torch.zeros(size, model.state_width, dtype=torch.bool)
    state[:, :JOINTS] = True
    edge = model.vision.image_size
    return TrainingBatch(
        images=torch.randint(0, 256, (size, model.views, 3, edge, edge), dtype=torch.uint8),
        input_ids=one.input_ids.expand(size, -1),
        image_slots=one.image_slots.expand(size, -1),
        token_mask=one.token_mask.expand(size, -1),
        state=torch.randn(size, model.state_width) * state,
        state_mask=state,
        actions=torch.rand(size, model.horizon, model.action_width) * real[:, None],
        action_mask=real,
        loss_mask=real[:, None].expand(-1, model.horizon, -1),
        milestones=torch.zeros(size, 2, model.action_width),
        milestone_mask=real[:, None].expand(-1, 2, -1),
        origins=(),
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    raise SystemExit(main())
