"""Temporal ensembling: the weighted mean of all chunks that cover an instant. No ROS, no torch.

Letters: H horizon, D joints, C chunks.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import ActionChunk, interpolate

# A chunk that is not the newest loses its weight over this time before its end, or the mean
# would jump there.
TAPER_NS = 300_000_000


class Ensemble:
    """The chunks of one instruction since the arm last stopped.

    Args:
        decay_per_s: a chunk older than the newest by t counts exp(-t * decay_per_s) as much.
    """

    def __init__(self, decay_per_s: float) -> None:
        self._decay_per_s = decay_per_s
        self._chunks: list[ActionChunk] = []  # oldest first

    def clear(self) -> None:
        """Forget every chunk."""
        self._chunks = []

    def mean(self, chunk: ActionChunk) -> ActionChunk:
        """The newest chunk (H, D), with every chunk before it that covers its times mixed in."""
        times_ns = chunk.times_ns()
        total = chunk.actions.copy()  # (H, D)
        weights = np.ones(chunk.horizon)  # (H,)
        for older in self._alive(chunk):
            weight = self._weight(older, chunk, times_ns)  # (H,)
            total += weight[:, np.newaxis] * _at(older, times_ns)
            weights += weight
        return replace(chunk, actions=total / weights[:, np.newaxis])

    def add(self, chunk: ActionChunk) -> None:
        """Keep a chunk that is being executed; those it leaves behind are dropped."""
        self._chunks = [*self._alive(chunk), chunk]

    def _alive(self, newest: ActionChunk) -> list[ActionChunk]:
        return [
            chunk
            for chunk in self._chunks
            if chunk.end_ns > newest.start_ns and chunk.instruction == newest.instruction
        ]

    def _weight(
        self, older: ActionChunk, newest: ActionChunk, times_ns: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        age_s = (newest.observation_stamp_ns - older.observation_stamp_ns) / 1e9
        left = np.minimum(np.maximum((older.end_ns - times_ns) / TAPER_NS, 0.0), 1.0)
        smooth = left * left * (3.0 - 2.0 * left)
        weight: npt.NDArray[np.float64] = np.exp(-self._decay_per_s * max(age_s, 0.0)) * smooth
        return weight


def _at(chunk: ActionChunk, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """A chunk's targets at other times, (H, D); its grid may lie between the newest one's."""
    since_s = (times_ns - chunk.start_ns) / 1e9
    step_s = chunk.step_ns / 1e9
    slopes = (
        np.gradient(chunk.actions, step_s, axis=0)
        if chunk.horizon > 1
        else np.zeros_like(chunk.actions)
    )
    inside = np.minimum(np.maximum(since_s, 0.0), (chunk.horizon - 1) * step_s)
    return interpolate(chunk.actions, slopes, step_s, inside)[0]
