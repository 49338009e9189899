"""What it costs that the policy is elsewhere: on loopback, beyond the inference.

A server in a process of its own with a policy that answers at once; two cameras of 640x480 by our
protocol, raw and as JPEG, and in the same run the authors' JSON with what their LIBERO client
sends. Then what reading such a JSON costs, in time of the CPU, and how many requests a second four
clients get through.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from figures import ROBOTS, bench_parser, merge_figures
from websockets.sync.client import ClientConnection, connect

from evo1_policy.action_chunk import ActionChunk, Floats, Guidance
from evo1_policy.observation import Observation
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_policy.serving.authors import authors_protocol
from evo1_policy.serving.evo1 import VERSION, evo1_protocol
from evo1_policy.serving.json_images import read_request
from evo1_policy.serving.remote import RemotePolicy
from evo1_policy.serving.server import Place, PolicyServer

HORIZON, WIDTH, CLIENTS = 50, 24, 4
SERVER = "--server"


class InstantPolicy:
    """Answers at once: what is measured is the way there and back."""

    horizon, execute_actions = HORIZON, None

    def __init__(self, robot: RobotConfig) -> None:
        self._chunk = np.tile(np.array(robot.home), (HORIZON, 1))

    def predict(self, images: Sequence[Any], state: Floats, instruction: str, **_: Any) -> Floats:
        """Rows of zeros."""
        return np.zeros((HORIZON, WIDTH))

    def infer(self, observation: Observation, guidance: Guidance | None = None) -> ActionChunk:
        """Home."""
        return ActionChunk(
            actions=self._chunk,
            start_ns=0,
            step_ns=1,
            observation_stamp_ns=0,
            instruction=observation.instruction,
        )


def main() -> int:
    """Measure, print the table, write the figures."""
    parser = bench_parser(__doc__, quick="10 requests each")
    parser.add_argument(SERVER, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    robot = load_robot(ROBOTS / "xarm6.yaml")
    if arguments.server:
        asyncio.run(_serve(robot))
        return 0
    count = 10 if arguments.quick else 200
    command = [sys.executable, __file__, SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ours, authors = map(int, server.stdout.readline().split())
        figures = _measure(robot, ours, authors, count)
        server.terminate()
    merge_figures(arguments.json, figures)
    return 0


async def _serve(robot: RobotConfig) -> None:
    policy = InstantPolicy(robot)
    cameras = [camera.name for camera in robot.cameras]
    metadata = {
        **{"server": "evo1", "protocol": VERSION, "model_hash": "bench", "device": "nowhere"},
        **{"horizon": HORIZON, "execute_actions": None, "instructions": []},
        **{"interface": {"cameras": cameras}, "robot": robot.text},
    }
    protocols = (
        evo1_protocol(policy, cameras=cameras, metadata=metadata),
        authors_protocol(policy, lambda arm, dataset: None),
    )
    server = PolicyServer([Place(protocol=protocol, port=0) for protocol in protocols])
    await server.run(asyncio.Event(), ready=lambda: print(*server.ports, flush=True))


def _measure(robot: RobotConfig, ours: int, authors: int, count: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    print(f"{'what':<24}{'p50':>10}{'p95':>10}")

    def tell(what: str, times_ms: Sequence[float]) -> tuple[float, float]:
        p50, p95 = (float(value) for value in np.percentile(times_ms, [50, 95]))
        print(f"{what:<24}{p50:>7.2f} ms{p95:>7.2f} ms", flush=True)
        return p50, p95

    seen = _observation(robot)
    for name, jpeg in (("raw", False), ("jpeg", True)):
        policy = RemotePolicy(f"127.0.0.1:{ours}", robot=robot, jpeg=jpeg)
        p50, p95 = tell(f"ours, {name}", _times(lambda: policy.infer(seen), count))  # noqa: B023
        policy.close()
        kind = "" if name == "raw" else "_jpeg"
        figures[f"remote.added{kind}_ms_p50"], figures[f"remote.added{kind}_ms_p95"] = p50, p95
    text = _authors_request()
    with connect(f"ws://127.0.0.1:{authors}", max_size=None, compression=None) as client:
        p50, p95 = tell(
            "the authors' JSON", _times(lambda: _ask(client, text), max(count // 5, 5))
        )
    figures["serve.json_ms_p50"], figures["serve.json_ms_p95"] = p50, p95
    cpu = time.process_time  # what else runs on the machine does not count
    size = f"{len(text) / 1e6:.1f} MB"
    p50, _ = tell(f"reading its {size}", _times(lambda: read_request(text), 20, cpu))
    figures["serve.parse_ms_p50"] = p50
    tell("the same with json", _times(lambda: json.loads(text), 5, cpu))
    rate = _rate(robot, ours, seen, count)
    figures["serve.requests_per_s"] = rate
    print(f"{CLIENTS} clients, raw: {rate:.0f} requests a second")
    return figures


def _times(
    run: Callable[[], object], count: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """How long each of `count` runs takes, after two that are not counted [ms]."""
    times_ms = []
    for _ in range(count + 2):
        begun = clock()
        run()
        times_ms.append((clock() - begun) * 1e3)
    return times_ms[2:]


def _rate(robot: RobotConfig, port: int, seen: Observation, count: int) -> float:
    policies = [RemotePolicy(f"127.0.0.1:{port}", robot=robot) for _ in range(CLIENTS)]

    def ask(policy: RemotePolicy) -> None:
        for _ in range(count):
            policy.infer(seen)

    threads = [threading.Thread(target=ask, args=(policy,)) for policy in policies]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken_s = time.perf_counter() - begun
    for policy in policies:
        policy.close()
    return CLIENTS * count / taken_s


def _ask(client: ClientConnection, text: str) -> None:
    client.send(text)
    json.loads(client.recv())


def _observation(robot: RobotConfig) -> Observation:
    return Observation(
        images={camera.name: _picture(480, 640) for camera in robot.cameras},
        state=np.array(robot.home),
        instruction="put the can into the box",
        stamp_ns=0,
        received_ns=0,
        skew_ns=0,
    )


def _authors_request() -> str:
    picture = _picture(448, 448)
    request = {
        "image": [picture.tolist(), picture.tolist(), np.zeros_like(picture).tolist()],
        "state": [0.1] * 8,
        "prompt": "put the can into the box",
        "image_mask": [1, 1, 0],
        "action_mask": [1] * 7 + [0] * 17,
    }
    return json.dumps(request)


def _picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A smooth scene with some noise, as a camera gives it."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    return np.clip(ramp + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
