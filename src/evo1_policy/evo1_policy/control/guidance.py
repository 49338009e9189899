"""Real-time chunking: what a chunk shall begin with, from what was sent. No ROS, no torch.

While an inference runs, the arm goes on along what was sent. A chunk that is denoised to begin
with just that continues it, and needs no seam hidden. Letters: K guided actions, D joints.
"""

import numpy as np

from evo1_policy.action_chunk import Guidance, Trajectory, interpolate


def left_over(
    sent: Trajectory,
    *,
    until_ns: int,
    start_ns: int,
    step_ns: int,
    takeover_ns: int,
    fall_actions: int,
) -> Guidance | None:
    """What was sent, at the times of the next chunk's actions.

    Actions due before the chunk can take over are frozen: they are executed whatever it says.
    Behind them the weight falls in a line to 0.

    Args:
        sent: what the arm is commanded.
        until_ns: when its braking tail begins; what comes then was nobody's wish [ns].
        start_ns: when the next chunk's first action is due [ns].
        step_ns: time between its actions [ns].
        takeover_ns: when it is expected to take over [ns].
        fall_actions: over how many actions the weight falls.

    Returns:
        None where nothing is left of what was sent.
    """
    left = max((until_ns - start_ns) // step_ns + 1, 0)
    frozen = min(max(-(-(takeover_ns - start_ns) // step_ns), 0), left)
    count = min(frozen + fall_actions, left)
    if count == 0:
        return None
    since_s = (start_ns + np.arange(count) * step_ns - sent.start_ns) / 1e9
    inside = np.maximum(since_s, 0.0)  # before its first point a trajectory stands still
    actions, _ = interpolate(sent.positions, sent.velocities, sent.step_ns / 1e9, inside)
    falling = np.arange(count - frozen, 0, -1) / (count - frozen + 1)
    return Guidance(actions=actions, weights=np.concatenate([np.ones(frozen), falling]))
