"""The Feetech servo bus of an SO-100 (STS3215, half duplex serial). Must not import ROS."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BAUD_RATE = 1_000_000
_TORQUE_ENABLE = 40
_ACCELERATION = 41
_GOAL_POSITION = 42
_PRESENT_POSITION = 56
_SIGN_BIT = 1 << 15
_SMOOTHNESS = 254  # highest acceleration: the trajectory is already smooth
_EXTRA_TIMEOUT_MS = 50.0  # the SDK's own is too short for six answers in a row


class BusError(RuntimeError):
    """The bus or a servo did not answer; the message names the port and the servo."""


class FeetechBus:
    """Six servos on one port. Not thread-safe.

    Args:
        port: serial device, such as /dev/ttyACM0.
        servo_ids: bus ids, in the order of every array here.

    Raises:
        BusError: the SDK is not installed, or the port cannot be opened.
    """

    def __init__(self, port: str, servo_ids: Sequence[int]) -> None:
        sdk = _sdk()
        self._port_name = port
        self._ids = tuple(servo_ids)
        self._port = sdk.PortHandler(port)
        self._packets = sdk.PacketHandler(0)
        self._reader = sdk.GroupSyncRead(self._port, self._packets, _PRESENT_POSITION, 2)
        self._writer = sdk.GroupSyncWrite(self._port, self._packets, _GOAL_POSITION, 2)
        try:
            self._port.setBaudRate(BAUD_RATE)  # opens it too
        except OSError as error:  # serial.SerialException is one
            raise BusError(
                f"{port}: cannot open it: {error}; is the arm plugged in, and are you in the "
                "group dialout?"
            ) from error
        self._port.setPacketTimeout = self._set_timeout
        for servo_id in self._ids:
            self._reader.addParam(servo_id)

    def read_positions(self) -> npt.NDArray[np.int64]:
        """Present positions (D,) [ticks].

        Raises:
            BusError: a servo did not answer.
        """
        self._check(self._reader.txRxPacket(), "cannot read the positions")
        raw = []
        for servo_id in self._ids:
            if not self._reader.isAvailable(servo_id, _PRESENT_POSITION, 2):
                raise BusError(f"{self._port_name}: servo {servo_id} did not answer")
            raw.append(self._reader.getData(servo_id, _PRESENT_POSITION, 2))
        return np.array([_signed(value) for value in raw], dtype=np.int64)

    def write_goals(self, ticks: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Command positions (D,) [ticks].

        Raises:
            BusError: the port does not take it.
        """
        for servo_id, value in zip(self._ids, ticks, strict=True):
            self._writer.addParam(servo_id, [int(value) & 0xFF, (int(value) >> 8) & 0xFF])
        result = self._writer.txPacket()
        self._writer.clearParam()
        self._check(result, "cannot write the goals")

    def enable_torque(self) -> None:
        """Let the servos hold. Write the present positions as goals first.

        Raises:
            BusError: a servo did not answer.
        """
        for servo_id in self._ids:
            self._write_byte(servo_id, _ACCELERATION, _SMOOTHNESS)
            self._write_byte(servo_id, _TORQUE_ENABLE, 1)

    def close(self) -> None:
        """Torque off, as far as servos answer, and close the port."""
        for servo_id in self._ids:
            for _ in range(3):
                result, _ = self._packets.write1ByteTxRx(self._port, servo_id, _TORQUE_ENABLE, 0)
                if result == 0:
                    break
        self._port.closePort()

    def _write_byte(self, servo_id: int, address: int, value: int) -> None:
        result, _ = self._packets.write1ByteTxRx(self._port, servo_id, address, value)
        self._check(result, f"servo {servo_id}: cannot write register {address}")

    def _check(self, result: int, problem: str) -> None:
        if result != 0:
            reason = self._packets.getTxRxResult(result)
            raise BusError(f"{self._port_name}: {problem}: {reason}; is the arm's power on?")

    def _set_timeout(self, packet_length: int) -> None:
        per_byte_ms = self._port.tx_time_per_byte
        self._port.setPacketTimeoutMillis(per_byte_ms * (packet_length + 3) + _EXTRA_TIMEOUT_MS)


def _signed(value: int) -> int:
    return -(value & ~_SIGN_BIT) if value & _SIGN_BIT else value


def _sdk() -> Any:
    try:
        import scservo_sdk
    except ImportError as error:
        raise BusError(
            "feetech-servo-sdk is not installed; a real SO-100 needs it: "
            "pip install feetech-servo-sdk"
        ) from error
    return scservo_sdk
