"""Which columns make up state and action, as the authors' 'process suites' choose them.

A suite is data here: columns that are joined, grippers that are turned round, and ranges of the
action that become relative to the state of the same frame. Must not import ROS or torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.datasets.reader.info import ACTION_KEY, STATE_KEY

Array = npt.NDArray[Any]
Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """How state and action are made from columns.

    Attributes:
        state: columns, joined in this order.
        action: columns, joined in this order.
        inverted: those of them that become 1 - value.
        relative: ranges of the action from which the state is taken away; one that either is
            too narrow for has no effect.
    """

    state: tuple[str, ...] = (STATE_KEY,)
    action: tuple[str, ...] = (ACTION_KEY,)
    inverted: frozenset[str] = frozenset()
    relative: tuple[Range, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All that must be read."""
        return tuple(dict.fromkeys([*self.state, *self.action]))

    def states(self, columns: Mapping[str, Array]) -> Array:
        """(N, D) from columns (N, *shape)."""
        return self._join(self.state, columns)

    def actions(self, columns: Mapping[str, Array]) -> Array:
        """(N, D) from columns (N, *shape)."""
        actions = self._join(self.action, columns)
        if not self.relative:
            return actions
        states = self.states(columns)
        result = actions.copy()
        for start, end in self.relative:
            if min(actions.shape[1], states.shape[1]) >= end:
                result[:, start:end] = actions[:, start:end] - states[:, start:end]
        return result

    def _join(self, keys: tuple[str, ...], columns: Mapping[str, Array]) -> Array:
        parts = []
        for key in keys:
            part = columns[key].reshape(len(columns[key]), -1)
            parts.append(1 - part if key in self.inverted else part)
        return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)


ABSOLUTE = Suite()
Config = Mapping[str, Any]


def official_suite(name: str, config: Config, *, relative: bool) -> Suite:
    """The suite of a name in the authors' dataset file.

    Args:
        name: process_suite.
        config: suite_config.
        relative: use_delta_action.

    Raises:
        ValueError: an unknown name, or a key that this suite does not know or of another kind.
    """
    if name not in _SUITES:
        raise ValueError(f"unknown suite '{name}'; known: {', '.join(_SUITES)}")
    keys, make = _SUITES[name]
    unknown = sorted(set(config) - set(keys) - _IGNORED)
    if unknown:
        raise ValueError(f"'{name}' knows no key '{unknown[0]}'; known: {', '.join(keys)}")
    suite = make(config)
    if relative:
        return suite
    return Suite(state=suite.state, action=suite.action, inverted=suite.inverted)


# Of use to people only: the ranges say already what stays absolute.
_IGNORED = {"gripper_indices", "arm_dims"}


def _joined(config: Config, *relative: Range) -> Suite:
    return Suite(
        state=(_text(config, "state_key", STATE_KEY),),
        action=(_text(config, "action_key", ACTION_KEY),),
        relative=relative,
    )


def _droid(config: Config) -> Suite:
    state_gripper = _text(config, "state_gripper_key", "observation.state.gripper_position")
    action_gripper = _text(config, "action_gripper_key", "action.gripper_position")
    state = _text(config, "state_key", "observation.state.cartesian_position")
    action = _text(config, "action_key", "action.cartesian_position")
    return Suite(
        state=(state, state_gripper),
        action=(action, action_gripper),
        inverted=frozenset({state_gripper, action_gripper}),
        relative=((0, 6),),
    )


def _custom(config: Config) -> Suite:
    relative = config.get("relative_dims", [[0, 6]])
    if not isinstance(relative, list):
        raise ValueError(f"relative_dims: expected a list of [start, end], got {relative!r}")
    ranges = [_range("relative_dims", item) for item in relative]
    joined = config.get("action_concat_keys")
    if not joined:
        return _joined(config, *ranges)
    if not isinstance(joined, list) or not all(isinstance(key, str) for key in joined):
        raise ValueError(f"action_concat_keys: expected a list of columns, got {joined!r}")
    return Suite(
        state=(_text(config, "state_key", STATE_KEY),),
        action=tuple(joined),
        relative=tuple(ranges),
    )


def _text(config: Config, key: str, default: str) -> str:
    value = config.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected the name of a column, got {value!r}")
    return value


def _range(key: str, value: object) -> Range:
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(number, int) for number in value)
        and 0 <= value[0] < value[1]
    ):
        return value[0], value[1]
    raise ValueError(f"{key}: expected [start, end] with start below end, got {value!r}")


def _leading(config: Config) -> Range:
    return _range("joint_dims", [0, config.get("joint_dims", 7)])


_KEYS = ("state_key", "action_key")
_SUITES: Mapping[str, tuple[tuple[str, ...], Callable[[Config], Suite]]] = {
    "default": ((), lambda config: _joined({}, (0, 6), (7, 13))),
    "franka_ee_pose": (
        (*_KEYS, "ee_pose_dims"),
        lambda config: _joined(config, _range("ee_pose_dims", config.get("ee_pose_dims", [0, 6]))),
    ),
    "franka_joint_angle": (
        (*_KEYS, "joint_dims"),
        lambda config: _joined(config, _leading(config)),
    ),
    "droid_eef": ((*_KEYS, "state_gripper_key", "action_gripper_key"), _droid),
    "aloha_joint_angle": (_KEYS, lambda config: _joined(config, (0, 6), (7, 13))),
    "metaworld": (_KEYS, _joined),
    "custom": ((*_KEYS, "action_concat_keys", "relative_dims"), _custom),
}
