"""Where each frame's episode is heading: the joint positions at its next grasp and release.

Found in the demonstrations alone, by the turns of the gripper; no simulator's knowledge. Must not
import ROS or torch. Letters: N frames, D joints.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig

COUNT = 2  # the next closing of the gripper, and the opening that follows
CLOSED_SHARE, OPEN_SHARE = (
    0.35,
    0.65,
)  # of the range over the dataset: what lies between is neither


CLOSING, OPENING = 0, 1


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
