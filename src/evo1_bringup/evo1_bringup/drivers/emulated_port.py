"""A pseudo-terminal with an emulated servo bus behind it, which can be unplugged.

Must not import ROS.
"""

import contextlib
import os
import select
import threading
import time
import tty
from pathlib import Path
from types import TracebackType

from evo1_bringup.drivers.emulated_bus import EmulatedBus

_POLL_S = 0.05


class EmulatedPort:
    """Offers a bus under a path that looks like a serial device, from a thread of its own.

    Args:
        bus: what is behind it.
        link: path that programs open; a symbolic link to the terminal of the day.
        lock: held while the bus answers.
    """

    def __init__(self, bus: EmulatedBus, link: Path, *, lock: threading.Lock) -> None:
        self.link = link
        self._bus = bus
        self._lock = lock
        self._open = False
        self._asked_at = 0.0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "EmulatedPort":
        self.plug()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unplug()

    @property
    def quiet_s(self) -> float:
        """How long nobody has asked anything [s]."""
        return time.monotonic() - self._asked_at

    @property
    def plugged(self) -> bool:
        """Whether the device is there."""
        return self._open

    def plug(self) -> None:
        """Let the device appear."""
        if self._open:
            return
        host, device = os.openpty()
        tty.setraw(device)
        self._open = True
        self._thread = threading.Thread(target=self._serve, args=(host, device), daemon=True)
        self._thread.start()
        self._remove_link()
        self.link.parent.mkdir(parents=True, exist_ok=True)
        self.link.symlink_to(os.ttyname(device))

    def unplug(self) -> None:
        """Let the device disappear, whoever has it open."""
        self._open = False
        self._remove_link()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _remove_link(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.link.unlink()

    def _serve(self, host: int, device: int) -> None:
        try:
            while self._open:
                if not select.select([host], [], [], _POLL_S)[0]:
                    continue
                request = os.read(host, 4096)
                self._asked_at = time.monotonic()
                with self._lock:
                    answer = self._bus.feed(request)
                    latency_s = self._bus.faults.latency_s
                if answer:
                    time.sleep(latency_s)
                    os.write(host, answer)
        except OSError:  # the terminal is gone: as if somebody had pulled the cable
            self._open = False
        finally:
            os.close(device)
            os.close(host)
