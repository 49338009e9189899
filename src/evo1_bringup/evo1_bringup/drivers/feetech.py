"""The Feetech servo bus of an SO-100 (STS3215, half duplex serial). Must not import ROS.

Whatever comes back is used only if its checksum, its id and its length are right; everything else
is counted and asked for again a bounded number of times. Replies carry no number: after one that
did not come in time, a servo is asked for something that nothing else asks for, so that the late
reply is not taken for the answer to the next question.
"""

import errno
import os
import select
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from evo1_sim.servo_bus.sts3215 import (
    BAUD_RATE,
    ID,
    MODEL_NUMBER,
    Register,
    decode,
    encode,
)

REPLY_TIMEOUT_S = 0.008  # all six answer within 2 ms; a loaded machine needs longer to notice
ATTEMPTS = 4  # of requests that need an answer before anything moves
_FENCE_LENGTH = MODEL_NUMBER.length + ID.length  # no register and no block that is read is as long

_WRITE_TIMEOUT_S = 1.0

T = TypeVar("T")


class BusError(RuntimeError):
    """The bus or a servo does not do what it must; the message names the port and the servo."""


class PortLostError(BusError):
    """The port itself cannot be opened, or is gone: the cable was pulled."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one servo answered, already checked.

    Attributes:
        status: its status byte, see sts3215.STATUS_BITS.
        data: the bytes asked for.
    """

    status: int
    data: bytes


@dataclass(kw_only=True)
class Traffic:
    """Counts since the port was opened first."""

    requests: int = 0
    lost: int = 0  # replies that did not come in time
    corrupt: int = 0  # replies with a wrong checksum, id or length
    retried: int = 0  # requests that were sent again


