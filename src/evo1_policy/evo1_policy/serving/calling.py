"""Calling an `evo1 serve`: connections, its first words, its clock. No ROS, no torch."""

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from evo1_policy.command_line import printable
from evo1_policy.control.inference import InferenceError
from evo1_policy.control.signals import StopCode
from evo1_policy.serving.arrays import unpack
from evo1_policy.serving.evo1 import MOST_BYTES, PORT
from evo1_policy.serving.sessions import RequestError
from evo1_policy.untrusted import read_text

CONNECT_S = 2.0  # for one try
TOKEN = "EVO1_TOKEN"
_KEPT = 32  # exchanges that the clock is judged by


class RemoteError(InferenceError):
    """Why a policy elsewhere gave no chunk."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """When one message and its answer were sent and received, each on its own clock [ns]."""

    sent_ns: int
    there_ns: int
    back_ns: int
    received_ns: int

    @property
    def round_trip_ns(self) -> int:
        """Time on the way, both ways, without what the server did in between."""
        return self.received_ns - self.sent_ns - (self.back_ns - self.there_ns)

    @property
    def offset_ns(self) -> int:
        """How far the server's clock is ahead, if both ways took equally long."""
        return (self.there_ns - self.sent_ns + self.back_ns - self.received_ns) // 2


class ServerClock:
    """The server's clock beside ours: of the last exchanges, the quickest tells best."""

    def __init__(self) -> None:
        self._exchanges: deque[Exchange] = deque(maxlen=_KEPT)

    def add(self, exchange: Exchange) -> None:
        """Learn from one exchange."""
        self._exchanges.append(exchange)

    @property
    def best(self) -> Exchange | None:
        """The quickest of the last exchanges; None before the first."""
        return min(self._exchanges, key=lambda item: item.round_trip_ns, default=None)


def server_says(address: str, token: str) -> Mapping[str, Any]:
    """What the server at an address says of itself (evo1.metadata_of), without staying.

    Raises:
        RemoteError: nobody answers there, or it wants another token.
    """
    url, end_s = server_url(address), time.monotonic() + 2 * CONNECT_S
    try:
        with dial(url, token, CONNECT_S) as connection:
            return receive(connection, end_s, url)
    except (OSError, WebSocketException) as error:
        raise nobody(url, error) from error


def dial(url: str, token: str, within_s: float) -> ClientConnection:
    """A connection.

    Raises:
        RemoteError: turned away.
        OSError, WebSocketException: nobody answers.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else None
    try:
        connection = connect(
            url,
            additional_headers=headers,
            compression=None,
            max_size=MOST_BYTES,
            open_timeout=max(min(within_s, CONNECT_S), 0.01),
            close_timeout=0.5,
            proxy=None,
            legacy=True,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        words = {
            401: f"it wants a token: set {TOKEN}, or remote_token_file:=FILE",
            503: "it has too many clients",
        }
        why = words.get(status, "is that evo1 serve?")
        raise RemoteError(StopCode.REMOTE_REFUSED, f"{url}: refused ({status}): {why}") from error
    assert isinstance(connection, ClientConnection)
    return connection


def receive(connection: ClientConnection, end_s: float, url: str) -> Mapping[str, Any]:
    """The server's next message.

    Raises:
        RemoteError: it is an error, or none of our protocol.
        OSError, WebSocketException: none came.
    """
    message = connection.recv(timeout=max(end_s - time.monotonic(), 0.0))
    if isinstance(message, str):
        late = message.startswith(("busy", "no answer within"))
        code = StopCode.REMOTE_LATE if late else StopCode.REMOTE_REFUSED
        raise RemoteError(code, f"{url} refused: {printable(message)}")
    try:
        return unpack(message)
    except RequestError as error:
        raise RemoteError(StopCode.REMOTE_REFUSED, f"{url} answered {error}") from error


def nobody(url: str, error: Exception) -> RemoteError:
    """The error for a server that cannot be reached."""
    return RemoteError(
        StopCode.REMOTE_GONE,
        f"{url}: nobody answers ({error or type(error).__name__}); is evo1 serve running there, "
        "with --host, and is the network up?",
    )


def server_url(address: str) -> str:
    """'ws://host:port' of what a person types: host, host:port, or a URL.

    Raises:
        ValueError: it is none of them.
    """
    text = address if "://" in address else f"ws://{address}"
    wrong = f"remote: expected host:port, got '{printable(address, 80)}'"
    try:
        parts = urlsplit(text)
        port = parts.port or PORT
    except ValueError as error:
        raise ValueError(wrong) from error
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(wrong)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def read_token(path: Path | str = "") -> str:
    """The token in a file, or without one the variable EVO1_TOKEN's; '' where neither is.

    Raises:
        UntrustedError: the file cannot be read.
    """
    if not path:
        return os.environ.get(TOKEN, "").strip()
    return read_text(path, what="token", max_bytes=4096).strip()
