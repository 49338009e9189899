"""Single keys from a terminal, without waiting for enter. Must not import ROS."""

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

CTRL_C, CTRL_D = "\x03", "\x04"


@contextmanager
def single_keys() -> Iterator[int | None]:
    """Deliver each key at once, Ctrl-C too; gives the descriptor, None without a terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    settings = termios.tcgetattr(descriptor)
    settings[3] &= ~termios.ISIG  # Ctrl-C is a key: whoever reads it decides
    termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def read_keys(descriptor: int | None) -> str:
    """What was typed since the last call, without waiting; Ctrl-D where the terminal is gone."""
    if descriptor is None or not select.select([descriptor], [], [], 0)[0]:
        return ""
    try:
        pressed = os.read(descriptor, 64)
    except OSError:
        return CTRL_D
    return pressed.decode(errors="ignore") if pressed else CTRL_D
