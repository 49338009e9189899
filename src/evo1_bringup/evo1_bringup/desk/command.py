"""evo1 desk: the operator's page in a browser."""

import asyncio
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_bringup.desk import PORT
from evo1_policy.command_line import Parser, entry_point
from evo1_training.library.shelves import Roots

if TYPE_CHECKING:
    from evo1_bringup.desk.robot_side import RobotSide

_DESCRIPTION = """\
The operator's page: see the robot, stop it, tell it, record it, judge what was recorded and
trained. Open the address that it prints in any browser.

One page operates at a time, others watch; STOP (also the space bar and Escape) works from every
one. It is no emergency stop in the sense of a standard.
"""
_EPILOG = """\
examples
  evo1 desk                              the page of what runs already
  evo1 desk --no-robot                   datasets and runs alone, on a training machine
  evo1 desk --host 0.0.0.0               for others too: a token is made and printed once
"""


@entry_point("desk", failed=2)
def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; returns the exit status."""
    parser = Parser("evo1 desk", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--host", default="127.0.0.1", help="Where to listen [127.0.0.1].")
    parser.add_argument("--port", type=int, default=PORT, help=f"Its port [{PORT}].")
    parser.add_argument("--namespace", default="", metavar="NAME", help="Of the arm.")
    parser.add_argument(
        "--no-robot", action="store_true", help="Datasets and runs alone; needs no ROS."
    )
    folders = {k: at for k, at in asdict(Roots()).items() if isinstance(at, Path) and k != "cache"}
    for name, folder in folders.items():
        about = f"Folder of {name} [{folder}]."
        parser.add_argument(f"--{name}", type=Path, default=folder, help=about)
    # Behind --ros-args stands what a launch says to every node.
    options, _ = parser.parse_known_args(arguments)
    # Lazily: --help shall not wait for libraries.
    from evo1_policy.serving.calling import read_token
    from evo1_policy.serving.server import check_reach, is_loopback

    token = "" if is_loopback(options.host) else read_token() or secrets.token_urlsafe(24)
    check_reach(options.host, token)
    # The server hears it first, and passes it on once it has ended: everything is let go of.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    robot: RobotSide | None = None
    if not options.no_robot:
        from evo1_bringup.ros.desk_node import RosRobot

        robot = RosRobot(options.namespace)
    try:
        roots = Roots(**{name: getattr(options, name) for name in folders})
        asyncio.run(_serve(options.host, options.port, token, robot, roots))
    finally:
        if robot is not None:
            robot.close()
    return 0


async def _serve(
    host: str, port: int, token: str, robot: "RobotSide | None", roots: Roots
) -> None:
    import uvicorn

    from evo1_bringup.desk.app import DeskSettings, create_app
    from evo1_bringup.desk.library import library_router

    known = DeskSettings().hosts
    names = known if not token else (*known, host, *_own_names())
    app = create_app(DeskSettings(token=token, hosts=names), robot, library_router(roots))
    server = uvicorn.Server(
        uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    place = "localhost" if not token else _own_names()[0]
    address = f"http://{place}:{port}/" + (f"?token={token}" if token else "")
    print(f"desk: {address}", flush=True)  # noqa: T201
    await server.serve()


def _own_names() -> tuple[str, ...]:
    """Names and addresses by which others reach this machine."""
    name = socket.gethostname()
    found = {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    return (name, *sorted(found))
