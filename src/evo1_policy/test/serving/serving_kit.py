"""A server in a thread with a policy of a known answer, and clients as others write them."""

import asyncio
import contextlib
import json
import threading
import time

import numpy as np

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.serving.evo1 import VERSION
from evo1_policy.serving.server import Limits, Place, PolicyServer

H, D = 6, 7


class CountingPolicy:
    """Answers with the state and the mean of each picture, and keeps what it was asked."""

    horizon, execute_actions = H, 3
    model_hash, device, instructions = "0123456789ab", "cpu", ("pick it up",)

    def __init__(self, *, width=24, seconds=0.0):
        self.width, self.seconds, self.asked = width, seconds, []
        self.fault = None

    def predict(self, images, state, instruction, *, stats=None, image_mask, action_mask):
        self.asked.append((images, state, instruction, stats, image_mask, action_mask))
        self._work()
        means = [image.mean() for image in images]
        row = np.concatenate([state[:8], means])
        return np.tile(np.pad(row, (0, self.width - len(row))), (H, 1))

    def infer(self, observation, guidance=None):
        self.asked.append((observation, guidance))
        self._work()
        steps = np.arange(H)[:, None] * 0.01
        return ActionChunk(
            actions=observation.state + steps,
            start_ns=0,
            step_ns=1,
            observation_stamp_ns=0,
            instruction=observation.instruction,
        )

    def _work(self):
        time.sleep(self.seconds)
        if self.fault is not None:
            raise self.fault


def metadata(robot_text="", **changes):
    interface = {"name": "arm", "cameras": ["image_1", "image_2"], "rate_hz": 30.0}
    told = {"server": "evo1", "protocol": VERSION, "model_hash": "0123456789ab", "horizon": H}
    return {**told, "execute_actions": 3, "interface": interface, "robot": robot_text, **changes}


@contextlib.contextmanager
def served(*protocols, token="", host="127.0.0.1", port=0, **limits):
    """The server, in a thread; its `ports` are those of the protocols."""
    places = [Place(protocol=protocol, port=port) for protocol in protocols]
    server = PolicyServer(places, host=host, token=token, limits=Limits(**limits))
    ready, ended = threading.Event(), []

    async def run():
        server.loop, server.stop = asyncio.get_running_loop(), asyncio.Event()
        await server.run(server.stop, ready=ready.set)

    def main():
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  the test tells it
            ended.append(error)
            ready.set()

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    ready.wait(10.0)
    if ended:
        raise ended[0]
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(server.stop.set)
        thread.join(10.0)
        assert not thread.is_alive()


def picture(seed, height=12, width=16):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def authors_request(**changes):
    """What the authors' Meta-World client sends, with small pictures."""
    black = np.zeros((12, 16, 3), np.uint8)
    payload = {
        "image": [picture(0).tolist(), black.tolist(), black.tolist()],
        "state": [0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0, -0.5],
        "prompt": "press the button from the top",
        "image_mask": [1, 0, 0],
        "action_mask": [1, 1, 1, 1] + [0] * 20,
    }
    payload.update(changes)
    return json.dumps({key: value for key, value in payload.items() if value is not ...})
