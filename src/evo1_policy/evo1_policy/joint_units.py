"""Units that others measure joints in: degrees, percent, gripper pulses.

Everything in this workspace is in radians. A checkpoint that others trained keeps its numbers, and
carries this map beside its norm stats. Must not import ROS or torch. Letter: D joints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.strict_yaml import read_section
from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, read_text

Array = npt.NDArray[np.float64]


class JointUnitsError(ValueError):
    """Units that cannot be used; the message names the file and the joint."""


@dataclass(frozen=True, kw_only=True)
class JointUnits:
    """Angle [rad] = offset + scale * value, for each joint.

    Attributes:
        scale: (D,) radians for one of the other unit, not 0; negative where the other counts the
            other way round.
        offset: (D,) the angle where the other counts 0 [rad].
    """

    scale: Array
    offset: Array

    def __post_init__(self) -> None:
        for name in ("scale", "offset"):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.ndim != 1 or not np.isfinite(value).all():
                raise JointUnitsError(f"{name}: expected one finite number for each joint")
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        if self.scale.shape != self.offset.shape or not self.scale.all():
            raise JointUnitsError("scale: expected as many as offset, none of them 0")

    def to_rad(self, values: npt.ArrayLike) -> Array:
        """Others' values (..., D) -> angles [rad]."""
        return np.asarray(self.offset + self.scale * np.asarray(values, np.float64))

    def from_rad(self, angles: npt.ArrayLike) -> Array:
        """Angles (..., D) [rad] -> others' values."""
        return np.asarray((np.asarray(angles, np.float64) - self.offset) / self.scale)

    def to_dict(self) -> dict[str, list[float]]:
        """As plain JSON data."""
        return {"scale": self.scale.tolist(), "offset": self.offset.tolist()}

    @classmethod
    def from_dict(cls, data: object) -> "JointUnits":
        """Read what to_dict wrote.

        Raises:
            JointUnitsError: it is something else.
        """
        if not isinstance(data, Mapping) or set(data) != {"scale", "offset"}:
            raise JointUnitsError(f"expected scale and offset, got {data!r}")
        values: dict[str, Any] = dict(data)
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise JointUnitsError(str(error)) from error


def load_units(path: Path | str, joints: tuple[str, ...]) -> JointUnits:
    """Read a file with `joint: {scale: ..., offset: ...}` for each joint.

    Args:
        path: YAML.
        joints: of the robot; the result is in this order.

    Raises:
        JointUnitsError: unreadable, a joint missing or unknown, or a value that makes no sense.
    """
    try:
        text = read_text(path, what="file of units", max_bytes=MOST_YAML_BYTES)
        root = read_section(text, source=str(path))
        parts = [root.section(joint) for joint in joints]
        scale = [part.number("scale") for part in parts]
        offset = [part.number("offset") for part in parts]
        for part in (*parts, root):
            part.finish()
    except UntrustedError as error:
        raise JointUnitsError(str(error)) from error
    try:
        return JointUnits(scale=np.array(scale), offset=np.array(offset))
    except JointUnitsError as error:
        raise JointUnitsError(f"{path}: {error}") from error
