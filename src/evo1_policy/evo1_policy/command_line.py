"""How every command ends: a line for what a person can mend, a traceback for bugs.

What a person can mend is an error class of ours, and what the system or a file says: OSError and
ValueError. EVO1_TRACEBACK=1 shows where one came from. Imports the
standard library alone: `evo1 stop` begins here.
"""

import argparse
import os
import re
import shutil
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

P = ParamSpec("P")

INTERRUPTED, NOBODY_READS = 130, 141  # as a shell tells of SIGINT and SIGPIPE
_MOST_TOLD = 4000
# pathlib tells these by a RuntimeError.
_NO_HOME, _LOOP = "Could not determine home directory.", "Symlink loop from "


def entry_point(name: str, *, failed: int = 1) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorate the main function of a command, which returns its exit status.

    Args:
        name: stands before the line of an error.
        failed: the exit status of an error that a person can mend.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            _fill_closed_streams()
            speak_anywhere()
            try:
                status = main(*args, **kwargs)
                sys.stdout.flush()  # a full disk or a closed pipe is heard of here
                return status
            except KeyboardInterrupt:
                tell(name, "interrupted")
                return INTERRUPTED
            except BrokenPipeError:  # `| head` has read enough
                return NOBODY_READS
            except Exception as error:
                if not is_expected(error):
                    raise
                if os.environ.get("EVO1_TRACEBACK"):
                    traceback.print_exc()
                tell(name, describe(error))
                return failed
            finally:
                _let_go_of_broken_streams()

        return run

    return decorate


def is_expected(error: BaseException) -> bool:
    """Whether a person can mend what an error tells; everything else is a bug."""
    ours = type(error).__module__.partition(".")[0] in _PACKAGES
    of_pathlib = str(error) == _NO_HOME or str(error).startswith(_LOOP)
    return ours or of_pathlib or isinstance(error, OSError | ValueError)


def describe(error: BaseException) -> str:
    """What an error says, with the file that it is about; later lines, if any, are indented."""
    if isinstance(error, FileNotFoundError) and error.filename is None and not _has_folder():
        return "the folder in which this shell stands was removed; change to another one (cd ~)"
    if str(error) == _NO_HOME:
        return "this user has no home folder: set HOME, or give every path in full"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        places = [os.fsdecode(place) for place in (error.filename, error.filename2) if place]
        return printable(f"{' -> '.join(places)}: {error.strerror}", _MOST_TOLD)
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{printable(error.object)}: a name that cannot be written as UTF-8 text; give it "
            "another one, or set LC_ALL=C.UTF-8 where the locale does not know its letters"
        )
    first, *others = str(error).splitlines() or [type(error).__name__]
    told = [first, *(line if line.startswith(" ") else f"  {line}" for line in others)]
    return "\n".join(printable(line, _MOST_TOLD) for line in told)


def printable(text: object, limit: int = 300) -> str:
    """Text from outside as a terminal or a log may show it: on one line, cut at `limit`.

    Control characters, line ends, bidirectional overrides and lone surrogates become escapes.
    """
    text = str(text)
    shown = "".join(
        char
        if char.isprintable() or unicodedata.category(char) == "Zs"
        else char.encode("unicode_escape").decode()
        for char in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: max(limit - 3, 0)] + "..."


class Parser(argparse.ArgumentParser):
    """The parser of a command: shows longer text as it is written, and guesses what was meant.

    Args:
        prog: what a person types, as 'evo1 train'.
        words: that a person may have meant beside those that the parser knows.
        more: as of argparse.ArgumentParser.
    """

    def __init__(self, prog: str, *, words: Iterable[str] = (), **more: Any) -> None:
        self._words = tuple(words)
        texts = f"{more.get('description', '')}{more.get('epilog', '')}"
        if "\n" in texts:
            more.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, **more)

    def error(self, message: str) -> NoReturn:
        """End with usage, message and the nearest word that there is."""
        if wrong := re.match(r"unrecognized arguments: (-\S+)", message):
            message += did_you_mean(wrong[1].partition("=")[0], self._option_string_actions)
        elif wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += did_you_mean(wrong[1], [*re.findall(r"[\w-]+", wrong[2]), *self._words])
        super().error(message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' where a known word is near to what was typed, else ''."""
    from difflib import get_close_matches  # lazily: a stop needs none

    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def positive(text: str) -> float:
    """A finite number above 0, for argparse."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def tell(name: str, text: str) -> None:
    """Print an error as every command does; where nobody can hear it, the exit status says it."""
    try:
        print(f"{name}: {text}", file=sys.stderr)  # noqa: T201
    except OSError:
        return


class Redrawn:
    """Lines of what goes on: drawn over those before on a terminal, elsewhere one a second.

    Args:
        printer: prints lines.
        terminal: whether standard output is one; None: look.
    """

    def __init__(self, printer: Callable[..., None], *, terminal: bool | None = None) -> None:
        self._printer = printer
        self._terminal = sys.stdout.isatty() if terminal is None else terminal
        self._rows, self._said_s = 0, 0.0

    def show(self, lines: Sequence[str]) -> None:
        """Show all of them; where they cannot be drawn over, later only the first."""
        if self._terminal:
            width = shutil.get_terminal_size().columns
            sys.stdout.write(f"\x1b[{self._rows}F\x1b[J" if self._rows else "")
            self._printer(*(line[: width - 1] for line in lines))  # a wrapped line were two rows
        elif not self._rows or time.monotonic() - self._said_s >= 1.0:
            self._printer(*(lines[:1] if self._rows else lines))
            self._said_s = time.monotonic()
        self._rows = len(lines)


def speak_anywhere() -> None:
    """Let no character stop a command that a terminal or its locale does not know."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


_PACKAGES = ("evo1_policy", "evo1_sim", "evo1_training", "evo1_bringup")


def _has_folder() -> bool:
    try:
        return Path.cwd().is_dir()
    except OSError:
        return False


def _fill_closed_streams() -> None:
    """Where the program was started without an output, let the next file not be opened as it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _let_go_of_broken_streams() -> None:
    """Have Python's last flush succeed, which would end with another status and a message."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
