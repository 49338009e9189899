"""How long each chunk took from the camera's stamp to its publication. Must not import rclpy."""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class LatencyPercentiles:
    """Over the last WINDOW chunks; 0 before the first [ms]."""

    inference_p50_ms: float = 0.0
    inference_p95_ms: float = 0.0
    overhead_p50_ms: float = 0.0
    overhead_p95_ms: float = 0.0


class LatencyLog:
    """Remembers the times of the last WINDOW chunks."""

    def __init__(self) -> None:
        self._inference_ms: deque[float] = deque(maxlen=WINDOW)
        self._overhead_ms: deque[float] = deque(maxlen=WINDOW)

    def add(self, times: ChunkTimes) -> None:
        """Remember one chunk."""
        self._inference_ms.append(times.inference_ms)
        self._overhead_ms.append(times.overhead_ms)

    def percentiles(self) -> LatencyPercentiles:
        """Return the percentiles as they stand."""
        return LatencyPercentiles(
            inference_p50_ms=_percentile(self._inference_ms, 0.50),
            inference_p95_ms=_percentile(self._inference_ms, 0.95),
            overhead_p50_ms=_percentile(self._overhead_ms, 0.50),
            overhead_p95_ms=_percentile(self._overhead_ms, 0.95),
        )


def _percentile(values: Collection[float], share: float) -> float:
    """Return the nearest rank; numpy's percentile takes a millisecond, ten times a second."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
