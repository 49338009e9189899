"""When a person drove in place of the policy, out of the policy node's own recorded words.

The recorded topic is `~/intervention` of the policy node: one message at the beginning and one at
the end of each take-over. Must not import ROS or torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_training.recording.bag_reader import Episode
from evo1_training.recording.mcap_records import RawMessage, Wanted
from evo1_training.recording.pre_roll import INTERVENTION, read_change

_FOREVER_NS = np.iinfo(np.int64).max

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Interventions:
    """The take-overs of an episode: [begin, end) each, increasing [ns]."""

    spans: tuple[tuple[int, int], ...]

    def at(self, times_ns: Times) -> npt.NDArray[np.bool_]:
        """(T,) whether a person drove at each time."""
        driven = np.zeros(len(times_ns), np.bool_)
        for begin, end in self.spans:
            driven |= (times_ns >= begin) & (times_ns < end)
        return driven


def read_interventions(episode: Episode) -> Interventions | None:
    """Read the take-overs of an episode; None where no policy node told of any."""
    topics = {topic.name for topic in episode.sidecar.facts.topics if topic.type == INTERVENTION}
    if not topics:
        return None
    told = [_read(message) for message in episode.read(Wanted(topics=frozenset(topics)))]
    return Interventions(spans=_spans(sorted(set(told)))) if told else None


def _read(message: RawMessage) -> tuple[int, bool]:
    return read_change(message.data)


def _spans(changes: Iterable[tuple[int, bool]]) -> tuple[tuple[int, int], ...]:
    spans: list[tuple[int, int]] = []
    begin: int | None = None
    for stamp_ns, active in changes:
        if active and begin is None:
            begin = stamp_ns
        elif not active and begin is not None:
            spans.append((begin, stamp_ns))
            begin = None
    if begin is not None:  # the recording ended before the person handed back
        spans.append((begin, _FOREVER_NS))
    return tuple(spans)
