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

from evo1_policy.feature_stats import LARGEST, Array, feature_stats
from evo1_policy.feature_stats import FeatureStats as FeatureStats
from evo1_policy.feature_stats import Mode as Mode
from evo1_policy.feature_stats import NormStatsError as NormStatsError
from evo1_policy.interface import ActionSpace
from evo1_policy.joint_units import JointUnits, JointUnitsError
from evo1_policy.kinematics.end_effector import EndEffector, read_end_effector
from evo1_policy.strict_yaml import Section, StrictYamlError
from evo1_policy.untrusted import UntrustedError, read_json

ZeroGuard = Literal["added", "if_zero"]

_EPSILON = 1e-8  # of the published code; keeps a constant joint from dividing by zero
_FARTHEST = 10.0  # a normalised state beyond is cut: no data lay there, only a tiny width


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

    Attributes:
        embodiment: whose.
        state: of observation.state.
        action: of the chunks' actions, in their action space.
        constant_action_to_zero: evo1-flash trains action dimensions that never moved as 0.
        action_space: 'joint'; 'joint_relative': each action of a chunk is less the state of
            the chunk's observation; 'ee_pose', 'ee_delta': of the end effector; 'raw': numbers
            of something else, which go out as they are.
        absolute_joints: indices of the joints that stay as they are in 'joint_relative'.
        end_effector: what the numbers mean in 'ee_pose' and 'ee_delta'.
    """

    embodiment: str
    state: FeatureStats
    action: FeatureStats
    constant_action_to_zero: bool = False
    action_space: ActionSpace = "joint"
    absolute_joints: tuple[int, ...] = ()
    end_effector: EndEffector | None = None

    def __post_init__(self) -> None:
        for name, stats in self.features.items():
            try:
                stats.pair(self.mode)
            except NormStatsError as error:
                raise NormStatsError(f"{self.embodiment}.{name}: {error}") from None
        problem = self._space_problem()
        if problem:
            raise NormStatsError(f"{self.embodiment}: action_space {self.action_space}: {problem}")

    @property
    def features(self) -> dict[str, FeatureStats]:
        """By LeRobot's names: state and action, in this order."""
        return {"observation.state": self.state, "action": self.action}

    def widths(self, state: int, action: int) -> tuple[int, int]:
        """How many numbers state and action have for an interface of these widths."""
        ee = self.end_effector
        return (state, action) if ee is None else ee.widths(state)

    def _space_problem(self) -> str:
        """Why the statistics cannot be those of this action space; '' where they can."""
        found, ee = (self.state.shape[0], self.action.shape[0]), self.end_effector
        if self.action_space in ("joint", "raw") and ee is None:
            return ""
        if (ee is None) == (self.action_space in ("ee_pose", "ee_delta")):
            return f"end_effector: {'missing' if ee is None else 'expected none'}"
        if ee is not None and ee.action_space != self.action_space:
            return f"end_effector.reference: '{ee.reference}' is that of {ee.action_space}"
        known = self.widths(found[0], found[0])
        if found != known or self.units is not None:
            names = "the state's joints" if ee is None else ", ".join(ee.action.names)
            return (
                f"expected actions of {names} in radians and metres, of {known} "
                f"numbers (state, action); got {found}{'' if self.units is None else ' and units'}"
            )
        if not set(self.absolute_joints) <= set(range(found[0])):
            return f"absolute_joints: expected indices from 0 to {found[0] - 1}"
        return ""

    def normalise_actions(self, actions: npt.ArrayLike, state: npt.ArrayLike) -> Array:
        """Joint targets (..., D) [rad] of a chunk -> the model's numbers.

        Args:
            actions: where the joints shall be; in 'ee_pose' and 'ee_delta' the end effector's
                numbers (kinematics.inverse.ToolSpace makes them).
            state: (D,) where they were when the chunk's observation was made [rad].
        """
        shifted = np.asarray(actions, np.float64) - self._origin(state)
        return self.action_normalizer.normalise(shifted)

    def unnormalise_actions(self, values: npt.ArrayLike, state: npt.ArrayLike) -> Array:
        """The inverse of normalise_actions, but for what was clamped: joint targets [rad]."""
        return self.action_normalizer.unnormalise(values) + self._origin(state)

    def normalise_received(self, state: npt.ArrayLike) -> Array:
        """A state (S',) as a client sends it, of S numbers or more -> the model's numbers.

        Clients pad on their own; the authors' servers normalise what was padded with statistics
        of 0 (0 becomes -1 there), LeRobot's with -1 and 1.
        """
        values, width = np.asarray(state, np.float64), self.state.shape[0]
        known = self.state_normalizer.normalise(values[:width])
        end = np.full(len(values) - width, float(self.zero_guard == "if_zero"))
        beyond = FeatureStats(min=-end, max=end, mean=0 * end, std=end, q01=-end, q99=end)
        surplus = self._normalizer(beyond, farthest=_FARTHEST).normalise(values[width:])
        return np.concatenate([known, surplus])

    def _origin(self, state: npt.ArrayLike) -> Array:
        """What the chunk's actions count from: (D,), or 0 where they are absolute."""
        if self.action_space != "joint_relative":
            return np.zeros(())
        origin = np.array(state, np.float64)
        origin[list(self.absolute_joints)] = 0.0
        return origin

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
            **({} if self.action_space == "joint" else {"action_space": self.action_space}),
            **({"absolute_joints": list(self.absolute_joints)} if self.absolute_joints else {}),
            **({"end_effector": self.end_effector.to_dict()} if self.end_effector else {}),
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data, with LeRobot's feature names under the embodiment."""
        data = {name: stats.to_dict() for name, stats in self.features.items()}
        return {**self.rules(), "stats": {self.embodiment: data}}

    @classmethod
    def from_dict(cls, data: object, *, source: str = "norm stats") -> "NormStats":
        """Read what to_dict wrote, strictly.

        Raises:
            NormStatsError: a key is missing, unknown or of another type; names it.
        """
        try:
            root = Section(data, path="", source=source)
            rules = _rules(root)
            stats = root.section("stats")
            if len(root.get("stats", "one embodiment")) != 1:
                raise stats.error("", "expected exactly one embodiment")
            (embodiment,) = root.get("stats", "one embodiment")
            features = stats.section(embodiment)
            state, action = (
                feature_stats(
                    features.get(name, "statistics"),
                    source=source,
                    path=f"{features.path}.{name}",
                )
                for name in ("observation.state", "action")
            )
            for part in (features, root):
                part.finish()
        except StrictYamlError as error:
            raise NormStatsError(str(error)) from error
        try:
            return cls(embodiment=embodiment, state=state, action=action, **rules)
        except NormStatsError as error:
            raise NormStatsError(f"{source}: stats.{error}") from None


