"""Behaviour cloning of the small policy on one CPU core, for a given time.

Besides the model's own loss there is one that only a simulator can give: where the can, the box
and the tool are, read from the context's last token by a linear layer that is thrown away.
Letters: B batch, V views, S image size, H horizon, D joints, W padded width, E width.
"""

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evo1_policy.model import flow_matching
from evo1_policy.model.evo1 import Context, Evo1
from evo1_policy.model.preprocessing import ModelInputs, PromptEncoder, normalise_images
from evo1_policy.normalization import FeatureStats, NormStats, pad_width, width_mask

BATCH = 16
DRAWS = 1  # noises of the head for each image
LEARNING_RATE = 6e-4
WARM_UP_STEPS = 100
WEIGHT_DECAY = 1e-3
CLIP = 1.0
EMA = 0.999
AUXILIARY_WEIGHT = 0.3
STATE_NOISE = 0.01  # normalised
SHIFT_PX = 2
BRIGHTNESS = 0.15
CHANNEL_GAIN = 0.07
RANGE_FLOOR_RAD = 0.2  # least max - min that is scaled to [-1, 1]


class Windows:
    """All windows in memory; `refresh` reads shards that have come since."""

    def __init__(self, folder: Path, horizon: int) -> None:
        self._folder, self._horizon = folder, horizon
        self._seen: set[Path] = set()
        self._shards: list[dict[str, npt.NDArray[np.generic]]] = []
        self.episodes = 0
        self.refresh()

    def refresh(self) -> None:
        """Read new shards."""
        for path in sorted(set(self._folder.glob("*.npz")) - self._seen):
            with np.load(path) as file:
                shard = {key: file[key] for key in file.files if key != "count"}
                self.episodes += int(file["count"])
            shard["actions"] = shard["actions"][:, : self._horizon]
            shard["mask"] = shard["mask"][:, : self._horizon]
            self._shards.append(shard)
            self._seen.add(path)
        self._ends = np.cumsum([len(shard["states"]) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def column(self, key: str) -> npt.NDArray[np.generic]:
        """One array of all windows."""
        return np.concatenate([shard[key] for shard in self._shards])

    def sample(self, rng: np.random.Generator, count: int) -> dict[str, npt.NDArray[np.generic]]:
        """Random windows."""
        rows = rng.integers(len(self), size=count)
        shards = np.searchsorted(self._ends, rows, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        places = [(self._shards[s], r - starts[s]) for s, r in zip(shards, rows, strict=True)]
        return {key: np.stack([shard[key][i] for shard, i in places]) for key in self._shards[0]}


def norm_stats(windows: Windows, embodiment: str) -> NormStats:
    """Ranges of the demonstrations, with a floor for joints that hardly move."""
    actions = windows.column("actions").reshape(-1, windows.column("states").shape[1])
    return NormStats(
        embodiment=embodiment,
        state=_feature(windows.column("states")),
        action=_feature(actions),
        range_floor=RANGE_FLOOR_RAD,
    )


def _feature(values: npt.NDArray[np.generic]) -> FeatureStats:
    data = values.astype(np.float64)
    return FeatureStats(
        min=data.min(0),
        max=data.max(0),
        mean=data.mean(0),
        std=data.std(0),
        q01=np.quantile(data, 0.01, axis=0),
        q99=np.quantile(data, 0.99, axis=0),
    )


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by some pixels and change the light: (B, V, 3, S, S) uint8 -> normalised fp32."""
    batch, views, _, size, _ = images.shape
    flat = images.flatten(0, 1).float()  # (B*V, 3, S, S)
    padded = F.pad(flat, (SHIFT_PX,) * 4, mode="replicate")
    shifts = torch.randint(0, 2 * SHIFT_PX + 1, (batch * views, 2), generator=generator).tolist()
    shifted = torch.stack(
        [
            image[:, y : y + size, x : x + size]
            for image, (y, x) in zip(padded, shifts, strict=True)
        ]
    )
    light = 1 + BRIGHTNESS * (2 * torch.rand((batch, 1, 1, 1, 1), generator=generator) - 1)
    gain = 1 + CHANNEL_GAIN * (2 * torch.rand((batch, 1, 3, 1, 1), generator=generator) - 1)
    bright = shifted.unflatten(0, (batch, views)) * light * gain
    return normalise_images(bright.clamp(0, 255))


class Trainer:
    """Model, its average, the auxiliary layer and the optimiser."""

    def __init__(
        self,
        model: Evo1,
        windows: Windows,
        stats: NormStats,
        encoder: PromptEncoder,
        instructions: tuple[str, ...],
        *,
        seed: int = 0,
    ) -> None:
        self.model, self.windows, self.stats = model, windows, stats
        self._encoder, self._instructions = encoder, instructions
        # Plain softmax(QK)V: the fused kernel's backward pass is slow on a CPU.
        model.embedder.model.vision_tower.set_attn_implementation("eager")
        self.average = copy.deepcopy(model).requires_grad_(False)
        places = windows.column("places")
        self._centre = torch.from_numpy(places.mean(0))
        self._spread = torch.from_numpy(places.std(0) + 0.01)
        self._auxiliary = nn.Linear(model.config.language.width, places.shape[1])
        parameters = [*model.named_parameters(), *self._auxiliary.named_parameters()]
        matrices = [p for _, p in parameters if p.ndim > 1]
        others = [p for _, p in parameters if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": others},
        ]
        self._optimizer = torch.optim.AdamW(
            groups,
            lr=LEARNING_RATE,
            weight_decay=0.0,
            fused=True,
        )
        self._parameters = matrices + others
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self.steps = 0

    def step(self, progress: float) -> tuple[float, float]:
        """One update at `progress` in [0, 1) of the time; returns both losses."""
        rate = LEARNING_RATE * min(1.0, (self.steps + 1) / WARM_UP_STEPS)
        if progress > 0.5:
            rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (2 * progress - 1)))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss, auxiliary = self._losses(self.windows.sample(self._rng, BATCH))
        self._optimizer.zero_grad()
        (loss + AUXILIARY_WEIGHT * auxiliary).backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
        self._optimizer.step()
        self.steps += 1
        self._update_average()
        return float(loss.detach()), float(auxiliary.detach())

    def _losses(self, batch: dict[str, npt.NDArray[np.generic]]) -> tuple[Tensor, Tensor]:
        config = self.model.config
        inputs = self._inputs(batch)
        actions = self._padded(
            self.stats.action_normalizer.normalise(batch["actions"]), config.action_width
        )  # (B, H, W)
        mask = torch.from_numpy(batch["mask"])[..., None] * inputs.action_mask[:, None]
        context = self.model.encode(inputs)
        last = context.keys[:, -2]  # (B, E): the prompt's last token, before the state
        places = (torch.from_numpy(batch["places"]) - self._centre) / self._spread  # (B, 9)
        auxiliary = F.mse_loss(self._auxiliary(last), places)
        repeated = Context(
            keys=context.keys.repeat(DRAWS, 1, 1),
            key_mask=None if context.key_mask is None else context.key_mask.repeat(DRAWS, 1),
        )
        actions, mask = actions.repeat(DRAWS, 1, 1), mask.repeat(DRAWS, 1, 1)
        real = inputs.action_mask[:1, None].float()  # (1, 1, W)
        noise = flow_matching.sample_noise(tuple(actions.shape), self._generator) * real
        moment = flow_matching.sample_time(len(actions), self._generator)
        noisy = flow_matching.interpolate(actions * real, noise, moment)
        row = flow_matching.time_index(moment, config.semantics.time_scale)
        predicted = self.model.predict(noisy, row, repeated)
        target = flow_matching.training_target(actions, noise, config.semantics.prediction)
        return flow_matching.masked_loss(predicted, target, mask), auxiliary

    def _inputs(self, batch: dict[str, npt.NDArray[np.generic]]) -> ModelInputs:
        config, count = self.model.config, len(batch["states"])
        main = self._rng.random() < 0.7
        text = self._instructions[0 if main else self._rng.integers(len(self._instructions))]
        prompt = self._encoder.encode([text], [config.views])
        state = self._padded(
            self.stats.state_normalizer.normalise(batch["states"]), config.state_width
        )
        width = batch["states"].shape[1]
        state[:, :width] += STATE_NOISE * torch.randn((count, width), generator=self._generator)
        real = torch.from_numpy(width_mask(width, config.action_width))
        return ModelInputs(
            images=augment(torch.from_numpy(batch["images"]), self._generator),
            input_ids=prompt.input_ids.expand(count, -1),
            image_slots=prompt.image_slots.expand(count, -1),
            token_mask=prompt.token_mask.expand(count, -1),
            state=state,
            action_mask=real[None].expand(count, -1),
        )

    @staticmethod
    def _padded(values: npt.NDArray[np.float64], width: int) -> Tensor:
        return torch.from_numpy(pad_width(values, width)).float()

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(EMA, (1 + self.steps) / (10 + self.steps))
        for ours, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
            ours.lerp_(new, 1 - keep)


def train(
    trainer: Trainer,
    *,
    minutes: float,
    report: Callable[[Trainer, float, float, float], None],
    every: int = 50,
) -> None:
    """Train for a time; `report` gets progress and the mean losses every so many steps."""
    start = time.monotonic()
    sums = np.zeros(2)
    while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
        sums += trainer.step(progress)
        if trainer.steps % every == 0:
            report(trainer, progress, *(sums / every))
            sums[:] = 0
