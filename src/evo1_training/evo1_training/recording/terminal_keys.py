"""What single keys and gamepad buttons ask of the recorder. Pure: no terminal, no ROS.

A person who records looks at the robot, so a key acts at once and needs no second key. The two
exceptions lose something: leaving while a take runs, and typing an instruction.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

KEYS_HELP = (
    "[s] start  [space/enter] save  [d] discard  [r] discard and start again  "
    "[x] delete last  [i] instruction  [q] quit"
)


class Wish(Enum):
    """What a person asks for."""

    START = "start"
    SAVE = "save"
    DISCARD = "discard"
    DELETE_LAST = "delete_last"
    QUIT = "quit"


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
        if key == "i":
            self.typed, self.note = "", ""
            return ()
        wishes = KEYS.get(key.lower(), ())
        self.note = "" if wishes else f"no key {key!r}"
        return wishes

    def _type(self, key: str) -> Sequence[str]:
        assert self.typed is not None
        if key in _ENTER:
            instruction, self.typed = self.typed.strip(), None
            self.note = "" if instruction else "the instruction stays as it is"
            return (instruction,) if instruction else ()
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
