"""What the joints did over a whole dataset: still, clipped, late, beyond their limits.

Must not import ROS or torch. Letters: T frames, D joints, E episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.checker.motion import (
    Courses,
    jumps,
    lags_steps,
    longest_rest,
    longest_run,
    repeated_share,
    rest_offset,
    usual_step,
)
from evo1_training.datasets.reader.problems import Findings

Floats = npt.NDArray[Any]

HORIZON = 50  # actions of a chunk of Evo-1
_LIMIT_NEAR = 1e-3  # rad
_BEYOND = 1e-2  # rad
_CLIPPED_SHARE = 0.05
_SATURATED_SHARE = 0.25
_STILL = 1e-3
_LARGEST_RAD = 7.0
_LATE_S = 0.5
_VARIES_STEPS = 2.0
_REST_S, _REST_SHARE = 2.0, 0.3
_OFFSET, _LEAST_OFFSET = 0.04, 0.03  # of a joint's range, and of its unit
_FASTER = 5.0  # a target that moves so many times faster than the joint can is a jump


@dataclass(frozen=True, kw_only=True, eq=False)
class JointFacts:
    """Over all episodes.

    Attributes:
        names: of the joints, D.
        low: smallest state (D,).
        high: largest state (D,).
        lag_ms: how long the state follows the action (E, D); NaN where it cannot be told.
    """

    names: tuple[str, ...]
    low: Floats
    high: Floats
    lag_ms: Floats


class JointWatch:
    """Takes episode after episode, keeps no row.

    Args:
        names: of the joints, D.
        fps: frames a second.
        robot: the robot file of the recordings; None where the dataset has none.
    """

    def __init__(self, names: Sequence[str], *, fps: int, robot: RobotConfig | None) -> None:
        width = len(names)
        self._names = tuple(names)
        self._fps = fps
        self._robot = robot
        self._grippers = np.array([_is_gripper(name, robot) for name in names])
        self._rows = 0
        self._ends = {"state": _Ends(width), "action": _Ends(width)}
        self._at_limit = {"state": np.zeros(width), "action": np.zeros(width)}
        self._beyond = {"state": np.zeros(width), "action": np.zeros(width)}
        self._lags: list[Floats] = []
        self._offsets: list[Floats] = []
        self._copies: list[int] = []
        self._courses = Courses()

    def add(
        self,
        episode: int,
        state: Floats,
        action: Floats,
        findings: Findings,
        *,
        held: npt.NDArray[np.bool_],
    ) -> None:
        """Look at one episode.

        Args:
            episode: its number.
            state: (T, D), finite.
            action: (T, D), finite.
            findings: what is added to.
            held: (T,) rows that fill a gap; they tell of no delay and of no jump.
        """
        self._rows += len(state)
        for name, values in (("state", state), ("action", action)):
            self._ends[name].add(values)
            if self._robot is not None:
                low, high = self._robot.position_min, self._robot.position_max
                near = np.minimum(np.abs(values - low), np.abs(values - high)) <= _LIMIT_NEAR
                self._at_limit[name] += near.sum(axis=0)
                beyond = (values < low - _BEYOND) | (values > high + _BEYOND)
                self._beyond[name] += beyond.sum(axis=0)
        if np.array_equal(action, state) or np.array_equal(action[:-1], state[1:]):
            self._copies.append(episode)
        self._courses.add(episode, action)
        run = longest_run(~held)
        self._lags.append(lags_steps(state[run], action[run], fps=self._fps))
        self._offsets.append(rest_offset(state[run], action[run], self._lags[-1]))
        self._check_rest(episode, action, findings)
        self._check_jumps(episode, action, findings, held=held)
        share = repeated_share(state, action)
        if share > 0.2:
            findings.add(
                "state-repeats",
                f"episode {episode}",
                f"{100 * share:.0f} % of the rows in motion repeat the state before exactly",
                episode=episode,
            )

    def finish(self, findings: Findings) -> JointFacts:
        """Report what only all episodes together show."""
        lags = np.array(self._lags).reshape(-1, len(self._names))
        ends = self._ends["state"]
        if self._rows:
            self._check_ranges(findings)
            self._check_lags(lags, findings)
            self._check_offsets(findings)
            spans = self._ends["action"].high - self._ends["action"].low
            for episode, other in self._courses.alike(spans):
                what = f"moves as episode {other} does, within 0.2 % of every joint's range"
                findings.add("near-duplicate", f"episode {episode}", what, episode=episode)
            copied = "equals the state (or the next one)"
            if len(self._copies) == len(self._lags):
                findings.add("action-is-state", "action", copied)
            else:
                for episode in self._copies:
                    where = f"episode {episode}: action"
                    findings.add("action-is-state", where, copied, episode=episode)
        return JointFacts(
            names=self._names, low=ends.low, high=ends.high, lag_ms=lags * 1e3 / self._fps
        )

    def _check_jumps(
        self, episode: int, action: Floats, findings: Findings, *, held: npt.NDArray[np.bool_]
    ) -> None:
        if len(action) < 3:
            return
        limit = usual_step(action)
        if self._robot is not None:
            limit = np.maximum(limit, _FASTER * self._robot.velocity_max / self._fps)
        found = jumps(action, limit) & ~self._grippers & ~(held[1:] | held[:-1])[:, np.newaxis]
        for j in np.flatnonzero(found.any(axis=0)).tolist():
            rows = np.flatnonzero(found[:, j])
            step = abs(float(action[rows[0] + 1, j] - action[rows[0], j]))
            findings.add(
                "action-jumps",
                f"episode {episode}: {self._names[j]}",
                f"{rows.size} jump{'s' if rows.size > 1 else ''}; at frame {rows[0] + 1} by "
                f"{step:.3f} in {1e3 / self._fps:.0f} ms",
                episode=episode,
                frame=int(rows[0]) + 1,
            )

    def _check_rest(self, episode: int, action: Floats, findings: Findings) -> None:
        rest, share = longest_rest(action)
        seconds = (rest.stop - rest.start) / self._fps
        if seconds > _REST_S and share > _REST_SHARE:
            findings.add(
                "standing-still",
                f"episode {episode}",
                f"no joint is moved for {seconds:.1f} s from frame {rest.start} on, nor in "
                f"{100 * share:.0f} % of all frames",
                episode=episode,
                frame=int(rest.start),
            )

    def _check_offsets(self, findings: Findings) -> None:
        """A leader that was calibrated elsewhere: the arm stays off by the same everywhere."""
        offsets, ends = np.array(self._offsets), self._ends["action"]
        for j in np.flatnonzero(~self._grippers).tolist():  # a grasp keeps a gripper off
            known = offsets[np.isfinite(offsets[:, j]), j]
            limit = max(_OFFSET * float(ends.high[j] - ends.low[j]), _LEAST_OFFSET)
            if known.size and (known.min() > limit or known.max() < -limit):
                findings.add(
                    "leader-offset",
                    self._names[j],
                    f"the action is {np.median(known):+.3f} from where the state follows, in "
                    f"all {known.size} episodes that tell",
                )

    def _check_ranges(self, findings: Findings) -> None:
        for j, name in enumerate(self._names):
            for kind, ends in self._ends.items():
                where = f"{kind} of {name}"
                share = self._beyond[kind][j] / self._rows
                if share:
                    what = f"{100 * share:.1f} % of the frames are outside the robot file's limits"
                    findings.add("beyond-limits", where, what)
                if ends.high[j] - ends.low[j] < _STILL:
                    findings.add("joint-still", where, f"stays at {ends.low[j]:.4f}")
                    continue
                if self._grippers[j]:
                    continue  # resting on its ends is its work
                self._check_ends(where, kind, j, ends, findings)
        largest = max(float(ends.largest) for ends in self._ends.values())
        if largest > _LARGEST_RAD:
            findings.add("not-radians", "state, action", f"values reach {largest:.1f}")

    def _check_ends(
        self, where: str, kind: str, j: int, ends: "_Ends", findings: Findings
    ) -> None:
        if self._robot is not None:
            share = self._at_limit[kind][j] / self._rows
            if share > _CLIPPED_SHARE:
                findings.add(
                    "clipped", where, f"{100 * share:.0f} % of the frames are at a position limit"
                )
            return
        share = max(ends.at_low[j], ends.at_high[j]) / self._rows
        if share > _SATURATED_SHARE:
            findings.add(
                "saturated", where, f"{100 * share:.0f} % of the frames have its extreme value"
            )

    def _check_lags(self, lags: Floats, findings: Findings) -> None:
        for j, name in enumerate(self._names):
            known = lags[np.isfinite(lags[:, j]), j]
            if not known.size:
                continue
            middle = float(np.median(known))
            lag_ms = 1e3 * middle / self._fps
            if middle < -0.5:
                findings.add(
                    "action-lag", name, f"the state is {-lag_ms:.0f} ms before the action"
                )
            elif middle > _LATE_S * self._fps:
                findings.add("action-lag", name, f"the state follows {lag_ms:.0f} ms later")
            spread = np.quantile(known, 0.9) - np.quantile(known, 0.1)
            if known.size >= 4 and spread > _VARIES_STEPS:
                findings.add(
                    "lag-varies",
                    name,
                    f"80 % of the episodes differ by {1e3 * spread / self._fps:.0f} ms",
                )


class _Ends:
    """Smallest and largest value of each joint, and how many rows have exactly that."""

    def __init__(self, width: int) -> None:
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)
        self.at_low, self.at_high = np.zeros(width, np.int64), np.zeros(width, np.int64)

    @property
    def largest(self) -> float:
        """Largest magnitude of all."""
        return float(np.maximum(np.abs(self.low), np.abs(self.high)).max())

    def add(self, values: Floats) -> None:
        low, high = values.min(axis=0), values.max(axis=0)
        self.at_low[low < self.low] = 0
        self.at_high[high > self.high] = 0
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.at_low += (values == self.low).sum(axis=0)
        self.at_high += (values == self.high).sum(axis=0)


def _is_gripper(name: str, robot: RobotConfig | None) -> bool:
    if robot is not None and any(gripper.joint == name for gripper in robot.grippers):
        return True
    return any(word in name.lower() for word in ("grip", "finger", "drive_joint"))
