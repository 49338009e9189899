"""serve: a checkpoint behind a socket, for clients that are elsewhere. Must not import ROS."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from evo1_policy.cli.reading_options import add_reading_options, reading
from evo1_policy.command_line import INTERRUPTED, Parser, entry_point
from evo1_policy.model.config import Precision

if TYPE_CHECKING:
    from evo1_policy.serving.server import Place, PolicyServer

_PROTOCOLS = ("authors", "evo1", "vla-eval")
_DESCRIPTION = """\
Serve a checkpoint: one policy, many clients in turn. Nothing of ROS is needed.

protocols, each on a port of its own
  authors    9000   JSON, as the authors' Evo1_server.py: their Meta-World, LIBERO, RoboTwin, xArm6
                    and Aloha clients, unmodified
  evo1       8000   msgpack, metadata first: policy_node with remote:=HOST:PORT; openpi's clients
  vla-eval   8001   vla-evaluation-harness and its benchmarks

http on every port: /healthz, and /metrics (counters).
"""
_EPILOG = """\
examples
  # the authors' Meta-World client against a checkpoint of theirs
  evo1 serve Evo1_MetaWorld --interface metaworld --tokenizer hub:OpenGVLab/InternVL3-1B
  # for an arm in the next room: here a token, there remote:=THIS_HOST:8000
  EVO1_TOKEN=$(cat token) evo1 serve runs/can/stage2/best --host 0.0.0.0 --protocol evo1
  # the authors' xArm6 client looks at port 8000
  evo1 serve runs/can/stage2/best --protocol authors:8000

exit status
  0   ended by Ctrl-C or SIGTERM
  2   it could not be started
"""


@entry_point("serve", failed=2)
def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit status."""
    options = _parser().parse_args(arguments)
    wanted = dict(map(_place, options.protocol or ["authors", "evo1"]))
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("evo1_policy").setLevel(logging.INFO)
    # Lazily: --help shall not wait for libraries.
    from evo1_policy.serving.calling import read_token
    from evo1_policy.serving.server import PolicyServer, check_reach

    token = read_token(options.token_file or "")
    check_reach(options.host, token)  # before minutes go into reading weights
    server = PolicyServer(_places(options, wanted), host=options.host, token=token)
    asyncio.run(_serve(server, options.host, list(wanted)))
    return 0


def _places(options: argparse.Namespace, wanted: dict[str, int | None]) -> "list[Place]":
    """Load the policy, and speak the protocols that are wanted for it."""
    from evo1_policy.checkpoint import read_checkpoint, stats_of
    from evo1_policy.interface import load_interface
    from evo1_policy.policy import Policy
    from evo1_policy.robot_config import load_robot
    from evo1_policy.serving.authors import authors_protocol, stats_by_key
    from evo1_policy.serving.evo1 import evo1_protocol, metadata_of
    from evo1_policy.serving.server import Place
    from evo1_policy.serving.vla_eval import vla_eval_protocol

    said = {
        "robot": load_robot(options.robot) if options.robot else None,
        "interface": load_interface(options.interface) if options.interface else None,
        **reading(options),
    }
    checkpoint = read_checkpoint(options.checkpoint, **said)
    policy = Policy.load(
        options.checkpoint,
        device=options.device,
        seed=options.seed,
        threads=options.threads,
        num_steps=options.steps,
        precision=options.precision,
        **{**said, "robot": said["robot"] or checkpoint.robot},
    )
    interface, robot = policy.interface, checkpoint.robot
    cameras = _cameras(options, interface.cameras)
    metadata = metadata_of(
        policy,
        interface,
        robot_text="" if robot is None else robot.text,
        trained_in=checkpoint.training.trained_in,
    )
    makers = {
        "authors": lambda: authors_protocol(
            policy,
            stats_by_key(
                lambda arm, dataset: stats_of(options.checkpoint, arm, dataset, **said),
                arm=interface.embodiment,
            ),
            views=checkpoint.config.views,
            width=checkpoint.config.action_width,
        ),
        "evo1": lambda: evo1_protocol(policy, cameras=cameras, metadata=metadata),
        "vla-eval": lambda: vla_eval_protocol(policy, cameras=cameras, metadata=metadata),
    }
    policy.warm_up()
    protocols = {name: makers[name]() for name in wanted}
    print(
        f"policy {policy.model_hash} on {policy.device}: {interface.name}, "
        f"{len(interface.state)} numbers and {', '.join(cameras)} in, "
        f"{len(interface.action)} numbers out"
    )
    return [
        Place(protocol=protocol, port=protocol.port if wanted[name] is None else wanted[name] or 0)
        for name, protocol in protocols.items()
    ]


def _cameras(options: argparse.Namespace, known: Sequence[str]) -> list[str]:
    """What clients call the pictures, in the order of the policy's own names."""
    cameras = options.cameras.split(",") if options.cameras else list(known)
    if len(cameras) != len(known):
        raise ValueError(
            f"--cameras: expected {len(known)} names, in the order of {', '.join(known)}; got "
            f"{len(cameras)}"
        )
    return cameras


async def _serve(server: "PolicyServer", host: str, names: Sequence[str]) -> None:
    """Run the server until a signal; a second one waits for nobody."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        print("serve: ends; Ctrl-C again waits for nobody", flush=True)
        stop.set()

    def told() -> None:
        for name, port in zip(names, server.ports, strict=True):
            print(f"{name}: ws://{host}:{port}")
        print("Ctrl-C ends it.", flush=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    await server.run(stop, ready=told)


def _place(text: str) -> tuple[str, int | None]:
    """The protocol and the port of 'NAME' or 'NAME:PORT'."""
    name, separator, port = text.partition(":")
    if name not in _PROTOCOLS:
        raise ValueError(f"--protocol: expected one of {', '.join(_PROTOCOLS)}, got '{name}'")
    if not separator:
        return name, None
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"--protocol {text}: expected a port from 0 (any free one) to 65535")
    return name, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evo1 serve",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="folder, or hub:user/name")
    add("--robot", type=Path, metavar="FILE", help="robot file, where the folder has none")
    add(
        "--interface",
        metavar="NAME",
        help="of a policy that moves no robot: metaworld, libero, or a YAML file",
    )
    add(
        "--protocol",
        action="append",
        metavar="NAME[:PORT]",
        help="may be given again; default: authors and evo1",
    )
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: this machine alone); any other wants a token",
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="holds the token that clients have to show; not given: the variable EVO1_TOKEN",
    )
    add(
        "--cameras",
        metavar="A,B",
        help="what clients call the pictures (evo1, vla-eval), in the order of the image slots; "
        "default: as the policy does",
    )
    add("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")
    add("--seed", type=int, default=0, help="of the noise (default: 0)")
    add("--steps", type=int, help="of the denoising; default: the checkpoint's")
    add(
        "--precision",
        default="auto",
        choices=get_args(Precision),
        help="of the matrices; auto (the default): bf16 where the device is faster in it",
    )
    add("--threads", type=int, help="of the CPU, for the model")
    add_reading_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
