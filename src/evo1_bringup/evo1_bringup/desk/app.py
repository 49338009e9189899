"""The desk's server: one page, its pictures and numbers, and what it may ask for.

FastAPI and a page written by hand: three small files of JavaScript that anybody can read, nothing
to build, nothing fetched from elsewhere. NiceGUI would keep the page's state in Python and send
every pointer movement through the server; a stop has to leave the browser in one request.

What keeps others out: it listens on the loopback unless told otherwise, and then wants a token; a
page of another origin is refused; nothing changes by GET; and no text of a topic or dataset is
ever markup (the page sets textContent alone, and a strict content security policy stands behind).
"""

import asyncio
import hmac
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from evo1_bringup.desk.robot_side import ACTIONS, Lease, RobotSide, Told, hindrances
from evo1_policy.serving.server import is_authorised

STATIC = Path(__file__).resolve().parent / "static"
_COOKIE = "evo1_desk"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; connect-src 'self'; "
        "frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_NO_ROBOT = "no robot: this desk shows datasets and runs"
_SNAPSHOT_S, _PICTURE_S = 0.1, 1.0 / 15.0  # the page hears and sees no more often
_LONGEST_BODY = 1 << 20  # bytes
_LONGEST_VALUE = 2000  # characters
_SAFE = {"GET", "HEAD"}
_STOPPERS = ThreadPoolExecutor(4, "stop")  # which nothing else can keep busy


@dataclass(frozen=True, kw_only=True)
class DeskSettings:
    """How the desk is reached.

    Attributes:
        token: what a browser has to show; '' on the loopback.
        hosts: names by which it is reached, beside the loopback's.
    """

    token: str = ""
    hosts: tuple[str, ...] = field(default=("127.0.0.1", "localhost", "[::1]", "::1"))


def create_app(
    settings: DeskSettings, robot: RobotSide | None, library: APIRouter | None = None
) -> FastAPI:
    """The desk as an ASGI application.

    Args:
        settings: how it is reached.
        robot: what runs; None for the pages of datasets and runs alone.
        library: the routes of those pages.
    """
    app = FastAPI(title="evo1 desk", docs_url=None, redoc_url=None, openapi_url=None)
    lease = Lease()
    _guard(app, settings)
    _show(app, settings, robot, lease)
    _act(app, robot, lease)
    if library is not None:
        app.include_router(library)
    return app


def _guard(app: FastAPI, settings: DeskSettings) -> None:
    """Look at every request before anything else does."""

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        token = request.query_params.get("token", "")
        if settings.token and request.url.path == "/" and _same(token, settings.token):
            answer: Response = RedirectResponse("/", status_code=303)
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return answer
        why = refusal(request.headers, request.cookies, request.method, settings)
        if why:
            return _answer(ok=False, text=why, status=403)
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _LONGEST_BODY:
            return _answer(ok=False, text=f"longer than {_LONGEST_BODY} bytes", status=413)
        answer = await call_next(request)
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer


def _show(app: FastAPI, settings: DeskSettings, robot: RobotSide | None, lease: Lease) -> None:
    """The page, its pictures, and what is known, again and again."""

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/static/{name}")
    def asset(name: str) -> Response:
        known = {path.name: path for path in STATIC.iterdir()}
        return FileResponse(known[name]) if name in known else Response(status_code=404)

    async def is_welcome(socket: WebSocket) -> bool:
        why = refusal(socket.headers, socket.cookies, "POST", settings)
        await socket.accept()
        if why:
            await socket.close(code=4403, reason=why[:100])
        return not why

    @app.websocket("/pictures/{camera}")
    async def pictures(socket: WebSocket, camera: str) -> None:
        if await is_welcome(socket) and robot is not None:
            await _repeat(socket, _PICTURE_S, _frames(robot, camera))

    @app.websocket("/ws")
    async def feed(socket: WebSocket) -> None:
        if await is_welcome(socket):
            page = socket.query_params.get("page", "")[:_LONGEST_VALUE]
            await _repeat(socket, _SNAPSHOT_S, _words(robot, lease, page), robot)


