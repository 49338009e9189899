"""Normalisation of states and actions, and padding to the model's width.

One implementation for training, serving and conversion. Must not import ROS or torch.
Letters: D the robot's width, W the model's.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mode = Literal["bounds", "quantiles", "mean_std"]

_EPSILON = 1e-8  # of the authors' code; keeps a constant joint from dividing by zero


class NormStatsError(ValueError):
    """Norm stats that cannot be used; the message names the file and the dotted key."""


@dataclass(frozen=True, kw_only=True)
class FeatureStats:
    """Statistics of one feature over a dataset, each (D,) float64 in the joints' order."""

    min: Array
    max: Array
    mean: Array
    std: Array
    q01: Array
    q99: Array

    def __post_init__(self) -> None:
        for item in fields(self):
            value = np.array(getattr(self, item.name), dtype=np.float64)
            if value.shape != self.shape or value.ndim != 1:
                raise NormStatsError(f"{item.name}: expected {self.shape}, got {value.shape}")
            if not np.isfinite(value).all():
                raise NormStatsError(f"{item.name}: not finite at {np.argmin(np.isfinite(value))}")
            value.flags.writeable = False
            object.__setattr__(self, item.name, value)
        for low, high in (("min", "max"), ("q01", "q99")):
            wrong = np.flatnonzero(getattr(self, low) > getattr(self, high))
            if wrong.size:
                raise NormStatsError(f"{low}[{wrong[0]}] is above {high}[{wrong[0]}]")
        if (self.std < 0).any():
            raise NormStatsError(f"std[{np.argmax(self.std < 0)}] is negative")

    @property
    def shape(self) -> tuple[int, ...]:
        """(D,)."""
        return np.shape(self.min)

    @classmethod
    def from_bounds(cls, low: npt.ArrayLike, high: npt.ArrayLike) -> "FeatureStats":
        """Stats of values spread evenly between low and high (D,)."""
        lower, upper = np.asarray(low, np.float64), np.asarray(high, np.float64)
        return cls(
            min=lower,
            max=upper,
            mean=(lower + upper) / 2,
            std=(upper - lower) / math.sqrt(12),
            q01=lower + 0.01 * (upper - lower),
            q99=lower + 0.99 * (upper - lower),
        )


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Maps one feature to the model's numbers and back; shapes (..., D).

    Attributes:
        stats: of the feature.
        mode: 'bounds' maps [min, max] to [-1, 1], 'quantiles' maps [q01, q99], 'mean_std'
            gives zero mean and unit deviation.
        clamp: whether normalised values are cut to [-1, 1]; never in 'mean_std'.
        range_floor: least width max - min [rad] that is scaled to [-1, 1] (and twice the least
            std): without it, a joint that hardly moved turns its noise into full-scale values.
    """

    stats: FeatureStats
    mode: Mode = "bounds"
    clamp: bool = True
    range_floor: float = 0.0

    def normalise(self, values: npt.ArrayLike) -> Array:
        """Physical -> normalised."""
        centre, half = self._affine()
        scaled = (np.asarray(values, np.float64) - centre) / half
        if self.clamp and self.mode != "mean_std":
            scaled = np.clip(scaled, -1.0, 1.0)
        return np.asarray(scaled)

    def unnormalise(self, values: npt.ArrayLike) -> Array:
        """Normalised -> physical. Never clamped: limits are the safety check's business."""
        centre, half = self._affine()
        return np.asarray(np.asarray(values, np.float64) * half + centre)

    def _affine(self) -> tuple[Array, Array]:
        """Centre and half range (D,) of what maps to [-1, 1]."""
        stats = self.stats
        if self.mode == "mean_std":
            return stats.mean, np.maximum(stats.std, self.range_floor / 2) + _EPSILON
        low, high = (stats.min, stats.max) if self.mode == "bounds" else (stats.q01, stats.q99)
        half = (high - low + _EPSILON) / 2
        centre = low + half  # so that low maps to -1 exactly, as in the authors' formula
        return centre, np.maximum(half, self.range_floor / 2)


