"""What the numbers of an end-effector action or state mean, and the poses that they are.

Poses are those of the robot file's tool in its base frame; nothing here knows an arm. Must not
import ROS, torch or mujoco. Letters: N rows, W numbers of a row, K of its rotation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.strict_yaml import Section, StrictYamlError, read_section
from evo1_policy.untrusted import MOST_YAML_BYTES, read_text

RotationForm = Literal["axis_angle", "rpy", "rotation_6d"]
Reference = Literal["base", "start", "previous"]
_NUMBERS = {
    "axis_angle": ("rx", "ry", "rz"),
    "rpy": ("roll", "pitch", "yaw"),
    "rotation_6d": ("r11", "r21", "r31", "r12", "r22", "r32"),
}
_NO_OFFSET = (0.0,) * 6
_FARTHEST_BASE = 100.0  # [m] from the origin of any world
LARGEST_M = 5.0  # from the base of any arm that stands on a table

_PAIRS = [[a, b] for a in (int, float) for b in (int, float)]


class EndEffectorError(ValueError):
    """A description that cannot be used; the message names the key."""


@dataclass(frozen=True, kw_only=True)
class PoseForm:
    """How a pose and the grippers stand in a row of numbers: x, y, z, the rotation, the grippers.

    Attributes:
        rotation: 'axis_angle' (axis times angle [rad], of at most pi), 'rpy' (about the fixed
            axes, x first [rad]), or 'rotation_6d' (the first two columns of the matrix).
        position_scale: metres for 1.
        rotation_scale: radians for 1; 1 for 'rotation_6d'.
        grippers: of each gripper's number, what it is when open and when closed; of a state's
            number that only fills a place, twice the same.
    """

    rotation: RotationForm = "axis_angle"
    position_scale: float = 1.0
    rotation_scale: float = 1.0
    grippers: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.rotation == "rotation_6d" and self.rotation_scale != 1:
            raise EndEffectorError("rotation_scale: expected 1 with rotation_6d")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers, in their order."""
        count = len(self.grippers)
        grippers = ("gripper",) if count == 1 else tuple(f"gripper_{k}" for k in range(count))
        return ("x", "y", "z", *_NUMBERS[self.rotation], *grippers)

    @property
    def still(self) -> Floats:
        """The numbers of a delta that moves nothing, without grippers."""
        bare = replace(self, grippers=())
        return bare.pack(np.zeros((1, 3)), np.eye(3)[None], np.zeros(1)).ravel()

    def in_units(self, numbers: npt.ArrayLike) -> Floats:
        """Rows (N, W) in metres, radians and, of grippers, 0 open to 1 closed; for people."""
        rows = np.array(numbers, np.float64)
        first = len(self.names) - len(self.grippers)
        rows[:, :3] *= self.position_scale
        rows[:, 3:first] *= self.rotation_scale
        for k, (low, high) in enumerate(self.grippers, first):
            rows[:, k] = (rows[:, k] - low) / ((high - low) or 1.0)
        return rows

    def misfit(self, low: npt.ArrayLike, high: npt.ArrayLike) -> str:
        """Why data that go from low to high (W,) are not of this form; '' where they may be.

        Told are millimetres, and a gripper that is counted otherwise.
        """
        lowest, highest = np.asarray(low, np.float64), np.asarray(high, np.float64)
        farthest = self.position_scale * float(np.abs([lowest[:3], highest[:3]]).max())
        if farthest > LARGEST_M:
            return (
                f"the tool would be, or move, {farthest:.4g} m along an axis, expected at most "
                f"{LARGEST_M:g}; are these millimetres? Say what 1 is with end_effector: "
                "position_scale"
            )
        first = len(self.names) - len(self.grippers)
        for k, pair in enumerate(self.grippers, first):
            least, most, span = float(lowest[k]), float(highest[k]), abs(pair[0] - pair[1])
            beyond = max(min(pair) - least, most - max(pair)) > 0.1 * span + 1e-6
            # Half of the way and no more: 0 and 1 where -1 and 1 were meant.
            if beyond or 0.05 * span < most - least < 0.6 * span:
                return (
                    f"the gripper's numbers go from {least:.4g} to {most:.4g}, but end_effector "
                    f"says {pair[0]:g} when open and {pair[1]:g} when closed; look at what the "
                    "data hold and say it with end_effector: grippers"
                )
        return ""

    def pack(self, position: Floats, rotation: Floats, closed: Floats) -> Floats:
        """Rows (N, W) of poses.

        Args:
            position: (N, 3) [m].
            rotation: (N, 3, 3).
            closed: (N,) of the gripper, 0 open to 1 closed.
        """
        columns = [position / self.position_scale, self._turns(rotation) / self.rotation_scale]
        columns += [(low + (high - low) * closed)[:, None] for low, high in self.grippers]
        return np.concatenate(columns, axis=1)

    def unpack(self, numbers: npt.ArrayLike) -> tuple[Floats, Floats, Floats | None]:
        """The inverse: None where no number is a gripper's. What is no rotation becomes NaN."""
        rows = np.asarray(numbers, np.float64)
        place = 3 + len(_NUMBERS[self.rotation])
        closed = None
        if self.grippers:
            low, high = self.grippers[0]
            closed = np.clip((rows[:, place] - low) / (high - low), 0.0, 1.0)
        rotation = self._matrices(rows[:, 3:place] * self.rotation_scale)
        return rows[:, :3] * self.position_scale, rotation, closed

    def _turns(self, rotation: Floats) -> Floats:
        """(N, 3, 3) -> (N, K)."""
        if self.rotation == "rotation_6d":
            return np.concatenate([rotation[:, :, 0], rotation[:, :, 1]], axis=1)
        from scipy.spatial.transform import Rotation  # a third of a second, for few policies

        turn = Rotation.from_matrix(rotation)
        found = turn.as_rotvec() if self.rotation == "axis_angle" else turn.as_euler("xyz")
        return np.asarray(found)

    def _matrices(self, turns: Floats) -> Floats:
        """(N, K) -> (N, 3, 3)."""
        if self.rotation == "rotation_6d":
            with np.errstate(invalid="ignore", divide="ignore"):
                first = turns[:, :3] / np.linalg.norm(turns[:, :3], axis=1, keepdims=True)
                second = turns[:, 3:] - (first * turns[:, 3:]).sum(axis=1, keepdims=True) * first
                second = second / np.linalg.norm(second, axis=1, keepdims=True)
            return np.stack([first, second, np.cross(first, second)], axis=2)
        from scipy.spatial.transform import Rotation

        is_axis = self.rotation == "axis_angle"
        made = Rotation.from_rotvec(turns) if is_axis else Rotation.from_euler("xyz", turns)
        return np.asarray(made.as_matrix())

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return found | {"grippers": [list(pair) for pair in self.grippers]}


