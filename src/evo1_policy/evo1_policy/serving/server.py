"""The policy server: connections, turns, refusals and counters; which protocol is not its concern.

Reading a request and inferring happen on threads, so that pings are answered meanwhile. Must not
import ROS or torch.
"""

import asyncio
import base64
import binascii
import hmac
import http
import ipaddress
import logging
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from evo1_policy.command_line import is_expected, printable
from evo1_policy.serving.sessions import Frame, Job, Protocol, Refusal, Session
from evo1_policy.serving.turns import TurnError, Turns

_LOG = logging.getLogger(__name__)
_MOST_REFUSALS = 20  # in a row, before a client is hung up on
_LOOK_S = 0.5  # how often slow senders are looked for
_REASON_BYTES = 120  # of a closing frame
_SHORTEST_TOKEN = 16


class ServeError(ValueError):
    """A server that cannot be started as it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a client may take.

    Attributes:
        clients: at once, over all protocols.
        answer_s: how long a request may wait for its answer [s].
        message_s: how long a message may take to come in, or an answer to be taken [s].
        end_s: how long an inference may take to end when the server ends [s].
    """

    clients: int = 16
    answer_s: float = 60.0
    message_s: float = 30.0
    end_s: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one protocol is spoken; port 0: any that is free."""

    protocol: Protocol
    port: int


class PolicyServer:
    """Serves a policy until it is told to end.

    Args:
        places: protocols and their ports.
        host: address to listen on.
        token: that a client has to show; '' asks for none, which is refused but on loopback.
        limits: what a client may take.

    Raises:
        ServeError: see check_reach.
    """

    def __init__(
        self,
        places: Sequence[Place],
        *,
        host: str = "127.0.0.1",
        token: str = "",
        limits: Limits | None = None,
    ) -> None:
        check_reach(host, token)
        self._places, self._host, self._token = places, host, token
        self._limits = limits or Limits()
        self._turns = Turns(most_waiting=self._limits.clients)
        self._counters: defaultdict[str, float] = defaultdict(float)
        self._open: set[ServerConnection] = set()
        self.ports: tuple[int, ...] = ()

    async def run(
        self, stop: asyncio.Event, *, ready: Callable[[], object] = lambda: None
    ) -> None:
        """Serve until `stop` is set; `ready` is called when every port is open.

        Raises:
            ServeError: a port cannot be opened.
        """
        servers: list[Server] = []
        watch = asyncio.create_task(self._watch_slow_senders())
        try:
            for place in self._places:
                servers.append(await self._start(place))  # noqa: PERF401  closed where one fails
            self.ports = tuple(_port(server) for server in servers)
            ready()
            await stop.wait()
        finally:
            watch.cancel()
            for server in servers:
                server.close(code=CloseCode.GOING_AWAY, reason="the server ends")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.end_s):
                    await asyncio.gather(*(server.wait_closed() for server in servers))
            await asyncio.to_thread(self._turns.close, self._limits.end_s)

    def counters(self) -> str:
        """What was done since the start, as plain text: a name and a number a line."""
        now = {"evo1_clients": len(self._open), "evo1_waiting": self._turns.waiting}
        counted = sorted({**now, **self._counters}.items())
        return "".join(f"{name} {value:.10g}\n" for name, value in counted)

    async def _start(self, place: Place) -> Server:
        protocol = place.protocol
        try:
            return await serve(
                partial(self._converse, protocol),
                self._host,
                place.port,
                process_request=self._admit,
                origins=[None],  # no page of a browser
                compression=None,
                max_size=protocol.most_bytes,
                max_queue=1,
                ping_interval=20 if protocol.pings else None,
                ping_timeout=60 if protocol.pings else None,
                close_timeout=2,
                server_header=None,
                create_connection=Incoming,
                logger=_quiet(),
            )
        except OSError as error:
            where = f"{self._host}:{place.port}"
            raise ServeError(
                f"{where}: cannot listen there: {error.strerror or error}; another port: "
                f"--protocol {protocol.name}:PORT"
            ) from error

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no conversation, and refuse strangers; None lets one in."""
        path = request.path.partition("?")[0]
        if path in ("/healthz", "/health"):
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self._token and not is_authorised(request.headers.get("Authorization"), self._token):
            self._counters["evo1_strangers_total"] += 1
            _LOG.warning("%s: refused: no token, or another one", _name(connection))
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "a token is needed\n")
        if path == "/metrics":
            return connection.respond(http.HTTPStatus.OK, self.counters())
        if len(self._open) >= self._limits.clients:
            self._counters["evo1_clients_refused_total"] += 1
            _LOG.warning("%s: refused: %d clients are here", _name(connection), len(self._open))
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n")
        return None

    async def _converse(self, protocol: Protocol, connection: ServerConnection) -> None:
        """One client, from its greeting to its end."""
        assert isinstance(connection, Incoming)
        client, session, refused = _name(connection), protocol.session(), 0
        self._open.add(connection)
        self._counters["evo1_clients_total"] += 1
        _keep_alive(connection)
        _LOG.info("%s: comes, speaks %s", client, protocol.name)
        try:
            if protocol.greeting is not None:
                await self._send(connection, protocol.greeting)
            async for message in connection:
                connection.answering = True
                frame = await self._answer(protocol, session, message, client)
                connection.told_all()
                if isinstance(frame, Refusal):
                    refused += 1
                    closes = frame.closes or refused >= _MOST_REFUSALS
                    frame = frame.frame
                else:
                    refused, closes = 0, False
                if frame is not None:
                    await self._send(connection, frame)
                if closes:
                    await connection.close(CloseCode.INTERNAL_ERROR)
                    return
        except ConnectionClosed as error:
            if error.rcvd is None and error.sent is not None and error.sent.reason:
                _LOG.warning("%s: hung up on: %s", client, error.sent.reason)
        finally:
            self._open.discard(connection)
            _LOG.info("%s: gone", client)

    async def _answer(
        self, protocol: Protocol, session: Session, message: Frame, client: str
    ) -> Frame | Refusal | None:
        """The frame that answers a message, how to refuse it, or None."""
        begun, kind = time.perf_counter(), f'{{protocol="{protocol.name}"}}'
        self._counters[f"evo1_messages_total{kind}"] += 1
        self._counters[f"evo1_bytes_total{kind}"] += len(message)
        try:
            step = await asyncio.to_thread(session.read, message)
            read = time.perf_counter()
            self._counters[f"evo1_read_seconds_total{kind}"] += read - begun
            if not isinstance(step, Job):
                return step
            within_s = min(self._limits.answer_s, step.within_s or self._limits.answer_s)
            frame = await self._turns.take(step.run, within_s=within_s)
        except Exception as error:  # noqa: BLE001  whatever it is, the client hears of it
            if not isinstance(error, TurnError) and not is_expected(error):
                _LOG.exception("%s: a request could not be answered", client)
            problem = str(error) if is_expected(error) else type(error).__name__
            self._counters[f"evo1_refused_total{kind}"] += 1
            _LOG.warning("%s: refused: %s", client, printable(problem))
            return session.refusal(printable(problem))
        self._counters[f"evo1_answers_total{kind}"] += 1
        self._counters[f"evo1_answer_seconds_total{kind}"] += time.perf_counter() - read
        return frame

    async def _send(self, connection: ServerConnection, frame: Frame) -> None:
        """Send to a client that may not be reading."""
        try:
            async with asyncio.timeout(self._limits.message_s):
                await connection.send(frame)
        except TimeoutError:
            _LOG.warning("%s: hung up on: it takes no answer", _name(connection))
            connection.transport.abort()

    async def _watch_slow_senders(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            for connection in list(self._open):
                assert isinstance(connection, Incoming)
                if connection.seconds_behind() > self._limits.message_s:
                    self._counters["evo1_slow_senders_total"] += 1
                    _LOG.warning(
                        "%s: hung up on: a message that did not end within %g s",
                        _name(connection),
                        self._limits.message_s,
                    )
                    connection.transport.abort()


class Incoming(ServerConnection):
    """A connection that knows since when a message has been coming in."""

    answering = False  # a message was taken, and what comes behind it may wait
    _begun_s: float | None = None

    def data_received(self, data: bytes) -> None:
        """Take what came, and remember when the message in it began."""
        super().data_received(data)
        unfinished = self.protocol.current_size is not None or len(self.protocol.reader.buffer) > 0
        if not unfinished:
            self._begun_s = None
        elif self._begun_s is None:
            self._begun_s = time.monotonic()

    def told_all(self) -> None:
        """A message was answered: what is there of the next one begins now."""
        self.answering = False
        if self._begun_s is not None:
            self._begun_s = time.monotonic()

    def seconds_behind(self) -> float:
        """For how long a message has been coming in [s]."""
        if self.answering or self._begun_s is None:
            return 0.0
        return time.monotonic() - self._begun_s


def check_reach(host: str, token: str) -> None:
    """Refuse to be reached by others who show nothing.

    Raises:
        ServeError: without a token, or with one that can be guessed.
    """
    if not token and not is_loopback(host):
        raise ServeError(
            f"--host {host}: others could reach it: give a token (--token-file FILE, or the "
            "variable EVO1_TOKEN), or leave --host out and come in by ssh -L"
        )
    if token and len(token) < _SHORTEST_TOKEN:
        raise ServeError(f"the token is too short: give {_SHORTEST_TOKEN} characters or more")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_authorised(header: str | None, token: str) -> bool:
    """Whether an Authorization header shows the token.

    As Bearer; as openpi's Api-Key; or as the password of Basic, which a client sends whose address
    is ws://evo1:TOKEN@host:port: so do the authors' clients, unmodified.
    """
    kind, _, shown = (header or "").partition(" ")
    if kind.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif kind.lower() not in ("bearer", "api-key"):
        return False
    return hmac.compare_digest(shown.strip().encode(), token.encode())


def _quiet() -> logging.Logger:
    """The library's log, without a line for each connection; strangers' nonsense is no error."""
    log = logging.getLogger(f"{__name__}.connections")
    log.setLevel(logging.CRITICAL)
    return log


def _name(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a client"


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


def _keep_alive(connection: ServerConnection) -> None:
    """Have the system find out about a client whose machine is gone."""
    found = connection.transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
