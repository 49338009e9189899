"""One episode as people look at it, recorded or in a dataset; what drawing needs and no more.

Must not import ROS or torch. Letters: T samples, D joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]


class ViewError(ValueError):
    """Something that cannot be shown; the message says what was expected."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """The positions of all joints over time.

    Attributes:
        times_s: (T,) from the beginning of the episode [s].
        values: (T, D) rad where the source has radians; NaN where nothing is known.
    """

    times_s: Floats
    values: Floats


@dataclass(frozen=True, kw_only=True)
class GapSpan:
    """A stretch without data [s]; `stream` says of what."""

    begin_s: float
    end_s: float
    stream: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One frame of one camera, at its time [s]."""

    camera: str
    time_s: float
    image: Image


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeView:
    """One episode.

    Attributes:
        name: of the episode, for file names.
        title: its instruction.
        remarks: one line each, such as its grade.
        duration_s: from the first to the last sample [s].
        joints: names, D.
        state: measured.
        action: demonstrated.
        cameras: in the robot file's order.
        pictures: some of the frames, in order of time.
        gaps: stretches without data.
        labels: what is demonstrated from a moment on: [s], words.
        begin_ns: the stamp of time 0 [ns]; 0 where the source has none.
    """

    name: str
    title: str
    remarks: tuple[str, ...]
    duration_s: float
    joints: tuple[str, ...]
    state: Curve
    action: Curve
    cameras: tuple[str, ...]
    pictures: tuple[Picture, ...]
    gaps: tuple[GapSpan, ...]
    labels: tuple[tuple[float, str], ...] = ()
    begin_ns: int = 0


def empty_curve(width: int) -> Curve:
    """A curve of D = width joints of which nothing is known."""
    return Curve(times_s=np.empty(0), values=np.empty((0, width)))


def spread(count: int, wanted: int) -> list[int]:
    """Indices of `wanted` of `count` things, evenly from the first to the last."""
    places = np.linspace(0, count - 1, min(count, wanted)).round().astype(int)
    chosen: list[int] = places.tolist()
    return chosen


def spans(times_s: Floats, longest_s: float, stream: str) -> Sequence[GapSpan]:
    """Where consecutive times of a stream lie further apart than allowed [s]."""
    return [
        GapSpan(begin_s=float(times_s[i]), end_s=float(times_s[i + 1]), stream=stream)
        for i in np.flatnonzero(np.diff(times_s) > longest_s)
    ]
