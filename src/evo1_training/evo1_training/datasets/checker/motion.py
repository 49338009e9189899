"""What can be seen in the motion of one episode: delays, jumps, repetitions. Pure numpy.

Must not import ROS or torch. Letters: T frames, D joints.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.datasets.reader.demonstrations import STILL_SHARE, runs

Floats = npt.NDArray[Any]

MAX_LAG_S = 0.7  # longer delays are not searched for
_MIN_FRAMES = 30
_MIN_CORRELATION = 0.6
_MOVING = 0.002  # of a joint's range in one step
_STILL = 1e-6


def lag_steps(state: Floats, action: Floats, *, max_steps: int) -> float:
    """How many steps the state follows the action of one joint.

    Args:
        state: (T,)
        action: (T,)
        max_steps: largest delay to look for.

    Returns:
        Steps, with a fraction; NaN where the joint moves too little to tell.
    """
    if len(state) < _MIN_FRAMES or np.ptp(state) < _STILL:
        return float("nan")
    max_steps = min(max_steps, len(state) // 3)
    asked, done = np.diff(action.astype(np.float64)), np.diff(state.astype(np.float64))
    lags = np.arange(-max_steps, max_steps + 1)
    fits = np.array([_correlation(asked, done, lag) for lag in lags.tolist()])
    best = int(np.argmax(fits))
    if fits[best] < _MIN_CORRELATION:
        return float("nan")
    return float(lags[best]) + _vertex(fits, best)


def lags_steps(state: Floats, action: Floats, *, fps: int) -> Floats:
    """Steps that each joint (D,) follows its action; NaN where it cannot be told."""
    steps = round(MAX_LAG_S * fps)
    return np.array(
        [lag_steps(state[:, j], action[:, j], max_steps=steps) for j in range(state.shape[1])]
    )


def longest_run(wanted: npt.NDArray[np.bool_]) -> slice:
    """The longest run of rows (T,) that are wanted; empty where none is."""
    return slice(*max(runs(wanted), key=lambda run: run[1] - run[0], default=(0, 0)))


def rest_offset(state: Floats, action: Floats, lags: Floats) -> Floats:
    """How far each joint (D,) stays from its action, delays left aside; NaN where one is unknown.

    Args:
        state: (T, D)
        action: (T, D)
        lags: steps that each joint follows its action (D,), as lags_steps gives them.
    """
    found = np.full(len(lags), np.nan)
    for j in np.flatnonzero(np.isfinite(lags)).tolist():
        lag = round(float(lags[j]))
        asked = action[max(-lag, 0) : len(action) - max(lag, 0), j]
        found[j] = np.median(asked - state[max(lag, 0) :, j][: len(asked)])
    return found


def longest_rest(action: Floats) -> tuple[slice, float]:
    """The longest run of rows in which no target (T, D) moves, and which part rests at all."""
    spans = np.ptp(action, axis=0)
    still = (np.abs(np.diff(action, axis=0)) <= np.maximum(STILL_SHARE * spans, _STILL)).all(
        axis=1
    )
    return longest_run(still), float(still.mean()) if len(still) else 0.0


class Courses:
    """The course of each episode, to find those that move alike."""

    POINTS = 32
    NEAR = 2e-3  # of a joint's range over the dataset
    FRAMES = 2  # that lengths may differ by

    def __init__(self) -> None:
        self._rows: list[Floats] = []
        self._lengths: list[int] = []
        self._episodes: list[int] = []

    def add(self, episode: int, action: Floats) -> None:
        """Take the targets (T, D) of an episode."""
        places = np.linspace(0, len(action) - 1, self.POINTS).round().astype(int)
        self._rows.append(action[places].astype(np.float32))
        self._lengths.append(len(action))
        self._episodes.append(episode)

    def alike(self, spans: Floats) -> list[tuple[int, int]]:
        """(episode, an earlier one that it moves like), spans (D,) being the joints' ranges."""
        used = spans > _STILL
        if len(self._rows) < 2 or not used.any():
            return []
        courses = (np.stack(self._rows)[:, :, used] / spans[used]).reshape(len(self._rows), -1)
        order = np.argsort(courses.mean(axis=1), kind="stable")
        means = courses.mean(axis=1)[order]
        found: dict[int, int] = {}
        for place, one in enumerate(order.tolist()):
            end = int(np.searchsorted(means, means[place] + self.NEAR, side="right"))
            others = order[place + 1 : end]
            near = np.abs(courses[others] - courses[one]).max(axis=1, initial=0.0) <= self.NEAR
            for other in others[near].tolist():
                first, second = sorted((one, other))
                if abs(self._lengths[first] - self._lengths[second]) <= self.FRAMES:
                    found[second] = min(first, found.get(second, first))
        return [(self._episodes[one], self._episodes[two]) for one, two in sorted(found.items())]


def jumps(action: Floats, limit: Floats) -> npt.NDArray[np.bool_]:
    """Where the action (T, D) steps further than limit (D,): (T - 1, D)."""
    found: npt.NDArray[np.bool_] = np.abs(np.diff(action, axis=0)) > limit
    return found


def usual_step(action: Floats) -> Floats:
    """A step (D,) that no smooth motion of this episode (T, D) exceeds.

    Ten times the 95th percentile, and at least a tenth of the range.
    """
    steps = np.abs(np.diff(action, axis=0))
    tenth = 0.1 * np.ptp(action, axis=0)
    usual: Floats = np.maximum(10 * np.quantile(steps, 0.95, axis=0), tenth) + _STILL
    return usual


def moving(values: Floats, *, threshold: float = _MOVING) -> npt.NDArray[np.bool_]:
    """Steps (T - 1,) in which some joint moves by more than a part of its range.

    Joints that hardly move beside the others do not count.
    """
    spans = np.ptp(values, axis=0)
    used = spans > max(0.05 * float(spans.max(initial=0)), _STILL)
    if not used.any():
        return np.zeros(max(len(values) - 1, 0), np.bool_)
    steps = np.abs(np.diff(values[:, used], axis=0)) / spans[used]
    fast: npt.NDArray[np.bool_] = steps.max(axis=1) > threshold
    return fast


def repeated_share(state: Floats, action: Floats) -> float:
    """Which part of the moving steps repeats the state exactly; 0 where hardly anything moves."""
    busy = moving(action)
    if busy.sum() < 20:
        return 0.0
    same = (np.diff(state, axis=0) == 0).all(axis=1)
    return float(same[busy].mean())


def moved_share(state: Floats, first: int, last: int) -> float:
    """Which part of its range in the episode some joint covers within rows first .. last."""
    spans = np.ptp(state, axis=0)
    used = spans > max(0.05 * float(spans.max(initial=0)), _STILL)
    if not used.any():
        return 0.0
    return float((np.ptp(state[first : last + 1, used], axis=0) / spans[used]).max())


def _correlation(asked: Floats, done: Floats, lag: int) -> float:
    begin, end = max(0, -lag), len(asked) - max(0, lag)
    a, b = asked[begin:end], done[begin + lag : end + lag]
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else -1.0


def _vertex(fits: Floats, best: int) -> float:
    """Fraction of a step from the best lag to the top of the parabola around it."""
    if not 0 < best < len(fits) - 1:
        return 0.0
    left, top, right = fits[best - 1 : best + 2].tolist()
    curvature = left - 2 * top + right
    return float(0.5 * (left - right) / curvature) if curvature < 0 else 0.0
