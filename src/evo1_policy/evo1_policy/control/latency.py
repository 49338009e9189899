"""How early the next inference must start, learnt from how long they take. No ROS, no torch."""

import math
from collections import deque

KEPT = 50  # inferences remembered


class LeadModel:
    """The 95th percentile of the last inference latencies, the cold start left out."""

    def __init__(self, default_ns: int) -> None:
        self._cold = True
        self._latencies_ns: deque[int] = deque(maxlen=KEPT)
        self._lead_ns = default_ns

    def add(self, latency_ns: int) -> None:
        """Learn from one inference; the first loads kernels and tells nothing about the next."""
        if self._cold:
            self._cold = False
        else:
            self._latencies_ns.append(max(latency_ns, 0))
            ordered = sorted(self._latencies_ns)
            self._lead_ns = ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def lead_ns(self) -> int:
        """How long the next inference is expected to take at most [ns]."""
        return self._lead_ns
