"""How early the next inference must start, learnt from how long they take. No ROS, no torch."""

import math
from collections import deque
from collections.abc import Hashable

KEPT = 50  # inferences remembered
KINDS = 8  # kinds remembered, as many as a policy keeps prompts


class LeadModel:
    """The 95th percentile of the last inference latencies, cold ones left out.

    An inference of a kind not seen yet (the first of all, of an instruction, with guidance) loads
    kernels, records graphs or embeds its prompt, and tells nothing about the next.
    """

    def __init__(self, default_ns: int) -> None:
        self._seen: deque[Hashable] = deque(maxlen=KINDS)
        self._latencies_ns: deque[int] = deque(maxlen=KEPT)
        self._lead_ns = default_ns

    def add(self, latency_ns: int, kind: Hashable = None) -> None:
        """Learn from one inference; the first of each kind is a cold one."""
        if kind not in self._seen:
            self._seen.append(kind)
        else:
            self._latencies_ns.append(max(latency_ns, 0))
            ordered = sorted(self._latencies_ns)
            self._lead_ns = ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def lead_ns(self) -> int:
        """How long the next inference is expected to take at most [ns]."""
        return self._lead_ns