@dataclass(frozen=True, kw_only=True)
class EndEffector:
    """What end-effector actions, and maybe states, mean.

    Attributes:
        action: form of an action.
        reference: what an action counts from: 'base' (ee_pose: the pose itself), 'previous'
            (ee_delta: the action before, the first from the state of the chunk's observation) or
            'start' (ee_delta: that state, for all actions of a chunk). A delta moves along the
            base's axes, and turns about them.
        state: form of the state; None: joints [rad], as the robot file has them.
        base: where the robot's base stands in the frame that the numbers count from: x, y, z [m],
            and its axis times angle [rad]; such as in a simulator's world.
    """

    action: PoseForm
    reference: Reference = "base"
    state: PoseForm | None = None
    base: tuple[float, ...] = _NO_OFFSET

    def __post_init__(self) -> None:
        grippers = self.action.grippers
        if len(grippers) > 1 or any(low == high for low, high in grippers):
            raise EndEffectorError(
                "action.grippers: expected one gripper at most, open and closed being two numbers"
            )

    def from_base(self, position: Floats, rotation: Floats) -> tuple[Floats, Floats]:
        """Positions (N, 3) [m] and rotations (N, 3, 3) in the base's frame, in the numbers'."""
        origin, turn = self._base()
        return position @ turn.T + origin, turn @ rotation

    def to_base(self, position: Floats, rotation: Floats) -> tuple[Floats, Floats]:
        """The inverse of `from_base`."""
        origin, turn = self._base()
        return (position - origin) @ turn, turn.T @ rotation

    def _base(self) -> tuple[Floats, Floats]:
        """Of the base in the numbers' frame: (3,) [m] and (3, 3)."""
        _, rotation, _ = PoseForm().unpack([self.base]) if any(self.base[3:]) else (0, None, 0)
        return np.array(self.base[:3]), np.eye(3) if rotation is None else rotation[0]

    @property
    def action_space(self) -> Literal["ee_pose", "ee_delta"]:
        """The word for it."""
        return "ee_pose" if self.reference == "base" else "ee_delta"

    def widths(self, joints: int) -> tuple[int, int]:
        """How many numbers state and action of a robot with so many joints have."""
        return joints if self.state is None else len(self.state.names), len(self.action.names)

    def numbers(
        self, position: Floats, rotation: Floats, closed: Floats, start: tuple[Floats, Floats]
    ) -> Floats:
        """The actions (H, W) that lead through poses.

        Args:
            position: (H, 3) [m].
            rotation: (H, 3, 3).
            closed: (H,) of the gripper, 0 open to 1 closed.
            start: position (3,) and rotation (3, 3) in the state of the chunk's observation.
        """
        if self.reference == "base":
            return self.action.pack(position, rotation, closed)
        origin, turned = start[0][None], start[1][None]  # (1, 3), (1, 3, 3)
        if self.reference == "previous":
            origin = np.concatenate([origin, position[:-1]])
            turned = np.concatenate([turned, rotation[:-1]])
        turn = rotation @ np.swapaxes(turned, 1, 2)
        return self.action.pack(position - origin, turn, closed)

    def poses(
        self, numbers: npt.ArrayLike, start: tuple[Floats, Floats]
    ) -> tuple[Floats, Floats, Floats | None]:
        """The inverse of `numbers`: position (H, 3), rotation (H, 3, 3), gripper (H,) or None."""
        moved, turned, closed = self.action.unpack(numbers)
        if self.reference == "base":
            return moved, turned, closed
        position, rotation = np.empty_like(moved), np.empty_like(turned)
        origin, frame = start
        for k in range(len(moved)):
            position[k], rotation[k] = origin + moved[k], turned[k] @ frame
            if self.reference == "previous":
                origin, frame = position[k], rotation[k]
        return position, rotation, closed

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "action": self.action.to_dict(),
            "reference": self.reference,
            "state": None if self.state is None else self.state.to_dict(),
            **({"base": list(self.base)} if self.base != _NO_OFFSET else {}),
        }


