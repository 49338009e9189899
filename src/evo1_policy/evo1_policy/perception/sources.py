"""Whether what comes on a topic is of one publisher: of two no message is used, nor one mixed in.

DDS delivers nothing of a publisher that it did not match before, and each numbers its messages. So
one that joins is seen before its first message, and two that speak in turn give numbers in no
order; one that was killed and has a successor is known for a while, but is silent. Must not
import ROS or torch.
"""

from collections.abc import Hashable

SOLE_NS = 1_000_000_000  # messages in order for so long are of one publisher, whoever is known
MIXED_NS = 2 * SOLE_NS  # after numbers in no order
_LOST = 10  # messages that may be lost between two
_KINDS_KEPT = 64  # names that never repeat must not fill the memory


class Source:
    """Messages of one kind on one topic."""

    def __init__(self) -> None:
        self._number = 0
        self._publishers = 0
        self._unsure_ns: int | None = None  # since when they may be another's
        self._turns_ns = [-MIXED_NS, -MIXED_NS]  # when numbers last did not go on

    def admits(self, *, publishers: int, number: int, now_ns: int) -> bool:
        """Whether a message is of the same publisher as those before it.

        Args:
            publishers: of the topic, as matched now.
            number: that its publisher gave it.
            now_ns: steady clock [ns].
        """
        goes_on = 0 < number - self._number <= _LOST
        joined, self._publishers = publishers > self._publishers, publishers
        self._number = number
        if publishers < 2:
            self._unsure_ns = None
            return True
        if not goes_on:
            self._turns_ns = [self._turns_ns[1], now_ns]
        if joined or not goes_on or self._unsure_ns is None:
            self._unsure_ns = now_ns if joined or not goes_on else now_ns - SOLE_NS
        return now_ns - self._unsure_ns >= SOLE_NS

    def mixed(self, now_ns: int) -> bool:
        """Whether two speak: a number that does not go on once is of a successor."""
        return self._publishers > 1 and now_ns - self._turns_ns[0] < MIXED_NS


class Sources:
    """All topics of a node of which each has one source. For one thread, or under a lock."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, Hashable], Source] = {}

    def refusal(
        self, topic: str, *, publishers: int, number: int | None, now_ns: int, kind: Hashable = ()
    ) -> str:
        """Why a message must not be used; '' where it can be.

        Args:
            topic: resolved name.
            publishers: of it, as matched now.
            number: that its publisher gave the message; None: the middleware does not tell.
            now_ns: steady clock [ns].
            kind: of message; several publishers may have each its own, as parts of the joints.
        """
        key = topic, kind
        if key not in self._sources and len(self._sources) >= _KINDS_KEPT:
            self._sources.clear()
        source = self._sources.setdefault(key, Source())
        if number is None:
            return "" if publishers < 2 or kind else _said(topic)
        known = source.admits(publishers=publishers, number=number, now_ns=now_ns)
        return "" if known else _said(topic)

    def second_source(self, now_ns: int) -> str | None:
        """A topic that has two that speak in turn; None: none has."""
        mixed = (topic for (topic, _), source in self._sources.items() if source.mixed(now_ns))
        return next(mixed, None)


def _said(topic: str) -> str:
    return f"more than one publisher on {topic}; end all but one"
