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

from evo1_policy.joint_units import JointUnits, JointUnitsError
from evo1_policy.untrusted import UntrustedError, read_json

Array = npt.NDArray[np.float64]
Mode = Literal["bounds", "quantiles", "mean_std"]
ZeroGuard = Literal["added", "if_zero"]

_EPSILON = 1e-8  # of the published code; keeps a constant joint from dividing by zero
_FARTHEST = 10.0  # a normalised state beyond is cut: no data lay there, only a tiny width
_COLLAPSED = 0.01  # share of [min, max] below which quantiles say nothing of a joint that moves
_MOVES = 0.01  # range [rad, or the other unit] from which on a joint moves at all
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
            if not np.isfinite(value).all():
                raise NormStatsError(f"{item.name}: not finite at {np.argmin(np.isfinite(value))}")
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


@dataclass(frozen=True, kw_only=True)
class NormRules:
    """How statistics are computed with, the same for state and action.

    Attributes:
        mode: 'bounds' maps [min, max] to [-1, 1], 'quantiles' maps [q01, q99], 'mean_std'
            gives zero mean and unit deviation.
        clamp: whether normalised values are cut to [-1, 1]; never in 'mean_std'.
        range_floor: least width max - min [rad] that is scaled to [-1, 1] (and twice the least
            std): without it, a joint that hardly moved turns its noise into full-scale values.
        zero_guard: 'added' adds 1e-8 to every width or deviation, as the authors do; 'if_zero'
            replaces a width of 0 and adds to the deviation in the forward direction only, as
            LeRobot does.
        units: that the statistics are in, where they are not radians.
    """

    mode: Mode = "bounds"
    clamp: bool = True
    range_floor: float = 0.0
    zero_guard: ZeroGuard = "added"
    units: JointUnits | None = None


@dataclass(frozen=True, kw_only=True)
class Normalizer(NormRules):
    """Maps one feature to the model's numbers and back; shapes (..., D).

    `constant_to_zero`: whether a dimension that never moved is normalised to 0. `farthest`: where
    normalised values are cut at the latest.
    """

    stats: FeatureStats
    constant_to_zero: bool = False
    farthest: float = math.inf

    def normalise(self, values: npt.ArrayLike) -> Array:
        """Physical [rad] -> normalised."""
        origin, scale, shift = self._affine()
        if self.units is not None:
            values = self.units.from_rad(values)
        scaled = (np.asarray(values, np.float64) - origin) / scale - shift
        if self.clamp and self.mode != "mean_std":
            scaled = np.clip(scaled, -1.0, 1.0)
        if self.constant_to_zero and self.mode != "mean_std":
            low, high = self.stats.pair(self.mode)
            scaled = np.where(high - low < _EPSILON, 0.0, scaled)
        return np.clip(scaled, -self.farthest, self.farthest)

    def unnormalise(self, values: npt.ArrayLike) -> Array:
        """Normalised -> physical [rad]. Never clamped: limits are the safety check's business."""
        origin, scale, shift = self._affine(inverse=True)
        physical = np.asarray((np.asarray(values, np.float64) + shift) * scale + origin)
        return physical if self.units is None else self.units.to_rad(physical)

    def _affine(self, *, inverse: bool = False) -> tuple[Array, Array, float]:
        """Origin (D,), scale (D,) and shift: normalised = (value - origin) / scale - shift."""
        first, second = self.stats.pair(self.mode)
        if self.mode == "mean_std":
            guard = 0.0 if inverse and self.zero_guard == "if_zero" else _EPSILON
            return first, np.maximum(second, self.range_floor / 2) + guard, 0.0
        width = second - first
        if self.zero_guard == "added":
            width = width + _EPSILON
        else:
            width = np.where(width == 0.0, _EPSILON, width)
        # A floor widens the range around its centre; without one the low end maps to -1 exactly.
        missing = np.maximum(self.range_floor - width, 0.0)
        return first - missing / 2, (width + missing) / 2, 1.0


