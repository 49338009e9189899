"""What a demonstration tells beside its frames: where it is heading, and where it only waits.

A frame's milestones are the joint positions at the next grasp and release, found by the turns of
the gripper alone; no simulator's knowledge. Pauses are shortened for policies that remember
nothing: who demonstrates waits now and then, before the gripper closes, or to think, and a policy
that sees one frame cannot know for how long it has waited already, so what it learns is to wait
for ever. Must not import ROS or torch. Letters: N frames, D joints, K kept frames.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig

COUNT = 2  # milestones: the next closing of the gripper, and the opening that follows
CLOSING, OPENING = 0, 1
# Of the gripper's range over the dataset: what lies between is neither closed nor open.
CLOSED_SHARE, OPEN_SHARE = 0.35, 0.65
STILL_SHARE = 1e-3  # of a joint's range over the dataset; less than that from frame to frame


def gripper_turns(opening: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Frames of one episode at which the gripper becomes closed or open, with hysteresis.

    Args:
        opening: (T,) 0 closed to 1 open.

    Returns:
        (frame, CLOSING or OPENING), in order; the two kinds alternate.
    """
    turns = []
    closed = bool(opening[0] < CLOSED_SHARE)
    for frame, value in enumerate(opening.tolist()):
        if not closed and value < CLOSED_SHARE:
            closed = True
            turns.append((frame, CLOSING))
        elif closed and value > OPEN_SHARE:
            closed = False
            turns.append((frame, OPENING))
    return turns


def find_milestones(
    actions: npt.NDArray[np.float32], starts: Sequence[int], robot: RobotConfig
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The milestones of every frame.

    Args:
        actions: (N, D) of all frames, episode after episode [rad].
        starts: first frame of each episode.
        robot: says which joint is the gripper, and which way it closes.

    Returns:
        Actions (N, 2, D) at the next closing and at the opening that comes after it (or first,
        while the gripper is closed), and whether there are such (N, 2).
    """
    found = np.zeros((len(actions), COUNT, actions.shape[1]), np.float32)
    known = np.zeros((len(actions), COUNT), np.bool_)
    gripper = robot.gripper
    if gripper is None:
        return found, known
    column = actions[:, robot.joint_names.index(gripper.joint)].astype(np.float64)
    share = (column - column.min()) / max(float(np.ptp(column)), 1e-9)
    opening = share if gripper.open > gripper.closed else 1 - share
    for first, end in zip(starts, [*starts[1:], len(actions)], strict=True):
        turns = gripper_turns(opening[first:end])
        begin = 0
        for k, (frame, kind) in enumerate(turns):
            ahead = turns[k : k + 2] if kind == CLOSING else turns[k : k + 1]
            for place, slot in ahead:
                found[first + begin : first + frame, slot] = actions[first + place]
                known[first + begin : first + frame, slot] = True
            begin = frame
    return found, known


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
        for begin, stop in runs(still[:last]):
            kept[first + begin + 1 + longest : first + stop + 1] = False
    return np.flatnonzero(kept)


def runs(wanted: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row of each run of True (T,), and the row after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