def read_end_effector(section: Section, key: str) -> EndEffector:
    """Read what to_dict wrote, or the name of a description that is known.

    Raises:
        StrictYamlError: a key is missing, unknown or wrong; names it.
    """
    value = section.get(key, f"a mapping, or one of {', '.join(KNOWN)}")
    if isinstance(value, str):
        return KNOWN[section.choice(key, tuple(KNOWN))]
    return _meaning(section.section(key))


def described(said: str) -> EndEffector:
    """What a command line says: the name of a description that is known, or a YAML file of one.

    Raises:
        StrictYamlError: it is neither, or a key of the file is missing, unknown or wrong.
        UntrustedError: the file cannot be read.
    """
    if said in KNOWN:
        return KNOWN[said]
    path = Path(said).expanduser()
    if not path.is_file():
        raise StrictYamlError(
            f"end_effector: expected {', '.join(KNOWN)}, or a YAML file with the keys action, "
            f"reference and state (docs/checkpoints.md); got '{said}'"
        )
    text = read_text(path, what="file of an end effector", max_bytes=MOST_YAML_BYTES)
    return _meaning(read_section(text, source=str(path)))


def _meaning(part: Section) -> EndEffector:
    try:
        has_state = part.has("state") and part.get("state", "a form") is not None
        found = EndEffector(
            action=_form(part.section("action")),
            reference=part.choice("reference", get_args(Reference), "base"),  # type: ignore[arg-type]
            state=_form(part.section("state")) if has_state else None,
            base=_base(part) if part.has("base") else _NO_OFFSET,
        )
    except EndEffectorError as error:
        raise part.error("", str(error)) from error
    part.finish()
    return found


def _base(part: Section) -> tuple[float, ...]:
    wanted = "x, y, z [m] of the robot's base in the data's frame, and its axis times angle [rad]"
    found = part.get("base", wanted)
    numbers = found if isinstance(found, list) else []
    if len(numbers) != len(_NO_OFFSET) or not all(
        type(one) in (int, float) and abs(one) <= _FARTHEST_BASE for one in numbers
    ):
        raise part.error("base", f"expected six numbers, {wanted}; got {found!r:.80}")
    return tuple(map(float, numbers))


def _form(section: Section) -> PoseForm:
    pairs = section.get("grippers", "pairs [open, closed]") if section.has("grippers") else []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and list(map(type, pair)) in _PAIRS for pair in pairs
    ):
        raise section.error("grippers", f"expected pairs [open, closed], got {pairs!r:.80}")
    form = PoseForm(
        rotation=section.choice("rotation", tuple(_NUMBERS), "axis_angle"),  # type: ignore[arg-type]
        position_scale=section.positive("position_scale", 1.0),
        rotation_scale=section.positive("rotation_scale", 1.0),
        grippers=tuple((float(low), float(high)) for low, high in pairs),
    )
    section.finish()
    return form


# Descriptions of datasets that many have; conversions differ in the gripper, which is checked.
# robosuite's OSC_POSE: its controller counts each delta from where the tool is then.
_LIBERO = EndEffector(
    action=PoseForm(position_scale=0.05, rotation_scale=0.5, grippers=((-1.0, 1.0),)),
    reference="previous",
    state=PoseForm(grippers=((0.04, 0.0), (-0.04, 0.0))),
)
KNOWN: Mapping[str, EndEffector] = {
    "libero": _LIBERO,
    # The authors' LIBERO client opens the gripper where the policy's number is above 0.5.
    "libero_authors": replace(_LIBERO, action=replace(_LIBERO.action, grippers=((1.0, 0.0),))),
    "bridge": EndEffector(
        action=PoseForm(rotation="rpy", grippers=((1.0, 0.0),)),
        reference="previous",
        state=PoseForm(rotation="rpy", grippers=((0.0, 0.0), (1.0, 0.0))),  # the first only fills
    ),
}
