"""A serial port as the Feetech SDK's packet layer wants it: blocking reads, one deadline.

The SDK's own port spins while it waits, keeps late bytes of an old reply, and times by the wall
clock. Must not import ROS.
"""

import errno
import os
import select
import termios
import time
from typing import Any

_WRITE_TIMEOUT_S = 1.0


class BusError(RuntimeError):
    """The bus or a servo does not do what it must; the message names the port and the servo."""


class PortLostError(BusError):
    """The port itself cannot be opened, or is gone: the cable was pulled."""


class SerialPort:
    """One open port, ours alone. Method names are those that scservo_sdk calls.

    Args:
        name: device, such as /dev/ttyACM0.
        baud_rate: [bit/s].
        timeout_s: longest wait for the replies to one request [s].

    Raises:
        PortLostError: it cannot be opened.
    """

    def __init__(self, name: str, *, baud_rate: int, timeout_s: float) -> None:
        self.name = name
        self.is_using = False  # of the SDK
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._serial = self._open(name, baud_rate)

    def clearPort(self) -> None:  # noqa: N802
        """Drop what came too late to be an answer."""
        try:
            termios.tcflush(self._serial.fileno(), termios.TCIFLUSH)
        except termios.error as error:  # no OSError, though it is one
            raise OSError(*error.args) from error

    def writePort(self, packet: list[int]) -> int:  # noqa: N802
        """Send bytes; return how many."""
        data, descriptor = bytes(packet), self._serial.fileno()
        sent = 0
        while sent < len(data):
            if not select.select([], [descriptor], [], _WRITE_TIMEOUT_S)[1]:
                raise OSError(errno.ETIMEDOUT, "the device takes nothing")
            sent += os.write(descriptor, data[sent:])
        return sent

    def readPort(self, length: int) -> bytes:  # noqa: N802
        """Up to `length` bytes; none where none come before the deadline."""
        if length <= 0:
            return b""
        descriptor = self._serial.fileno()  # pyserial's own read sets the port up again each time
        left_s = max(self._deadline - time.monotonic(), 0.0)
        if not select.select([descriptor], [], [], left_s)[0]:
            return b""
        data = os.read(descriptor, length)
        if not data:
            raise OSError(errno.EIO, "the device hung up")
        return data

    def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802
        """Start waiting for replies."""
        self._deadline = time.monotonic() + self._timeout_s

    def isPacketTimeout(self) -> bool:  # noqa: N802
        """Whether the replies had their time."""
        return time.monotonic() >= self._deadline

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    @staticmethod
    def _open(name: str, baud_rate: int) -> Any:
        try:
            import serial
        except ImportError as error:
            raise BusError(
                "pyserial is not installed; a real SO-100 needs it: pip install pyserial"
            ) from error
        try:
            return serial.Serial(name, baudrate=baud_rate, exclusive=True)
        except OSError as error:  # serial.SerialException is one
            raise PortLostError(
                f"{name}: cannot open it: {error}; is the arm plugged in, does no other program "
                "use it, and are you in the group dialout?"
            ) from error
