"""How far predicted actions are from demonstrated ones, on episodes that were never trained on.

Letters: B batch, H horizon, D joints, W padded width. Must not import ROS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evo1_policy.model.config import Evo1Config
from evo1_policy.model.flow_matching import sample_noise
from evo1_policy.model.preprocessing import ModelInputs
from evo1_policy.normalization import NormStats
from evo1_training.datasets.reader import Sample
from evo1_training.training.batch import Collator, model_inputs
from evo1_training.training.training_data import EpisodePart, TrainingData

Array = npt.NDArray[np.float64]
Predict = Callable[[ModelInputs, Tensor], Tensor]
_SEED = 0  # of the noise, which is the same for all frames, as in the policy


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A predicted chunk (H, D) beside the demonstrated one, which counts where mask (H,) is."""

    frame: int
    predicted: Array
    demonstrated: Array
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class OpenLoopError:
    """Mean absolute error over held-out frames and chunks.

    Attributes:
        joints: by name; of an end effector, by the name of the number.
        normalised: mean over the joints, each in the units that the model sees.
        unit: of `joints`.
    """

    joints: dict[str, float]
    normalised: float
    unit: str = "rad"

    def describe(self) -> str:
        """One line for people."""
        listing = ", ".join(f"{name} {error:.4f}" for name, error in self.joints.items())
        return (
            f"held-out error {self.normalised:.4f} of the normalised range; {self.unit}: {listing}"
        )


class OpenLoopMeter:
    """Measures on frames spread over the held-out episodes of the embodiment it is for."""

    def __init__(
        self,
        data: TrainingData,
        collator: Collator,
        stats: NormStats,
        config: Evo1Config,
        *,
        frames: int,
        batch_size: int,
    ) -> None:
        self._parts = [
            part
            for part in data.held_out
            if len(part) and part.samples.spec.embodiment == data.interface.embodiment
        ]
        self._collator, self._stats, self._config = collator, stats, config
        self._rate_hz = data.interface.rate_hz
        self._frames, self._batch_size = frames, batch_size
        ee = stats.end_effector
        self._names = data.interface.action if ee is None else ee.action.names
        self._unit = "rad" if ee is None and data.robot is not None else "as in the data"

    @property
    def available(self) -> bool:
        """Whether there are held-out episodes."""
        return bool(self._parts)

    def measure(self, predict: Predict, device: torch.device) -> OpenLoopError:
        """The error over the frames.

        Args:
            predict: (inputs, noise (B, H, W)) -> normalised actions (B, H, W).
            device: of the inputs.
        """
        total = sum(len(part) for part in self._parts)
        count = min(self._frames, total)
        numbers = np.linspace(0, total - 1, count).round().astype(int)
        chunks = self._chunks([self._place(int(n)) for n in numbers], predict, device)
        return self._error(chunks)

    def follow(self, predict: Predict, device: torch.device) -> list[Chunk]:
        """Chunks one after the other through the first held-out episode."""
        part = self._parts[0]
        length = part.samples.folder.episodes[part.episodes[0]].length
        places = [(part, frame) for frame in range(0, length, self._config.horizon)]
        return self._chunks(places, predict, device)

    def plot(self, chunks: list[Chunk], path: Path) -> None:
        """Draw demonstrated and predicted joints over time into a PNG."""
        from matplotlib.figure import Figure

        joints, rate = self._names, self._rate_hz
        figure = Figure(figsize=(10, 1.6 * len(joints)), layout="constrained")
        axes = figure.subplots(len(joints), 1, sharex=True, squeeze=False)[:, 0]
        for k, (axis, name) in enumerate(zip(axes, joints, strict=True)):
            for number, chunk in enumerate(chunks):
                seconds = (chunk.frame + 1 + np.arange(len(chunk.mask)))[chunk.mask] / rate
                labels = ("demonstrated", "predicted") if not number else (None, None)
                demonstrated = chunk.demonstrated[chunk.mask, k]
                axis.plot(seconds, demonstrated, color="0.4", linewidth=2, label=labels[0])
                axis.plot(seconds, chunk.predicted[chunk.mask, k], color="C1", label=labels[1])
            axis.set_ylabel(f"{name} [{self._unit}]", fontsize="small")
        axes[0].legend(loc="upper right", fontsize="small")
        axes[-1].set_xlabel("time in a held-out episode [s]; each predicted piece is one chunk")
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=80)

    def _place(self, number: int) -> tuple[EpisodePart, int]:
        for part in self._parts:
            if number < len(part):
                return part, number
            number -= len(part)
        raise IndexError(number)

    def _chunks(
        self, places: list[tuple[EpisodePart, int]], predict: Predict, device: torch.device
    ) -> list[Chunk]:
        chunks: list[Chunk] = []
        for start in range(0, len(places), self._batch_size):
            samples = [part[frame] for part, frame in places[start : start + self._batch_size]]
            batch = self._collator(samples).to(device)
            shape = (1, self._config.horizon, self._config.action_width)
            noise = sample_noise(shape, torch.Generator().manual_seed(_SEED)).to(device)
            with torch.no_grad():
                actions = predict(
                    model_inputs(batch, self._config), noise.expand(len(samples), -1, -1)
                )  # (B, H, W)
            chunks += [
                self._chunk(sample, actions[k].double().cpu().numpy())
                for k, sample in enumerate(samples)
            ]
        return chunks

    def _chunk(self, sample: Sample, normalised: Array) -> Chunk:
        width = sample.actions.shape[1]
        return Chunk(
            frame=sample.frame,
            predicted=self._stats.unnormalise_actions(normalised[:, :width], sample.state),
            demonstrated=sample.actions.astype(np.float64),
            mask=sample.action_mask,
        )

    def _error(self, chunks: list[Chunk]) -> OpenLoopError:
        predicted = np.concatenate([chunk.predicted[chunk.mask] for chunk in chunks])  # (n, D)
        demonstrated = np.concatenate([chunk.demonstrated[chunk.mask] for chunk in chunks])
        physical = np.abs(predicted - demonstrated).mean(axis=0)  # (D,)
        scale = self._stats.action_normalizer.unnormalise(np.ones(predicted.shape[1]))
        scale = scale - self._stats.action_normalizer.unnormalise(np.zeros(predicted.shape[1]))
        return OpenLoopError(
            joints={name: float(e) for name, e in zip(self._names, physical, strict=True)},
            normalised=float((physical / scale).mean()),
            unit=self._unit,
        )
