"""The curve that a demonstrator asks for, put together from its messages. No ROS, no torch.

A message replaces what the curve said after the message's stamp, as a trajectory controller
replaces its trajectory; between knots the curve is linear. Letters: N points, K named joints,
D joints, M sample times.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class TargetCurve:
    """Targets of D joints over time; each joint has knots of its own.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        self._times: list[list[int]] = [[] for _ in range(width)]
        self._values: list[list[float]] = [[] for _ in range(width)]

    @property
    def last_ns(self) -> int | None:
        """The last knot of any joint [ns]; None while the curve is empty."""
        return max((times[-1] for times in self._times if times), default=None)

    def add(
        self, columns: Sequence[int], times_ns: Sequence[int], positions: Floats, *, stamp_ns: int
    ) -> None:
        """Cut the named joints' curves at `stamp_ns` and append points.

        Args:
            columns: K joints.
            times_ns: N, increasing, not before the stamp [ns].
            positions: (N, K) [rad].
            stamp_ns: when the message speaks from [ns].
        """
        for k, column in enumerate(columns):
            times, values = self._times[column], self._values[column]
            keep = bisect_right(times, stamp_ns)
            if 0 < keep < len(times):
                here = float(np.interp(stamp_ns, times, values))
                times[keep:], values[keep:] = [stamp_ns], [here]
            while times and times[-1] >= times_ns[0]:
                del times[-1], values[-1]
            times.extend(times_ns)
            values.extend(positions[:, k].tolist())

    def forget_before(self, time_ns: int) -> None:
        """Drop knots that no time from `time_ns` on needs."""
        for times, values in zip(self._times, self._values, strict=True):
            surplus = bisect_right(times, time_ns) - 1
            if surplus > 0:
                del times[:surplus], values[:surplus]

    def clear(self) -> None:
        """Forget everything."""
        for times, values in zip(self._times, self._values, strict=True):
            times.clear()
            values.clear()

    def sample(self, times_ns: npt.NDArray[np.int64], default: Floats) -> Floats:
        """Targets (M, D) [rad] at times (M,) [ns]; `default` (D,) for joints never named."""
        wanted = np.tile(default, (len(times_ns), 1))
        for column, times in enumerate(self._times):
            if times:
                wanted[:, column] = np.interp(times_ns, times, self._values[column])
        return wanted