def action_space(name: object) -> ActionSpace:
    """An action space by its name.

    Raises:
        NormStatsError: unknown.
    """
    if name not in get_args(ActionSpace):
        known = ", ".join(get_args(ActionSpace))
        raise NormStatsError(f"action_space: expected one of {known}, got {name!r}")
    chosen: ActionSpace = name  # type: ignore[assignment]
    return chosen


def check_rules(data: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """What NormStats.rules wrote, checked.

    Raises:
        NormStatsError: a key is missing, unknown or of another type; names it.
    """
    try:
        root = Section(data, path="", source=source)
        rules = _rules(root)
        root.finish()
    except StrictYamlError as error:
        raise NormStatsError(str(error)) from error
    return rules


def _rules(root: Section) -> dict[str, Any]:
    """The rules of a file; what older ones lack has its default."""
    floor, indices = root.number("range_floor"), []
    if not 0 <= floor <= LARGEST:
        raise root.error("range_floor", f"expected 0 to {LARGEST:g}, got {floor:g}")
    if root.has("absolute_joints"):
        indices = root.get("absolute_joints", "whole numbers")
        if not isinstance(indices, list) or not all(type(item) is int for item in indices):
            raise root.error("absolute_joints", f"expected whole numbers, got {indices!r:.80}")
    try:
        units = JointUnits.from_dict(root.get("units", "units")) if root.has("units") else None
    except JointUnitsError as error:
        raise root.error("units", str(error)) from error
    has_tool = root.has("end_effector")
    return {
        "mode": root.choice("mode", get_args(Mode)),
        "clamp": root.flag("clamp"),
        "range_floor": floor,
        "zero_guard": root.choice("zero_guard", get_args(ZeroGuard), "added"),
        "constant_action_to_zero": root.flag("constant_action_to_zero", default=False),
        "units": units,
        "action_space": root.choice("action_space", get_args(ActionSpace), "joint"),
        "absolute_joints": tuple(indices),
        "end_effector": read_end_effector(root, "end_effector") if has_tool else None,
    }


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
