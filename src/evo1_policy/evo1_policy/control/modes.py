"""How chunks follow one another, and how a new instruction takes over. No ROS, no torch."""

import enum


class ExecutionMode(enum.StrEnum):
    """How chunks become one motion; the words are those of the node's parameter."""

    REPLACE = "replace"  # the newest chunk, faded in, inference overlapped
    ENSEMBLE = "ensemble"  # the mean of all chunks that cover an instant
    RTC = "rtc"  # real-time chunking: a chunk is denoised to continue what was sent
    SYNCHRONOUS = "synchronous"  # a chunk to its end, rest, then the next inference


class Transition(enum.StrEnum):
    """What a new instruction does to the chunk being executed."""

    FLUSH = "flush"  # brake, drop it, begin anew from rest
    BLEND = "blend"  # infer at once; the next chunk takes over by cross-fade
    FINISH = "finish"  # it runs to its executed end; the next one is for the new instruction


class UnknownWordError(ValueError):
    """A transition that does not exist; the message lists those that do."""


def parse_transition(word: str) -> Transition:
    """The transition of this name.

    Raises:
        UnknownWordError: there is none.
    """
    try:
        return Transition(word)
    except ValueError as error:
        known = ", ".join(item.value for item in Transition)
        raise UnknownWordError(f"transition: expected one of {known}, got '{word}'") from error
