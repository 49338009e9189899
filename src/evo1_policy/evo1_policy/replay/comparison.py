"""Recorded against replayed chunks. Must not import ROS or torch.

Letters: H horizon, D joints.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_policy.replay.recorded_chunk import RecordedChunk

TOLERANCE_RAD = 1e-4  # on the machine that recorded, or one of its kind

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One chunk, made again.

    Attributes:
        recorded: as the bag has it.
        actions: (H, D) [rad], as made again.
        joint_difference_rad: (D,) largest difference of each joint over the actions [rad].
        first: index of the first action that differs by more than the tolerance, and of the joint
            that differs most in it; None where none does.
        state_difference_rad: between the joint state that the bag gives and the recorded one,
            which was used [rad].
    """

    recorded: RecordedChunk
    actions: Floats
    joint_difference_rad: Floats
    first: tuple[int, int] | None
    state_difference_rad: float = 0.0

    @property
    def worst_rad(self) -> float:
        """Largest difference over actions and joints [rad]."""
        return float(self.joint_difference_rad.max())

    @property
    def differs(self) -> bool:
        """Whether it is beyond the tolerance."""
        return self.first is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class NotComparable:
    """One chunk that could not be made again, and why."""

    recorded: RecordedChunk
    reason: str


def compare(
    recorded: RecordedChunk,
    actions: Floats,
    *,
    tolerance_rad: float,
    state_difference_rad: float = 0.0,
) -> Compared:
    """Compare a chunk with its replay; where one is longer, over the actions that both have.

    Args:
        recorded: with actions (H, D) [rad].
        actions: (H', D) [rad], of the replay; NaN differs from everything.
        tolerance_rad: what counts as equal [rad].
        state_difference_rad: goes into the result.
    """
    horizon = min(len(actions), len(recorded.actions))
    difference = np.abs(actions[:horizon] - recorded.actions[:horizon])  # (H, D)
    difference = np.where(np.isfinite(difference), difference, np.inf)
    beyond = np.flatnonzero((difference > tolerance_rad).any(axis=1))
    first = None
    if beyond.size:
        action = int(beyond[0])
        first = action, int(np.argmax(difference[action]))
    return Compared(
        recorded=recorded,
        actions=actions,
        joint_difference_rad=difference.max(axis=0),
        first=first,
        state_difference_rad=state_difference_rad,
    )
