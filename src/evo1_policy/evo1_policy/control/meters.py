"""What people who watch are told of a run: times of chunks, worst seams, idle time.

No ROS, no torch.
"""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, fields

from evo1_policy.control.signals import SeamReport

KEPT = 100  # chunks


class SeamLog:
    """Remembers the last seams."""

    def __init__(self) -> None:
        self._seams: deque[SeamReport] = deque(maxlen=KEPT)

    def add(self, seam: SeamReport) -> None:
        """Remember one."""
        self._seams.append(seam)

    def worst(self) -> tuple[int, SeamReport]:
        """How many, and the largest of each value, not of one seam; without any a perfect one."""
        names = [field.name for field in fields(SeamReport)] if self._seams else []
        largest = {name: max(getattr(seam, name) for seam in self._seams) for name in names}
        return len(self._seams), SeamReport(**largest)


class IdleMeter:
    """Adds up, from the first chunk on, the time that a chunk was wanted and the arm at rest."""

    def __init__(self) -> None:
        self._before_ns: int | None = None
        self._idle_ns = self._running_ns = 0

    @property
    def fraction(self) -> float:
        """Share of the time so far, 0 to 1."""
        return self._idle_ns / self._running_ns if self._running_ns else 0.0

    def look(self, now_ns: int, *, running: bool, resting: bool) -> None:
        """Tell how things stand now; they are taken to have been so since the last look.

        Args:
            now_ns: the clock [ns].
            running: chunks are wanted, and one has come since the start.
            resting: what was commanded is over.
        """
        before, self._before_ns = self._before_ns, now_ns
        if not running or before is None or now_ns <= before:
            return
        self._running_ns += now_ns - before
        if resting:
            self._idle_ns += now_ns - before


WINDOW = 200  # chunks


@dataclass(frozen=True, kw_only=True)
class ChunkTimes:
    """When each stage of one chunk was done, on the node's clock [ns]."""

    stamp_ns: int  # capture time of the observation
    received_ns: int  # its last message had arrived
    started_ns: int  # inference began
    finished_ns: int  # inference ended
    planned_ns: int  # spliced, limited, checked
    published_ns: int  # handed to DDS

    @property
    def inference_ms(self) -> float:
        """Policy call [ms]."""
        return (self.finished_ns - self.started_ns) / 1e6

    @property
    def total_ms(self) -> float:
        """Stamp to published [ms]."""
        return (self.published_ns - self.stamp_ns) / 1e6

    @property
    def overhead_ms(self) -> float:
        """Stamp to published, inference taken out [ms]."""
        return self.total_ms - self.inference_ms


class LatencyLog:
    """Remembers the times of the last WINDOW chunks."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, float]] = deque(maxlen=WINDOW)  # inference, overhead

    def add(self, times: ChunkTimes) -> None:
        """Remember one chunk."""
        self._times.append((times.inference_ms, times.overhead_ms))

    def percentiles(self) -> dict[str, float]:
        """Over the last WINDOW chunks, by the names of PolicyStatus; 0 before the first [ms]."""
        return {
            f"{name}_ms_p{share}": _percentile([times[k] for times in self._times], share / 100)
            for k, name in enumerate(("inference", "overhead"))
            for share in (50, 95)
        }


def _percentile(values: Collection[float], share: float) -> float:
    """Return the nearest rank; numpy's percentile takes a millisecond, ten times a second."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