@dataclass(frozen=True, kw_only=True)
class NormStats:
    """All that normalises one embodiment's data; travels in the checkpoint (norm_stats.json)."""

    embodiment: str
    state: FeatureStats
    action: FeatureStats
    mode: Mode = "bounds"
    clamp: bool = True
    range_floor: float = 0.0

    @property
    def state_normalizer(self) -> Normalizer:
        """For observation.state."""
        return self._normalizer(self.state)

    @property
    def action_normalizer(self) -> Normalizer:
        """For action."""
        return self._normalizer(self.action)

    def _normalizer(self, stats: FeatureStats) -> Normalizer:
        return Normalizer(
            stats=stats, mode=self.mode, clamp=self.clamp, range_floor=self.range_floor
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data, with LeRobot's feature names under the embodiment."""
        features = {"observation.state": self.state, "action": self.action}
        return {
            "mode": self.mode,
            "clamp": self.clamp,
            "range_floor": self.range_floor,
            "stats": {
                self.embodiment: {
                    name: {item.name: getattr(stats, item.name).tolist() for item in fields(stats)}
                    for name, stats in features.items()
                }
            },
        }

    @classmethod
    def from_dict(cls, data: object, *, source: str = "norm stats") -> "NormStats":
        """Read what to_dict wrote, strictly.

        Raises:
            NormStatsError: a key is missing, unknown or of another type; names it.
        """
        root = _mapping(data, source, "", ("mode", "clamp", "range_floor", "stats"))
        mode, clamp, floor = root["mode"], root["clamp"], root["range_floor"]
        if mode not in get_args(Mode):
            expected = ", ".join(get_args(Mode))
            raise NormStatsError(f"{source}: mode: expected one of {expected}, got {mode!r}")
        if not isinstance(clamp, bool):
            raise NormStatsError(f"{source}: clamp: expected true or false, got {clamp!r}")
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not floor >= 0:
            raise NormStatsError(f"{source}: range_floor: expected 0 or more, got {floor!r}")
        stats = root["stats"]
        if not isinstance(stats, Mapping) or len(stats) != 1:
            raise NormStatsError(f"{source}: stats: expected exactly one embodiment")
        embodiment, features = next(iter(stats.items()))
        path = f"stats.{embodiment}"
        features = _mapping(features, source, path, ("observation.state", "action"))
        state, action = (_feature(features[name], source, f"{path}.{name}") for name in features)
        return cls(
            embodiment=embodiment,
            state=state,
            action=action,
            mode=mode,
            clamp=clamp,
            range_floor=float(floor),
        )


def read_norm_stats(path: Path | str) -> NormStats:
    """Read norm_stats.json.

    Raises:
        NormStatsError: the file is missing, no JSON, or not what write_norm_stats wrote.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NormStatsError(f"{path}: cannot read the norm stats: {error}") from error
    return NormStats.from_dict(data, source=str(path))


def write_norm_stats(stats: NormStats, path: Path | str) -> None:
    """Write norm_stats.json."""
    Path(path).write_text(json.dumps(stats.to_dict(), indent=1) + "\n", encoding="utf-8")


def pad_width(values: npt.ArrayLike, width: int, fill: float = 0.0) -> Array:
    """(..., D) -> (..., W), the new entries at `fill`.

    Raises:
        ValueError: D is above the width.
    """
    array = np.asarray(values, np.float64)
    missing = width - array.shape[-1]
    if missing < 0:
        raise ValueError(f"{array.shape[-1]} values do not fit the model's width {width}")
    padding = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
    return np.pad(array, padding, constant_values=fill)


def width_mask(count: int, width: int) -> npt.NDArray[np.bool_]:
    """(W,) bool, True for the first `count` entries."""
    return np.arange(width) < count


def _mapping(data: object, source: str, path: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """The mapping with exactly these keys, in this order."""
    where = f"{source}: {path or 'top level'}"
    if not isinstance(data, Mapping):
        raise NormStatsError(f"{where}: expected a mapping, got {type(data).__name__}")
    for key in keys:
        if key not in data:
            raise NormStatsError(f"{where}: missing key '{key}'")
    unknown = sorted(str(key) for key in data if key not in keys)
    if unknown:
        raise NormStatsError(f"{where}: unknown key '{unknown[0]}'; known: {', '.join(keys)}")
    return {key: data[key] for key in keys}


def _feature(data: object, source: str, path: str) -> FeatureStats:
    values = _mapping(data, source, path, tuple(item.name for item in fields(FeatureStats)))
    try:
        return FeatureStats(**{key: np.asarray(value, float) for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise NormStatsError(f"{source}: {path}: {error}") from error
