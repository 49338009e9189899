"""The half-duplex bus of some emulated servos, on a pseudo-terminal, and what can go wrong on it.

Must not import ROS.
"""

import contextlib
import os
import random
import select
import threading
import time
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from evo1_sim.servo_bus import sts3215
from evo1_sim.servo_bus.emulated_servo import EmulatedServo
from evo1_sim.servo_bus.sts3215 import BROADCAST_ID, checksum

_HEADER = b"\xff\xff"
_LONGEST = 250
_POLL_S = 0.05
_SHORTEST = {  # parameters that a request has
    sts3215.READ: 2,
    sts3215.WRITE: 1,
    sts3215.SYNC_READ: 2,
    sts3215.SYNC_WRITE: 2,
}


@dataclass(kw_only=True)
class BusFaults:
    """What goes wrong; can be changed while the bus runs.

    Attributes:
        corrupt_rate: share of replies that are damaged, 0 to 1.
        forged_share: share of the damaged ones that carry wrong numbers under a right checksum.
        drop_rate: share of replies that never come.
        latency_s: from request to reply [s].
        silent: ids that do not answer and do not listen.
    """

    corrupt_rate: float = 0.0
    forged_share: float = 0.1
    drop_rate: float = 0.0
    latency_s: float = 0.0003
    silent: set[int] = field(default_factory=set)


@dataclass(kw_only=True)
class BusCounts:
    """What happened so far."""

    requests: int = 0
    malformed: int = 0  # requests that no servo understands
    replies: int = 0
    dropped: int = 0
    corrupted: int = 0
    forged: int = 0


class EmulatedBus:
    """Answers requests. Not thread-safe.

    Args:
        servos: on the bus; two may have the same id, and then disturb each other.
        faults: what goes wrong.
        seed: of what goes wrong by chance.
    """

    def __init__(
        self, servos: Sequence[EmulatedServo], *, faults: BusFaults | None = None, seed: int = 0
    ) -> None:
        self.servos = list(servos)
        self.faults = faults or BusFaults()
        self.counts = BusCounts()
        self._random = random.Random(seed)
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the host; return what the servos answer."""
        self._buffer += data
        answers = b""
        while (packet := self._next_packet()) is not None:
            self.counts.requests += 1
            answers += self._answer(packet[2], packet[4], packet[5:-1])
        return answers

    def _next_packet(self) -> bytes | None:
        while True:
            start = self._buffer.find(_HEADER)
            if start < 0:
                self._buffer = self._buffer[-1:]
                return None
            self._buffer = self._buffer[start:]
            if len(self._buffer) < 4:
                return None
            length = self._buffer[3]
            if not 2 <= length <= _LONGEST or self._buffer[2] == 0xFF:
                self._buffer = self._buffer[1:]
                continue
            if len(self._buffer) < length + 4:
                return None
            packet, self._buffer = self._buffer[: length + 4], self._buffer[length + 4 :]
            if packet[-1] == checksum(packet[2:-1]):
                return packet
            self.counts.malformed += 1

    def _answer(self, target: int, instruction: int, parameters: bytes) -> bytes:
        if len(parameters) < _SHORTEST.get(instruction, 0):
            self.counts.malformed += 1
            return b""
        if instruction == sts3215.SYNC_WRITE:
            self._sync_write(parameters)
            return b""
        if instruction == sts3215.SYNC_READ:
            address, length, *servo_ids = parameters
            return b"".join(
                self._replies(servo_id, lambda servo: servo.read(address, length))
                for servo_id in servo_ids
            )
        if instruction == sts3215.PING:
            return self._replies(target, lambda _: b"")
        if instruction == sts3215.READ:
            address, length = parameters[:2]
            return self._replies(target, lambda servo: servo.read(address, length))
        return self._write(target, instruction, parameters)

    def _write(self, target: int, instruction: int, parameters: bytes) -> bytes:
        for servo in self._listening(target):
            if instruction == sts3215.WRITE:
                servo.write(parameters[0], parameters[1:])
        return self._replies(
            target, lambda servo: b"" if servo.get(sts3215.RESPONSE_LEVEL) else None
        )

    def _sync_write(self, parameters: bytes) -> None:
        address, length, rest = parameters[0], parameters[1], parameters[2:]
        for start in range(0, len(rest), length + 1):
            servo_id, data = rest[start], rest[start + 1 : start + 1 + length]
            for servo in self._listening(servo_id):
                servo.write(address, data)

    def _listening(self, target: int) -> list[EmulatedServo]:
        return [
            servo
            for servo in self.servos
            if target in (servo.servo_id, BROADCAST_ID)
            and servo.servo_id not in self.faults.silent
        ]

    def _replies(self, target: int, make: Callable[[EmulatedServo], bytes | None]) -> bytes:
        if target == BROADCAST_ID:
            return b""
        packets = []
        for servo in self._listening(target):
            data = make(servo)
            if data is not None:
                packets.append(_packet(servo.servo_id, servo.status, data))
        if len(packets) > 1:  # they talk at the same time
            return bytes(self._random.randrange(256) for _ in packets[0])
        return self._damaged(packets[0]) if packets else b""

    def _damaged(self, packet: bytes) -> bytes:
        self.counts.replies += 1
        if self._random.random() < self.faults.drop_rate:
            self.counts.dropped += 1
            return b""
        if self._random.random() >= self.faults.corrupt_rate:
            return packet
        self.counts.corrupted += 1
        if len(packet) > 6 and self._random.random() < self.faults.forged_share:
            self.counts.forged += 1
            data = bytes(self._random.randrange(256) for _ in packet[5:-1])
            return _packet(packet[2], packet[4], data)
        return self._garbled(packet)

    def _garbled(self, packet: bytes) -> bytes:
        chance, kind = self._random, self._random.randrange(4)
        damaged = bytearray(packet)
        if kind == 0:  # one bit
            damaged[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
        elif kind == 1:  # some bytes
            for _ in range(chance.randint(2, 4)):
                damaged[chance.randrange(len(packet))] = chance.randrange(256)
        elif kind == 2:  # cut short
            del damaged[chance.randrange(1, len(packet)) :]
        else:  # noise ahead
            damaged[:0] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 3)))
        return bytes(damaged)


def _packet(servo_id: int, status: int, data: bytes) -> bytes:
    body = bytes([servo_id, len(data) + 2, status]) + data
    return _HEADER + body + bytes([checksum(body)])


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