class FeetechBus:
    """Servos on one port. Not thread-safe.

    Args:
        port: serial device, such as /dev/ttyACM0.
        timeout_s: longest wait for the replies to one request [s].
        traffic: where to count; a new one where not given.

    Raises:
        BusError: the SDK is not installed.
        PortLostError: the port cannot be opened. Every method raises it when the port is gone.
    """

    def __init__(
        self, port: str, *, timeout_s: float = REPLY_TIMEOUT_S, traffic: Traffic | None = None
    ) -> None:
        self.port_name = port
        self.traffic = traffic or Traffic()
        self._sdk = _sdk()
        self._packets = self._sdk.PacketHandler(0)
        self._owing: set[int] = set()  # servos whose reply may still come
        self._port = SerialPort(port, baud_rate=BAUD_RATE, timeout_s=timeout_s)

    def ping(self, servo_id: int) -> int | None:
        """The model number of a servo; None where nobody answers to the id."""
        request = [0, 0, servo_id, 2, self._sdk.INST_PING, 0]
        for _ in range(ATTEMPTS):
            if self._ask_one(request, servo_id, 0) is not None:
                return self.read(servo_id, MODEL_NUMBER)
        return None

    def read(self, servo_id: int, register: Register) -> int:
        """The value of one register.

        Raises:
            BusError: no good answer after several attempts.
        """
        for attempt in range(ATTEMPTS):
            self.traffic.retried += attempt > 0
            reply = self.read_one(servo_id, register.address, register.length)
            if reply is not None:
                return decode(register, reply.data)
        raise self._silent(servo_id, f"cannot read {register.name}")

    def write(self, servo_id: int, register: Register, value: int) -> None:
        """Set one register, and have the servo acknowledge it.

        Raises:
            BusError: no acknowledgement after several attempts.
        """
        data = encode(register, value)
        request = [0, 0, servo_id, len(data) + 3, self._sdk.INST_WRITE, register.address, *data, 0]
        for attempt in range(ATTEMPTS):
            self.traffic.retried += attempt > 0
            if self._ask_one(request, servo_id, 0) is not None:
                return
        raise self._silent(servo_id, f"cannot write {register.name}")

    def read_one(self, servo_id: int, address: int, length: int) -> Reply | None:
        """A block of registers of one servo, asked for once; None where no good answer came."""
        request = [0, 0, servo_id, 4, self._sdk.INST_READ, address, length, 0]
        return self._ask_one(request, servo_id, length)

    def read_all(self, servo_ids: Sequence[int], address: int, length: int) -> dict[int, Reply]:
        """The same block of several servos by one request; only those that answered well.

        They answer in the order given: once the last has, nobody else is waited for.
        """
        broadcast, sync_read = self._sdk.BROADCAST_ID, self._sdk.INST_SYNC_READ
        request = [0, 0, broadcast, len(servo_ids) + 4, sync_read, address, length, *servo_ids, 0]
        return self._ask(request, servo_ids, length)

    def write_all(self, register: Register, values: Mapping[int, int]) -> None:
        """Set a register of several servos by one request that nobody acknowledges."""
        broadcast, sync_write = self._sdk.BROADCAST_ID, self._sdk.INST_SYNC_WRITE
        body = [register.address, register.length]
        for servo_id, value in values.items():
            body += [servo_id, *encode(register, value)]
        self._guarded(lambda: self._send([0, 0, broadcast, len(body) + 2, sync_write, *body, 0]))

    def close(self) -> None:
        """Give the port back; the servos go on as they were told."""
        self._port.close()

    def _ask_one(self, request: list[int], servo_id: int, length: int) -> Reply | None:
        if servo_id in self._owing and not self._heard_everything(servo_id):
            return None
        reply = self._ask(request, [servo_id], length).get(servo_id)
        if reply is None:
            self._owing.add(servo_id)
        return reply

    def _heard_everything(self, servo_id: int) -> bool:
        """Whether all that a servo still had to say is behind us: it answers in order."""
        request = [0, 0, servo_id, 4, self._sdk.INST_READ, MODEL_NUMBER.address, _FENCE_LENGTH, 0]
        reply = self._ask(request, [servo_id], _FENCE_LENGTH).get(servo_id)
        if reply is None or reply.data[-1] != servo_id:
            return False
        self._owing.discard(servo_id)
        return True

    def _ask(self, request: list[int], servo_ids: Sequence[int], length: int) -> dict[int, Reply]:
        return self._guarded(lambda: self._exchange(request, servo_ids, length))

    def _exchange(
        self, request: list[int], servo_ids: Sequence[int], length: int
    ) -> dict[int, Reply]:
        self._send(request)
        self._port.setPacketTimeout(0)
        replies: dict[int, Reply] = {}
        while servo_ids[-1] not in replies:  # before it, everyone had their turn
            packet, result = self._packets.rxPacket(self._port)
            if result != self._sdk.COMM_SUCCESS:
                self.traffic.corrupt += bool(packet)
                if self._port.isPacketTimeout():
                    break
                continue
            servo_id, status, data = packet[2], packet[4], bytes(packet[5:-1])
            if servo_id not in servo_ids or servo_id in replies or len(data) != length:
                self.traffic.corrupt += 1
                continue
            replies[servo_id] = Reply(status=status, data=data)
        self.traffic.lost += len(servo_ids) - len(replies)
        return replies

    def _send(self, request: list[int]) -> None:
        self.traffic.requests += 1
        result = self._packets.txPacket(self._port, request)
        self._port.is_using = False
        if result != self._sdk.COMM_SUCCESS:
            raise PortLostError(f"{self.port_name}: does not take what is sent; is it gone?")

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:  # serial.SerialException is one
            raise PortLostError(
                f"{self.port_name}: the port is gone ({error}); was the cable pulled?"
            ) from error

    def _silent(self, servo_id: int, problem: str) -> BusError:
        return BusError(
            f"{self.port_name}: servo {servo_id}: {problem}: no good answer in {ATTEMPTS} "
            "attempts; is the arm's power on, and every cable in place?"
        )


def _sdk() -> Any:
    try:
        import scservo_sdk
    except ImportError as error:
        raise BusError(
            "feetech-servo-sdk is not installed; a real SO-100 needs it: "
            "pip install feetech-servo-sdk"
        ) from error
    return scservo_sdk


class SerialPort:
    """One open port, ours alone: blocking reads, one deadline, by methods that scservo_sdk calls.

    The SDK's own spins while it waits, keeps late bytes of an old reply, and uses the wall clock.

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
        except OSError as error:  # serial.SerialException is one, and says the port twice more
            why = os.strerror(error.errno) if error.errno else error
            raise PortLostError(
                f"{name}: cannot open it: {why}; is the arm plugged in, does no other program "
                "use it, and are you in the group dialout?"
            ) from error
