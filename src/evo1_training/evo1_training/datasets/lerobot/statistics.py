"""Statistics of features as LeRobot keeps them. Must not import ROS or torch.

Letters: N frames, D width of a feature.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.datasets.lerobot.schema import ACTION, STATE
from evo1_training.datasets.lerobot.tables import read_vectors

Array = npt.NDArray[np.float64]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_LARGE = 300  # pictures with a longer side are thinned to about _THINNED pixels, as LeRobot does
_THINNED = 150
_LEAST_SHARE = 0.05  # of the range from min to max that q01 to q99 must cover
_LEVELS = np.arange(256) / 255.0


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Of one feature: (D,), or (3, 1, 1) for pictures with values in [0, 1].

    Attributes:
        min: smallest value.
        max: largest value.
        mean: arithmetic mean.
        std: deviation of the population.
        count: frames that went in.
        quantiles: by LeRobot's name; of merged episodes the mean weighted by count, which is
            LeRobot's rule.
    """

    min: Array
    max: Array
    mean: Array
    std: Array
    count: int
    quantiles: Mapping[str, Array]

    def to_dict(self, *, quantiles: bool = True) -> dict[str, Any]:
        """As plain JSON data; v2.1 keeps no quantiles."""
        data: dict[str, Any] = {
            name: getattr(self, name).tolist() for name in ("min", "max", "mean", "std")
        }
        data["count"] = [self.count]
        if quantiles:
            data |= {name: value.tolist() for name, value in self.quantiles.items()}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Statistics":
        """Read what to_dict wrote, with quantiles or without.

        Raises:
            KeyError: one is missing.
        """
        arrays = {name: np.asarray(data[name], np.float64) for name in data if name != "count"}
        return cls(
            min=arrays["min"],
            max=arrays["max"],
            mean=arrays["mean"],
            std=arrays["std"],
            count=int(data["count"][0]),
            quantiles={name: arrays[name] for name in QUANTILES if name in arrays},
        )

    def with_quantiles(self, exact: Mapping[str, Array]) -> "Statistics":
        """The same with some quantiles replaced."""
        return replace(self, quantiles={**self.quantiles, **exact})


def of_values(values: npt.ArrayLike) -> Statistics:
    """Statistics of (N, D) or (N,) values, N at least 1; (N,) counts as (N, 1)."""
    array = np.asarray(values, np.float64)
    array = array.reshape(len(array), -1)
    levels = np.quantile(array, list(QUANTILES.values()), axis=0)
    return Statistics(
        min=array.min(axis=0),
        max=array.max(axis=0),
        mean=array.mean(axis=0),
        std=array.std(axis=0),
        count=len(array),
        quantiles=dict(zip(QUANTILES, levels, strict=True)),
    )


def with_sound_quantiles(item: Statistics) -> Statistics:
    """The same, but with the bounds where q01 and q99 nearly coincide.

    So they do of a gripper that is closed in hardly a frame in a hundred. Scaled by them, a joint
    is sent to thousands of times its range, and its rare positions never come back.
    """
    low, high = item.quantiles["q01"], item.quantiles["q99"]
    narrow = high - low < _LEAST_SHARE * (item.max - item.min)
    sound = {"q01": np.where(narrow, item.min, low), "q99": np.where(narrow, item.max, high)}
    return item.with_quantiles(sound)


class PictureStatistics:
    """Statistics of a camera over an episode, from every frame and in constant memory."""

    def __init__(self) -> None:
        self._histogram = np.zeros((3, 256), np.int64)
        self._frames = 0

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Take in (H, W, 3) uint8."""
        height, width = image.shape[:2]
        step = max(1, max(height, width) // _THINNED) if max(height, width) >= _LARGE else 1
        thinned = image[::step, ::step]
        for channel in range(3):
            self._histogram[channel] += np.bincount(thinned[..., channel].ravel(), minlength=256)
        self._frames += 1

    def statistics(self) -> Statistics:
        """Return them, each (3, 1, 1) in [0, 1]."""
        total = self._histogram.sum(axis=1)
        mean = self._histogram @ _LEVELS / total
        square = self._histogram @ _LEVELS**2 / total
        below = self._histogram.cumsum(axis=1) / total[:, None]
        seen = self._histogram > 0
        return Statistics(
            min=_picture(_LEVELS[seen.argmax(axis=1)]),
            max=_picture(_LEVELS[255 - seen[:, ::-1].argmax(axis=1)]),
            mean=_picture(mean),
            std=_picture(np.sqrt(np.maximum(square - mean**2, 0.0))),
            count=self._frames,
            quantiles={
                name: _picture(_LEVELS[(below >= share).argmax(axis=1)])
                for name, share in QUANTILES.items()
            },
        )


def merged(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of all parts together, at least one."""
    counts = np.array([part.count for part in parts], np.float64)
    weights = counts / counts.sum()
    mean = _weighted(weights, (part.mean for part in parts))
    spread = _weighted(weights, (part.std**2 + (part.mean - mean) ** 2 for part in parts))
    names = [name for name in QUANTILES if all(name in part.quantiles for part in parts)]
    return Statistics(
        min=np.minimum.reduce([part.min for part in parts]),
        max=np.maximum.reduce([part.max for part in parts]),
        mean=mean,
        std=np.sqrt(spread),
        count=int(counts.sum()),
        quantiles={
            name: _weighted(weights, (part.quantiles[name] for part in parts)) for name in names
        },
    )


def exact_statistics(
    tables: Sequence[Path], names: Sequence[str] = (STATE, ACTION)
) -> dict[str, Statistics]:
    """Statistics of vectors from every frame of some tables, with exact quantiles.

    Raises:
        OSError: a table cannot be read.
    """
    vectors = [read_vectors(path, names) for path in tables]
    return {name: of_values(np.concatenate([table[name] for table in vectors])) for name in names}


def official_norm_stats(
    statistics: Mapping[str, Statistics], *, embodiment: str, dataset: str
) -> dict[str, Any]:
    """The authors' norm_stats.json: {arm: {dataset: {feature: {min, max, ...}}}}."""
    names = ("min", "max", "mean", "std", "q01", "q99")
    features = {
        feature: {name: with_sound_quantiles(item).to_dict()[name] for name in names}
        for feature, item in statistics.items()
    }
    return {embodiment: {dataset: features}}


def _weighted(weights: Array, values: Iterable[Array]) -> Array:
    return np.asarray(
        sum(weight * value for weight, value in zip(weights, values, strict=True)), np.float64
    )


def _picture(values: Array) -> Array:
    """(3,) -> (3, 1, 1), the shape that LeRobot demands of pictures."""
    return values.reshape(3, 1, 1)
