"""Which columns make up state and action: by the authors' 'process suites', or by an adoption.

A suite is data here: columns that are joined, grippers that are turned round, and whether the
numbers are poses, and which; or numbers that are picked one by one and turned into radians. The
authors' ranges (relative_dims, ...) say only what use_delta_action would make relative; that is
refused, so they are checked and left aside. Must not import ROS or torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.joint_units import JointUnits
from evo1_policy.kinematics.end_effector import EndEffector
from evo1_training.datasets.reader.info import ACTION_KEY, STATE_KEY

Pick = tuple[str, int]  # a number: its column, and its place there
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """How state and action are made from columns.

    Attributes:
        name: process_suite in the authors' file.
        state: columns, joined in this order.
        action: columns, joined in this order.
        inverted: those of them that become 1 - value.
        poses: the numbers are poses of the end effector, not positions of joints.
        state_picks: the numbers of the state, one a joint; empty for all of its columns.
        action_picks: likewise of the actions.
        units: of the numbers picked; None for radians.
        end_effector: what the numbers mean where they are the end effector's; None: joints.
    """

    name: str = "default"
    state: tuple[str, ...] = (STATE_KEY,)
    action: tuple[str, ...] = (ACTION_KEY,)
    inverted: frozenset[str] = frozenset()
    poses: bool = False
    state_picks: tuple[Pick, ...] = ()
    action_picks: tuple[Pick, ...] = ()
    units: JointUnits | None = None
    end_effector: EndEffector | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All that must be read."""
        return tuple(dict.fromkeys([*self.state, *self.action]))

    def states(self, columns: Mapping[str, Array]) -> Array:
        """(N, D) float32 from columns (N, *shape)."""
        return self._make(self.state, self.state_picks, columns)

    def actions(self, columns: Mapping[str, Array]) -> Array:
        """(N, D) float32 from columns (N, *shape)."""
        return self._make(self.action, self.action_picks, columns)

    def _make(
        self, keys: tuple[str, ...], picks: tuple[Pick, ...], columns: Mapping[str, Array]
    ) -> Array:
        parts = {key: columns[key].reshape(len(columns[key]), -1) for key in keys}
        parts |= {key: 1 - parts[key] for key in self.inverted & set(keys)}
        if picks:
            values = np.stack([parts[key][:, place] for key, place in picks], axis=1)
        else:
            values = np.concatenate([parts[key] for key in keys], axis=1)
        if self.units is not None:
            values = self.units.to_rad(values)
        return np.ascontiguousarray(values, dtype=np.float32)


ABSOLUTE = Suite()
Config = Mapping[str, Any]


def official_suite(name: str, config: Config) -> Suite:
    """The suite of a name in the authors' dataset file.

    Args:
        name: process_suite.
        config: suite_config.

    Raises:
        ValueError: an unknown name, or a key that this suite does not know or of another kind.
    """
    if name not in _SUITES:
        raise ValueError(f"unknown suite '{name}'; known: {', '.join(_SUITES)}")
    keys, poses, make = _SUITES[name]
    unknown = sorted(set(config) - set(keys) - _IGNORED)
    if unknown:
        raise ValueError(f"'{name}' knows no key '{unknown[0]}'; known: {', '.join(keys)}")
    for key in ("ee_pose_dims", "relative_dims"):
        if key in keys and key in config:
            _check_ranges(key, config[key])
    return replace(make(config), name=name, poses=poses)


# Of use to people only.
_IGNORED = {"gripper_indices", "arm_dims"}


def _joined(config: Config) -> Suite:
    joined = config.get("action_concat_keys") or [_text(config, "action_key", ACTION_KEY)]
    if not isinstance(joined, list) or not all(isinstance(key, str) for key in joined):
        raise ValueError(f"action_concat_keys: expected a list of columns, got {joined!r}")
    return Suite(state=(_text(config, "state_key", STATE_KEY),), action=tuple(joined))


def _droid(config: Config) -> Suite:
    state_gripper = _text(config, "state_gripper_key", "observation.state.gripper_position")
    action_gripper = _text(config, "action_gripper_key", "action.gripper_position")
    state = _text(config, "state_key", "observation.state.cartesian_position")
    action = _text(config, "action_key", "action.cartesian_position")
    return Suite(
        state=(state, state_gripper),
        action=(action, action_gripper),
        inverted=frozenset({state_gripper, action_gripper}),
    )


def _text(config: Config, key: str, default: str) -> str:
    value = config.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected the name of a column, got {value!r}")
    return value


def _check_ranges(key: str, value: object) -> None:
    """Refuse what is neither [start, end] nor a list of such."""
    ranges = value if key == "relative_dims" else [value]
    for item in ranges if isinstance(ranges, list) else [ranges]:
        if not (
            isinstance(item, list)
            and len(item) == 2
            and all(isinstance(number, int) for number in item)
            and 0 <= item[0] < item[1]
        ):
            raise ValueError(f"{key}: expected [start, end] with start below end, got {item!r}")


_KEYS = ("state_key", "action_key")
# Keys of suite_config, whether the numbers are poses of the end effector, and the columns.
_SUITES: Mapping[str, tuple[tuple[str, ...], bool, Callable[[Config], Suite]]] = {
    "default": ((), False, _joined),
    "franka_ee_pose": ((*_KEYS, "ee_pose_dims"), True, _joined),
    "franka_joint_angle": ((*_KEYS, "joint_dims"), False, _joined),
    "droid_eef": ((*_KEYS, "state_gripper_key", "action_gripper_key"), True, _droid),
    "aloha_joint_angle": (_KEYS, False, _joined),
    "metaworld": (_KEYS, True, _joined),
    "custom": ((*_KEYS, "action_concat_keys", "relative_dims"), False, _joined),
}
