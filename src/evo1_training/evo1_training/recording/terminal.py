"""What single keys and gamepad buttons ask of the recorder, and what every screen shows of it.

Pure: no terminal, no ROS. A person who records looks at the robot, so a key acts at once and needs
no second key. The two exceptions lose something: leaving while a take runs, and typing an
instruction.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from evo1_policy.command_line import printable
from evo1_training.recording.take import TakeState

KEYS_HELP = (
    "[s] start  [space/enter] save  [d] discard  [r] discard and start again  "
    "[x] delete last  [i] instruction  [n] instruction from now on  [q] quit"
)


class Wish(Enum):
    """What a person asks for."""

    START = "start"
    SAVE = "save"
    DISCARD = "discard"
    DELETE_LAST = "delete_last"
    QUIT = "quit"


class FromNowOn(str):
    """An instruction for the rest of the running take; a plain str is one for the next."""


KEYS: dict[str, tuple[Wish, ...]] = {
    "s": (Wish.START,),
    " ": (Wish.SAVE,),
    "\r": (Wish.SAVE,),
    "\n": (Wish.SAVE,),
    "d": (Wish.DISCARD,),
    "r": (Wish.DISCARD, Wish.START),
    "x": (Wish.DELETE_LAST,),
}
BUTTONS: dict[str, tuple[Wish, ...]] = {
    "start": (Wish.START,),
    "save": (Wish.SAVE,),
    "discard": (Wish.DISCARD,),
    "rerecord": (Wish.DISCARD, Wish.START),
    "delete_last": (Wish.DELETE_LAST,),
}
# Button numbers of an Xbox-like gamepad on joy_node: A, B, X, Y, back.
DEFAULT_BUTTONS = {"save": 0, "discard": 1, "rerecord": 2, "start": 3, "delete_last": 6}

NAME_WIDTH = 18
_RED, _YELLOW, _GREEN, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"RECORDING": _RED, "WAITING": _YELLOW, "SAVING": _YELLOW, "FAULT": _RED}
_ENTER = ("\r", "\n")
_BACKSPACE = ("\x7f", "\b")
_ESCAPE = "\x1b"
_CTRL_C, _CTRL_D = "\x03", "\x04"


class Keys:
    """Turns typed characters into wishes and instructions.

    Attributes:
        typed: the instruction being typed; None while keys act at once.
        note: what the last key led to, where it led to nothing else.
    """

    def __init__(self) -> None:
        self.typed: str | None = None
        self.note = ""
        self._leaving = False
        self._kind: type[str] = str

    def press(self, text: str, *, busy: bool) -> list[Wish | str]:
        """Take characters; return wishes and finished instructions (str), in order.

        Args:
            text: as read from the terminal; an escape sequence (an arrow key) comes as one text.
            busy: whether a take runs.
        """
        if text.startswith(_ESCAPE):
            self.typed, self._leaving = None, False
            self.note = ""
            return []
        asked: list[Wish | str] = []
        for character in text:
            asked += self._press_one(character, busy)
        return asked

    def _press_one(self, key: str, busy: bool) -> Sequence[Wish | str]:
        if key in (_CTRL_C, _CTRL_D):
            return self._leave(busy)
        if self.typed is not None:
            return self._type(key)
        if key in ("q", "Q"):
            return self._leave(busy)
        self._leaving = False
        if key in ("i", "n"):
            self.typed, self.note = "", ""
            self._kind = FromNowOn if key == "n" else str
            return ()
        wishes = KEYS.get(key.lower(), ())
        self.note = "" if wishes else f"no key {key!r}"
        return wishes

    def _type(self, key: str) -> Sequence[str]:
        assert self.typed is not None
        if key in _ENTER:
            instruction, self.typed = self.typed.strip(), None
            self.note = "" if instruction else "the instruction stays as it is"
            return (self._kind(instruction),) if instruction else ()
        if key in _BACKSPACE:
            self.typed = self.typed[:-1]
        elif key.isprintable():
            self.typed += key
        return ()

    def _leave(self, busy: bool) -> Sequence[Wish]:
        self.typed = None
        if busy and not self._leaving:
            self._leaving = True
            self.note = "a take runs: save or discard it, or [q] again to leave it running"
            return ()
        return (Wish.QUIT,)


class Buttons:
    """Turns gamepad states into wishes: a button counts when it goes down.

    Args:
        numbers: button number of each name in BUTTONS; a negative one is unused.

    Raises:
        ValueError: an unknown name, or one number twice.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        used = [number for number in numbers.values() if number >= 0]
        unknown = sorted(set(numbers) - set(BUTTONS))
        if unknown:
            raise ValueError(f"button '{unknown[0]}' is unknown; known: {', '.join(BUTTONS)}")
        if len(set(used)) != len(used):
            raise ValueError(f"two buttons share a number: {dict(numbers)}")
        self._numbers = {name: number for name, number in numbers.items() if number >= 0}
        self._down: frozenset[int] | None = None

    def press(self, buttons: Sequence[int]) -> list[Wish]:
        """Take the state of all buttons; return what went down since the last one."""
        down = frozenset(number for number, state in enumerate(buttons) if state)
        before, self._down = self._down, down
        if before is None:  # what is held from the start on was not pressed for us
            return []
        wishes: list[Wish] = []
        for name, number in self._numbers.items():
            if number in down and number not in before:
                wishes += BUTTONS[name]
        return wishes


