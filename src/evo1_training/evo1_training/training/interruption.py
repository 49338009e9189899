"""SIGTERM and Ctrl-C as a wish that training fulfils between two steps.

Must not import ROS or torch.
"""

import signal
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Within its block the first signal is remembered; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.signal_name = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name