def _act(app: FastAPI, robot: RobotSide | None, lease: Lease) -> None:
    """What can be asked for."""

    @app.post("/api/stop")
    async def stop() -> JSONResponse:
        told = await _stop(robot)
        return _answer(ok=told.ok, text=told.text)

    @app.post("/api/lease")
    async def take(request: Request) -> JSONResponse:
        lease.take(str((await _body(request)).get("page", ""))[:_LONGEST_VALUE])
        return _answer(ok=True, text="this page operates now")

    @app.post("/api/act")
    async def act(request: Request) -> JSONResponse:
        body = await _body(request)
        what, value, page = (body.get(name) for name in ("what", "value", "page"))
        if what not in ACTIONS:
            return _answer(ok=False, text=f"what: expected one of {', '.join(ACTIONS)}")
        if robot is None:
            return _answer(ok=False, text=_NO_ROBOT)
        if len(str(value)) > _LONGEST_VALUE:
            return _answer(ok=False, text=f"value: longer than {_LONGEST_VALUE} characters")
        why = "" if what == "stop" else lease.refusal(str(page or ""))
        why = why or hindrances(await run_in_threadpool(robot.snapshot))[what]
        if why:
            return _answer(ok=False, text=why)
        told = await run_in_threadpool(robot.act, what, value)
        return _answer(ok=told.ok, text=told.text)


def refusal(headers: Any, cookies: Any, method: str, settings: DeskSettings) -> str:
    """Why a request is not served; '' where it is."""
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    if name not in settings.hosts:
        return f"asked for as '{name[:80]}', which is none of this desk's names"
    origin = headers.get("origin")
    if origin is None and method not in _SAFE and headers.get("sec-fetch-site") is not None:
        return "a request that changes something has to name its origin"
    if origin is not None and urlsplit(origin).netloc != host:
        return "asked for by a page of another origin"
    if not settings.token:
        return ""
    shown = _same(cookies.get(_COOKIE, ""), settings.token)
    if shown or is_authorised(headers.get("authorization"), settings.token):
        return ""
    return "no token: open the address that it printed"


def _same(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode(), token.encode())


def _answer(*, ok: bool, text: str, status: int = 200) -> JSONResponse:
    return JSONResponse({"ok": ok, "text": text}, status_code=status)


async def _body(request: Request) -> dict[str, Any]:
    read = bytearray()
    async for part in request.stream():  # its length may be told wrongly, or not at all
        read += part
        if len(read) > _LONGEST_BODY:
            return {}
    with suppress(ValueError):
        body = json.loads(read)
        return body if isinstance(body, dict) else {}
    return {}


def _snapshot(robot: RobotSide | None, lease: Lease, page: str) -> dict[str, Any]:
    if robot is None:
        return {"robot": False}
    said = robot.snapshot()
    holder = lease.seen(page)
    return {
        "robot": True,
        **said,
        "hindrances": hindrances(said),
        "operator": {"mine": holder == page and bool(page), "somebody": bool(holder)},
    }


async def _stop(robot: RobotSide | None) -> Told:
    if robot is None:
        return Told(ok=False, text=_NO_ROBOT)
    return await asyncio.get_running_loop().run_in_executor(_STOPPERS, robot.act, "stop", None)


async def _repeat(
    socket: WebSocket,
    every_s: float,
    sayings: AsyncIterator[str | bytes],
    robot: RobotSide | None = None,
) -> None:
    """Send what comes until the page is gone, and hear its STOP on the same socket.

    A browser has six connections for a place, which other pages and slow requests may hold; a
    socket that is open is none of them.
    """
    gone = asyncio.create_task(_hear(socket, robot))
    with suppress(WebSocketDisconnect, RuntimeError):
        async for said in sayings:
            if said:
                await (
                    socket.send_text(said) if isinstance(said, str) else socket.send_bytes(said)
                )
            await asyncio.wait({gone}, timeout=every_s)
            if gone.done():
                break
    gone.cancel()


async def _hear(socket: WebSocket, robot: RobotSide | None) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            if await socket.receive_text() == "stop":
                told = await _stop(robot)
                await socket.send_text(json.dumps({"told": asdict(told)}))


async def _words(robot: RobotSide | None, lease: Lease, page: str) -> AsyncIterator[str]:
    """Snapshots without end, as JSON that every browser reads: it knows no NaN."""
    while True:
        said = await run_in_threadpool(_snapshot, robot, lease, page)
        yield json.dumps(_finite(said))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


async def _frames(robot: RobotSide, camera: str) -> AsyncIterator[bytes]:
    """Pictures as they come: the newest each time, none twice; empty where there is no new one."""
    last = -1
    while True:
        picture = await run_in_threadpool(robot.picture, camera)
        is_new = picture is not None and picture.number != last
        yield picture.jpeg if picture is not None and is_new else b""
        last = last if picture is None else picture.number