@dataclass(frozen=True, kw_only=True)
class StreamView:
    """One recorded stream, as it is shown.

    Attributes:
        name: of the camera, or the topic.
        topic: resolved.
        rate_hz: measured.
        age_ms: since its newest message; None where none came.
        max_gap_ms: the longest gap of the take.
        lost: messages known lost.
        problem: in words; empty for none.
    """

    name: str
    topic: str
    rate_hz: float
    age_ms: float | None
    max_gap_ms: float
    lost: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class RecorderView:
    """What a recorder does, as every screen shows it: the terminal's and the desk's.

    Attributes:
        state: name of a TakeState.
        busy: whether a take is under way.
        headline: state, take, its seconds and the reason in one line.
        reason: why it waits or faulted.
        episode: name of the running take.
        instruction: its label, or that of the next one.
        seconds: length of the running take [s].
        saved: episodes since the recorder began.
        messages: written in the take.
        lost: known lost in it.
        skew_ms: between the newest frames of the cameras.
        disk: what room is left, in words.
        streams: one a topic.
    """

    state: str
    busy: bool
    headline: str
    reason: str
    episode: str
    instruction: str
    seconds: float
    saved: int
    messages: int
    lost: int
    skew_ms: float
    disk: str
    streams: tuple[StreamView, ...]


def recorder_view(status: Any) -> RecorderView:
    """Put an evo1_msgs/RecorderStatus into words and finite numbers; texts are printable."""
    state = TakeState(status.state)
    busy = state not in (TakeState.IDLE, TakeState.FAULT)
    seconds = f"{status.duration_s:.1f} s" if busy else ""
    words = [state.name, status.episode_id, seconds, status.reason]
    disk = f"{status.disk_free_gb:.1f} GB"
    if math.isfinite(status.disk_left_s) and status.disk_left_s > 0:
        disk += f", {status.disk_left_s / 60:.0f} min at this rate"
    return RecorderView(
        state=state.name,
        busy=busy,
        headline=printable("  ".join(word for word in words if word)),
        reason=printable(status.reason),
        episode=printable(status.episode_id),
        instruction=printable(status.instruction),
        seconds=float(status.duration_s),
        saved=status.episodes_saved,
        messages=status.messages,
        lost=status.lost,
        skew_ms=float(status.skew_ms),
        disk=disk,
        streams=tuple(_stream_view(stream) for stream in status.streams),
    )


def _stream_view(stream: Any) -> StreamView:
    return StreamView(
        name=printable(stream.name),
        topic=printable(stream.topic),
        rate_hz=float(stream.rate_hz),
        age_ms=None if math.isnan(stream.age_ms) else float(stream.age_ms),
        max_gap_ms=float(stream.max_gap_ms),
        lost=stream.lost,
        problem=printable(stream.problem),
    )


def screen(
    view: RecorderView | None, *, typed: str | None, message: str, colours: bool, width: int
) -> list[str]:
    """The whole display of a terminal.

    Args:
        view: of the newest status; None where nothing was heard for a while.
        typed: the instruction being typed, if any.
        message: the last answer or note.
        colours: whether escape codes for colours are wanted.
        width: of the terminal; status lines are cut at it, the rest is wrapped [characters].
    """
    lines = _lines(view) if view else ["no status from the recorder; is it running?"]
    lines = [line[:width] for line in (*lines, "")]
    keys = KEYS_HELP if typed is None else f"instruction: {typed}_  [enter] [esc]"
    for text in (f"> {message}", keys):
        lines += textwrap.wrap(text, max(width, 20))
    if colours and view:
        lines[0] = f"{_BOLD}{_COLOURS.get(view.state, _GREEN)}{lines[0]}{_PLAIN}"
        for k, stream in enumerate(view.streams, start=4):
            if stream.problem or stream.lost:
                lines[k] = f"{_YELLOW}{lines[k]}{_PLAIN}"
    return lines


def _lines(view: RecorderView) -> list[str]:
    return [
        view.headline,
        f"instruction: {view.instruction or '(none: press i)'}",
        f"saved {view.saved}   messages {view.messages}   lost {view.lost}   "
        f"skew {view.skew_ms:.0f} ms   disk {view.disk}",
        f"{'stream':<{NAME_WIDTH}} {'Hz':>6} {'age ms':>7} {'gap ms':>7} {'lost':>5}",
        *(_stream_line(stream) for stream in view.streams),
    ]


def _stream_line(stream: StreamView) -> str:
    age = "never" if stream.age_ms is None else f"{stream.age_ms:.0f}"
    name = stream.name[-NAME_WIDTH:]  # the end of a topic says more than its beginning
    return (
        f"{name:<{NAME_WIDTH}} {stream.rate_hz:>6.1f} {age:>7} {stream.max_gap_ms:>7.0f} "
        f"{stream.lost:>5}  {stream.problem or stream.topic}"
    )
