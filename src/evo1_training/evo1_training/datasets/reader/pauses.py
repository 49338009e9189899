"""Pauses of a demonstration, shortened for policies that remember nothing.

Who demonstrates waits now and then: before the gripper closes, or to think. A policy that sees one
frame cannot know for how long it has waited already, so what it learns is to wait for ever. With
its pauses shortened, each chunk goes on to what the demonstrator did next. Must not import ROS or
torch. Letters: N frames, D joints, K kept frames.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

STILL_SHARE = 1e-3  # of a joint's range over the dataset; less than that from frame to frame


def kept_rows(
    actions: npt.NDArray[np.float32], starts: Sequence[int], *, longest: int
) -> npt.NDArray[np.int64]:
    """The frames that are left when pauses are shortened.

    A pause is where no action differs from the one before. The one at an episode's end is left
    as it is: there the task is done, and staying is right.

    Args:
        actions: (N, D) of all frames, episode after episode.
        starts: first frame of each episode, ascending.
        longest: frames of a pause that stay.

    Returns:
        Rows (K,), ascending.
    """
    step = STILL_SHARE * np.ptp(actions, axis=0).astype(np.float64)  # (D,)
    kept = np.ones(len(actions), np.bool_)
    for first, end in zip(starts, [*starts[1:], len(actions)], strict=True):
        still = (np.abs(np.diff(actions[first:end], axis=0)) <= step).all(axis=1)  # (n - 1,)
        moving = np.flatnonzero(~still)
        if not len(moving):
            continue
        last = int(moving[-1])  # what follows is the end
        for begin, stop in _runs(still[:last]):
            kept[first + begin + 1 + longest : first + stop + 1] = False
    return np.flatnonzero(kept)


def _runs(wanted: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
