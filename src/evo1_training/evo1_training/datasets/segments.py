"""Runs of aligned ticks, the gaps between them, and what is done about a gap.

Must not import ROS or torch. Letters: T ticks, C cameras, D joints.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.alignment import AlignedTicks, state_at
from evo1_training.datasets.recorded_streams import RecordedStreams

GAP_STEPS = 1.5  # two ticks further apart than this many steps have a gap between them

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A stretch without observations or actions, between two ticks that have both [ns]."""

    after_ns: int
    before_ns: int
    reason: str

    @property
    def seconds(self) -> float:
        """Its real length [s]."""
        return (self.before_ns - self.after_ns) / 1e9


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Consecutive ticks, T rows in each array.

    Attributes:
        ticks_ns: (T,) true times [ns].
        frame_stamps_ns: (T, C) stamps of the frames to show [ns].
        joint_stamps_ns: (T,) [ns].
        states: (T, D) float64 [rad].
        actions: (T, D) float64 [rad].
        skew_ns: (T,) [ns].
        held: (T,) frames that fill a gap.
        intervention: (T,) a person drove, in an episode of the policy.
    """

    ticks_ns: Times
    frame_stamps_ns: Times
    joint_stamps_ns: Times
    states: Floats
    actions: Floats
    skew_ns: Times
    held: npt.NDArray[np.bool_]
    intervention: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ticks_ns)

    @classmethod
    def of(cls, aligned: AlignedTicks) -> "Segment":
        """Take all aligned ticks as one run, without actions yet."""
        nothing = np.zeros(len(aligned.ticks_ns), np.bool_)
        return cls(
            ticks_ns=aligned.ticks_ns,
            frame_stamps_ns=aligned.frame_stamps_ns,
            joint_stamps_ns=aligned.joint_stamps_ns,
            states=aligned.states,
            actions=np.full_like(aligned.states, np.nan),
            skew_ns=aligned.skew_ns,
            held=nothing,
            intervention=nothing,
        )

    def take(self, rows: npt.NDArray[Any] | slice) -> "Segment":
        """Some of its ticks."""
        return replace(self, **{one.name: getattr(self, one.name)[rows] for one in fields(self)})


def find_gaps(
    ticks_ns: Times, step_ns: int, failures: Sequence[tuple[int, str]], *, reference: str
) -> tuple[Gap, ...]:
    """Find where consecutive ticks are more than GAP_STEPS steps apart.

    Args:
        ticks_ns: increasing [ns].
        step_ns: time between two actions [ns].
        failures: ticks that could not be aligned or have no action [ns], in order, and why.
        reference: topic of the reference camera, for people.
    """
    found = []
    failed_ns = [tick_ns for tick_ns, _ in failures]
    for place in np.flatnonzero(np.diff(ticks_ns) > GAP_STEPS * step_ns).tolist():
        after_ns, before_ns = int(ticks_ns[place]), int(ticks_ns[place + 1])
        first = int(np.searchsorted(failed_ns, after_ns))
        if first < len(failures) and failed_ns[first] < before_ns:
            reason = failures[first][1]
        else:
            lost = round((before_ns - after_ns) / step_ns) - 1
            reason = f"{lost} frame{'s' if lost > 1 else ''} of {reference} missing"
        found.append(Gap(after_ns=after_ns, before_ns=before_ns, reason=reason))
    return tuple(found)


def split(segment: Segment, gaps: Sequence[Gap]) -> list[Segment]:
    """Cut at each gap."""
    cuts = np.searchsorted(segment.ticks_ns, [gap.before_ns for gap in gaps]).tolist()
    edges = [0, *cuts, len(segment)]
    return [
        segment.take(slice(begin, end)) for begin, end in itertools.pairwise(edges) if end > begin
    ]


def cut(segment: Segment, max_frames: int) -> list[Segment]:
    """Cut into as few parts of at most `max_frames` ticks as there can be, equal within one."""
    count = -(-len(segment) // max_frames)
    edges = [len(segment) * place // count for place in range(count + 1)]
    return [segment.take(slice(begin, end)) for begin, end in itertools.pairwise(edges)]


def hold(
    segment: Segment, gaps: Sequence[Gap], streams: RecordedStreams, robot: RobotConfig
) -> Segment:
    """Fill each gap with repetitions of the frame before it, at their true times, marked.

    The images are repeated; the state is measured at the time itself where joints were recorded.
    """
    parts = [segment]
    for gap in gaps:
        steps = round((gap.before_ns - gap.after_ns) / robot.step_ns)
        last = int(np.searchsorted(segment.ticks_ns, gap.after_ns))
        filled = segment.take(np.full(steps - 1, last))
        states, joint_stamps = filled.states.copy(), filled.joint_stamps_ns.copy()
        ticks = gap.after_ns + robot.step_ns * np.arange(1, steps, dtype=np.int64)
        for row, tick_ns in enumerate(ticks.tolist()):
            measured = state_at(tick_ns, streams, robot)
            if measured is not None:
                joint_stamps[row], states[row] = measured
        held = np.ones(len(ticks), np.bool_)
        parts.append(
            replace(filled, ticks_ns=ticks, states=states, joint_stamps_ns=joint_stamps, held=held)
        )
    order = np.argsort(np.concatenate([part.ticks_ns for part in parts]), kind="stable")
    return Segment(
        **{
            one.name: np.concatenate([getattr(part, one.name) for part in parts])[order]
            for one in fields(Segment)
        }
    )
