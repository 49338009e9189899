"""The recorder's status as lines of text for a terminal. Pure: no terminal, no ROS."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from evo1_training.recording.terminal_keys import KEYS_HELP

NAME_WIDTH = 18
STATES = ("IDLE", "WAITING", "RECORDING", "SAVING", "FAULT")
_RED, _YELLOW, _GREEN, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"RECORDING": _RED, "WAITING": _YELLOW, "SAVING": _YELLOW, "FAULT": _RED}


@dataclass(frozen=True, kw_only=True)
class StreamView:
    """One stream as shown; numbers as in evo1_msgs/StreamStatus."""

    name: str
    topic: str
    rate_hz: float
    age_ms: float
    max_gap_ms: float
    lost: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class RecorderView:
    """The recorder as shown; numbers as in evo1_msgs/RecorderStatus."""

    state: int
    reason: str
    episode_id: str
    instruction: str
    duration_s: float
    messages: int
    lost: int
    skew_ms: float
    disk_free_gb: float
    disk_left_s: float
    episodes_saved: int
    streams: Sequence[StreamView]

    @property
    def state_name(self) -> str:
        """The state in words."""
        return STATES[self.state] if self.state < len(STATES) else str(self.state)

    @property
    def busy(self) -> bool:
        """Whether a take is under way."""
        return self.state_name in ("WAITING", "RECORDING", "SAVING")


def screen(
    view: RecorderView | None, *, typed: str | None, message: str, colours: bool, width: int
) -> list[str]:
    """The whole display.

    Args:
        view: newest status; None where nothing was heard for a while.
        typed: the instruction being typed, if any.
        message: the last answer or note.
        colours: whether escape codes for colours are wanted.
        width: of the terminal; status lines are cut at it, the rest is wrapped [characters].
    """
    lines = ["no status from the recorder; is it running?"] if view is None else _status(view)
    lines = [line[:width] for line in (*lines, "")]
    keys = KEYS_HELP if typed is None else f"instruction: {typed}_  [enter] [esc]"
    for text in (f"> {message}", keys):
        lines += textwrap.wrap(text, max(width, 20))
    if colours and view is not None:
        lines[0] = f"{_BOLD}{_COLOURS.get(view.state_name, _GREEN)}{lines[0]}{_PLAIN}"
        for k, stream in enumerate(view.streams, start=4):
            if stream.problem or stream.lost:
                lines[k] = f"{_YELLOW}{lines[k]}{_PLAIN}"
    return lines


def headline(view: RecorderView) -> str:
    """State, take and reason in one line."""
    words = [view.state_name, view.episode_id, f"{view.duration_s:.1f} s" if view.busy else ""]
    text = "  ".join(word for word in words if word)
    return f"{text}  {view.reason}" if view.reason else text


def _status(view: RecorderView) -> list[str]:
    left = ""
    if math.isfinite(view.disk_left_s) and view.disk_left_s > 0:
        left = f", {view.disk_left_s / 60:.0f} min at this rate"
    return [
        headline(view),
        f"instruction: {view.instruction or '(none: press i)'}",
        f"saved {view.episodes_saved}   messages {view.messages}   lost {view.lost}   "
        f"skew {view.skew_ms:.0f} ms   disk {view.disk_free_gb:.1f} GB{left}",
        f"{'stream':<{NAME_WIDTH}} {'Hz':>6} {'age ms':>7} {'gap ms':>7} {'lost':>5}",
        *(_stream(stream) for stream in view.streams),
    ]


def _stream(stream: StreamView) -> str:
    age = "never" if math.isnan(stream.age_ms) else f"{stream.age_ms:.0f}"
    note = f"  {stream.problem}" if stream.problem else f"  {stream.topic}"
    name = stream.name[-NAME_WIDTH:]  # the end of a topic says more than its beginning
    return (
        f"{name:<{NAME_WIDTH}} {stream.rate_hz:>6.1f} {age:>7} {stream.max_gap_ms:>7.0f} "
        f"{stream.lost:>5}{note}"
    )
