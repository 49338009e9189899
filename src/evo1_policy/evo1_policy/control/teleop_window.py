"""The demonstrator's side: recent positions as a message that looks a little ahead.

A position that is sent as "be there in 60 ms" reaches the controllers in time, so that the arm
follows without lag: the whole demonstration is late by 60 ms and nothing is smoothed away. Must
not import ROS or torch.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evo1_policy.control.teleop_target import TeleopTarget

LOOK_AHEAD_NS = 60_000_000


class TeleopWindow:
    """Turns samples of a demonstrator into messages.

    Args:
        joint_names: K, in the order of every sample.
        look_ahead_ns: when a sample is due, after it was taken [ns].
    """

    def __init__(self, joint_names: Sequence[str], look_ahead_ns: int = LOOK_AHEAD_NS) -> None:
        self._names = tuple(joint_names)
        self._look_ahead_ns = look_ahead_ns
        self._samples: deque[tuple[int, npt.NDArray[np.float64]]] = deque()

    def push(self, positions: npt.NDArray[np.float64], now_ns: int) -> TeleopTarget:
        """Add what was sampled at `now_ns` (K,) [rad]; return the message of this instant."""
        if self._samples and self._samples[-1][0] >= now_ns + self._look_ahead_ns:
            self._samples.clear()  # the clock stands or jumped back
        self._samples.append((now_ns + self._look_ahead_ns, np.array(positions, dtype=np.float64)))
        while self._samples[0][0] <= now_ns:
            self._samples.popleft()
        return TeleopTarget(
            joint_names=self._names,
            stamp_ns=now_ns,
            offsets_ns=tuple(due_ns - now_ns for due_ns, _ in self._samples),
            positions=np.array([sample for _, sample in self._samples]),
        )