@dataclass(frozen=True, kw_only=True)
class NormStats(NormRules):
    """All that normalises one embodiment's data; travels in the checkpoint (norm_stats.json).

    `constant_action_to_zero`: evo1-flash trains action dimensions that never moved as 0.
    """

    embodiment: str
    state: FeatureStats
    action: FeatureStats
    constant_action_to_zero: bool = False

    def __post_init__(self) -> None:
        for name, stats in (("observation.state", self.state), ("action", self.action)):
            try:
                stats.pair(self.mode)
            except NormStatsError as error:
                raise NormStatsError(f"{self.embodiment}.{name}: {error}") from None

    @property
    def state_normalizer(self) -> Normalizer:
        """For observation.state."""
        return self._normalizer(self.state, farthest=_FARTHEST)

    @property
    def action_normalizer(self) -> Normalizer:
        """For action."""
        return self._normalizer(self.action, constant_to_zero=self.constant_action_to_zero)

    def _normalizer(self, stats: FeatureStats, **more: Any) -> Normalizer:
        rules = {item.name: getattr(self, item.name) for item in fields(NormRules)}
        return Normalizer(stats=stats, **rules, **more)

    def rules(self) -> dict[str, Any]:
        """How the statistics are used, as plain JSON data."""
        return {
            "mode": self.mode,
            "clamp": self.clamp,
            "range_floor": self.range_floor,
            "zero_guard": self.zero_guard,
            "constant_action_to_zero": self.constant_action_to_zero,
            **({} if self.units is None else {"units": self.units.to_dict()}),
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data, with LeRobot's feature names under the embodiment."""
        features = {"observation.state": self.state, "action": self.action}
        data = {name: stats.to_dict() for name, stats in features.items()}
        return {**self.rules(), "stats": {self.embodiment: data}}

    @classmethod
    def from_dict(cls, data: object, *, source: str = "norm stats") -> "NormStats":
        """Read what to_dict wrote, strictly.

        Raises:
            NormStatsError: a key is missing, unknown or of another type; names it.
        """
        root = _mapping(data, source, "", (*_RULES, "stats"), optional=_LATER_RULES)
        stats = root.pop("stats")
        rules = check_rules(root, source=source)
        if not isinstance(stats, Mapping) or len(stats) != 1:
            raise NormStatsError(f"{source}: stats: expected exactly one embodiment")
        embodiment, features = next(iter(stats.items()))
        path = f"stats.{embodiment}"
        features = _mapping(features, source, path, ("observation.state", "action"))
        state, action = (
            feature_stats(features[name], source=source, path=f"{path}.{name}")
            for name in features
        )
        try:
            return cls(embodiment=embodiment, state=state, action=action, **rules)
        except NormStatsError as error:
            raise NormStatsError(f"{source}: stats.{error}") from None


_RULES = ("mode", "clamp", "range_floor")
# Older files lack them and mean their defaults.
_LATER_RULES = ("zero_guard", "constant_action_to_zero", "units")


def check_rules(data: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """What NormStats.rules wrote, checked.

    Raises:
        NormStatsError: a key is missing, unknown or of another type; names it.
    """
    rules = _mapping(data, source, "", _RULES, optional=_LATER_RULES)
    for key, kind in (("mode", Mode), ("zero_guard", ZeroGuard)):
        if key in rules and rules[key] not in get_args(kind):
            expected = ", ".join(get_args(kind))
            raise NormStatsError(
                f"{source}: {key}: expected one of {expected}, got {rules[key]!r}"
            )
    for key in ("clamp", "constant_action_to_zero"):
        if key in rules and not isinstance(rules[key], bool):
            raise NormStatsError(f"{source}: {key}: expected true or false, got {rules[key]!r}")
    floor = rules["range_floor"]
    if isinstance(floor, bool) or not isinstance(floor, int | float) or not floor >= 0:
        raise NormStatsError(f"{source}: range_floor: expected 0 or more, got {floor!r}")
    if "units" in rules:
        try:
            rules["units"] = JointUnits.from_dict(rules["units"])
        except JointUnitsError as error:
            raise NormStatsError(f"{source}: units: {error}") from error
    return rules | {"range_floor": float(floor)}


def read_norm_stats(path: Path | str) -> NormStats:
    """Read norm_stats.json.

    Raises:
        NormStatsError: the file is missing, no JSON, or not what write_norm_stats wrote.
    """
    try:
        data = read_json(path, what="norm stats")
    except UntrustedError as error:
        raise NormStatsError(str(error)) from error
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


def _mapping(
    data: object, source: str, path: str, keys: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The mapping with exactly these keys, in this order, and those optional ones it has."""
    where = f"{source}: {path or 'top level'}"
    if not isinstance(data, Mapping):
        raise NormStatsError(f"{where}: expected a mapping, got {type(data).__name__}")
    for key in keys:
        if key not in data:
            raise NormStatsError(f"{where}: missing key '{key}'")
    known = keys + optional
    unknown = sorted(str(key) for key in data if key not in known)
    if unknown:
        raise NormStatsError(f"{where}: unknown key '{unknown[0]}'; known: {', '.join(known)}")
    return {key: data[key] for key in known if key in data}
