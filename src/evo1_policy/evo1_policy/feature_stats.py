"""Statistics of one feature, and which of them a normalisation computes with.

Must not import ROS or torch. Letter: D the robot's width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mode = Literal["bounds", "quantiles", "mean_std"]

_COLLAPSED = 0.01  # share of [min, max] below which quantiles say nothing of a joint that moves
_MOVES = 0.01  # range [rad, or the other unit] from which on a joint moves at all
# Servos count thousands of ticks a turn; what is larger was never a joint's, and overflows later.
LARGEST = 1e6
_NEEDED = {  # what a mode computes with
    "bounds": ("min", "max"),
    "quantiles": ("q01", "q99"),
    "mean_std": ("mean", "std"),
}


class NormStatsError(ValueError):
    """Norm stats that cannot be used; the message names the file and the dotted key."""


@dataclass(frozen=True, kw_only=True)
class FeatureStats:
    """Statistics of one feature over a dataset, each (D,) float64 in the joints' order.

    The authors' older files hold nothing but min and max.
    """

    min: Array
    max: Array
    mean: Array | None = None
    std: Array | None = None
    q01: Array | None = None
    q99: Array | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) is None:
                continue
            value = np.array(getattr(self, item.name), dtype=np.float64)
            if value.shape != self.shape or value.ndim != 1:
                raise NormStatsError(f"{item.name}: expected {self.shape}, got {value.shape}")
            sane = np.abs(value) <= LARGEST  # False for NaN
            if not sane.all():
                k = int(np.argmin(sane))
                raise NormStatsError(
                    f"{item.name}[{k}]: {value[k]:g} is no joint's angle, length or count; "
                    f"expected a number between -{LARGEST:g} and {LARGEST:g}: compute the "
                    "statistics again"
                )
            value.flags.writeable = False
            object.__setattr__(self, item.name, value)
        for low, high in (("min", "max"), ("q01", "q99")):
            lower, upper = getattr(self, low), getattr(self, high)
            if lower is None or upper is None:
                continue
            wrong = np.flatnonzero(lower > upper)
            if wrong.size:
                raise NormStatsError(f"{low}[{wrong[0]}] is above {high}[{wrong[0]}]")
        if self.std is not None and (self.std < 0).any():
            raise NormStatsError(f"std[{np.argmax(self.std < 0)}] is negative")

    def collapsed(self) -> list[int]:
        """The joints that move, though 98 % of their values are one: a gripper closed at times."""
        if self.q01 is None or self.q99 is None:
            return []
        span = self.max - self.min
        flat = (self.q99 - self.q01 < _COLLAPSED * span) & (span > _MOVES)
        return [int(k) for k in np.flatnonzero(flat)]

    def pair(self, mode: Mode) -> tuple[Array, Array]:
        """The two statistics that a mode computes with, each (D,).

        In mode 'quantiles', a joint whose quantiles collapsed is mapped by its bounds.

        Raises:
            NormStatsError: one is not there.
        """
        first, second = (getattr(self, name) for name in _NEEDED[mode])
        if first is None or second is None:
            lacking = _NEEDED[mode][0 if first is None else 1]
            raise NormStatsError(f"missing key '{lacking}', which mode '{mode}' needs")
        if mode == "quantiles":
            first, second = first.copy(), second.copy()
            for k in self.collapsed():
                first[k], second[k] = self.min[k], self.max[k]
        return first, second

    def to_dict(self) -> dict[str, list[float]]:
        """Those that are there, as plain JSON data."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value.tolist() for name, value in found.items() if value is not None}

    @property
    def shape(self) -> tuple[int, ...]:
        """(D,)."""
        return np.shape(self.min)


def feature_stats(data: object, *, source: str, path: str) -> FeatureStats:
    """The statistics of one feature from {min, max, ...}; what else is there is left out.

    Raises:
        NormStatsError: min or max is missing, or one is not a list of finite numbers.
    """
    if not isinstance(data, Mapping):
        raise NormStatsError(f"{source}: {path}: expected a mapping, got {type(data).__name__}")
    for key in _NEEDED["bounds"]:
        if key not in data:
            raise NormStatsError(f"{source}: {path}: missing key '{key}'")
    try:
        found = {item.name: data[item.name] for item in fields(FeatureStats) if item.name in data}
        return FeatureStats(**{key: np.asarray(value, float) for key, value in found.items()})
    except (TypeError, ValueError) as error:
        raise NormStatsError(f"{source}: {path}: {error}") from error
