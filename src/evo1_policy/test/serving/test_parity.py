"""The numbers on the wire are those that the authors' server computes from the same weights.

Their server's steps are written out here, in torch and cv2, on Engine and the prompt's tokens.
"""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from serving_kit import served
from torch.nn import functional as F
from websockets.sync.client import connect

from evo1_policy.checkpoint import (
    load_model,
    read_checkpoint,
    save_checkpoint,
    shipped_checkpoint,
    stats_of,
)
from evo1_policy.interface import parse_interface
from evo1_policy.model.config import Evo1Config, Semantics
from evo1_policy.model.engine import Engine
from evo1_policy.model.evo1 import new_model
from evo1_policy.model.preprocessing import (
    ModelInputs,
    PromptEncoder,
    load_tokenizer,
    prepare_views,
)
from evo1_policy.normalization import FeatureStats, NormStats
from evo1_policy.policy import Policy
from evo1_policy.serving.authors import authors_protocol, stats_by_key

torch.set_num_threads(1)


def micro_config():
    from tiny import MICRO

    sizes = {"action_width": 24, "state_width": 24}
    semantics = Semantics(context_length=100, state_pad=-1.0, episode_tail="counted")
    config = Evo1Config.from_dict(MICRO.to_dict() | sizes)
    return dataclasses.replace(config, semantics=semantics)


@dataclasses.dataclass(frozen=True)
class Client:
    """What one of their clients sends, with smaller pictures; `padded`: the state, to 24."""

    state: int
    action: int
    edge: int
    image_mask: tuple[int, int, int]
    padded: bool = False
    nested: bool = False
    line: str = "authors_main"
    keys: tuple[str, str] | None = None


CLIENTS = {
    "metaworld": Client(8, 4, 96, (1, 0, 0)),
    "libero": Client(8, 7, 96, (1, 1, 0)),
    "libero_flash": Client(8, 7, 96, (1, 1, 0), line="evo1_flash"),
    "robotwin": Client(14, 14, 60, (1, 1, 1), line="evo1_flash", keys=("arm", "task_2")),
    "xarm6": Client(7, 7, 96, (1, 1, 0), padded=True, nested=True),
    "xarm6_flash": Client(7, 7, 96, (1, 1, 0), padded=True, nested=True, line="evo1_flash"),
    "aloha": Client(14, 14, 48, (1, 1, 1), padded=True, nested=True),
}


def bounds(width, seed):
    rng = np.random.default_rng(seed)
    low, high = rng.uniform(-1.5, -0.2, width), rng.uniform(0.2, 1.5, width)
    return {"min": low.tolist(), "max": high.tolist()}


def interface_of(client):
    names = {
        "state": [f"s{k}" for k in range(client.state)],
        "action": [f"a{k}" for k in range(client.action)],
        "cameras": [f"image_{k + 1}" for k in range(sum(client.image_mask))],
    }
    told = {"name": "bench", "embodiment": "arm", "rate_hz": 30, "action_space": "raw", **names}
    return parse_interface(json.dumps(told), source="bench.yaml")


def folder_of(path, client):
    """A folder as their training leaves it: one arm, in evo1-flash with datasets below it."""
    interface = interface_of(client)
    features = {
        name: FeatureStats(**{k: np.array(v) for k, v in bounds(width, 0).items()})
        for name, width in (("state", client.state), ("action", client.action))
    }
    save_checkpoint(
        path,
        model=new_model(micro_config(), seed=0),
        stats=NormStats(embodiment="arm", action_space="raw", **features),
        interface=interface,
        tokenizer_dir=shipped_checkpoint("xarm6") / "tokenizer",
        layout="official",
    )
    (path / "interface.yaml").unlink()
    widths = {"observation.state": client.state, "action": client.action}
    table = {f"task_{k}": {n: bounds(w, k) for n, w in widths.items()} for k in range(4)}
    flash = client.line == "evo1_flash"
    norm = {"arm": table if flash else table["task_0"]}
    (path / "norm_stats.json").write_text(json.dumps(norm))
    key = {"embodiment": "arm/task_0"} if flash else {}
    return {"interface": interface, "semantics": client.line, **key}


def request_of(client):
    rng = np.random.default_rng(5)
    shape = (3, client.edge, client.edge, 3)
    state = rng.uniform(-1.0, 1.0, client.state).tolist()
    mask = [1] * client.action + [0] * (24 - client.action)
    request = {
        "image": rng.integers(0, 256, shape, np.uint8).tolist(),
        "state": state + [0.0] * (24 - client.state) * client.padded,
        "prompt": "put the can into the box",
        "image_mask": list(client.image_mask),
        "action_mask": [mask] if client.nested else mask,
    }
    if client.keys:
        request |= {"arm_key": client.keys[0], "dataset_key": client.keys[1]}
    return request


def authors_answer(folder, said, client, request, noise):
    """What Evo1_server.py computes, without its clothes."""
    checkpoint = read_checkpoint(folder, **said)
    config = checkpoint.config
    images = [
        cv2.cvtColor(cv2.resize(np.array(image, np.uint8), (448, 448)), cv2.COLOR_BGR2RGB)
        for image in request["image"]
    ]
    seen = [image for image, is_there in zip(images, client.image_mask, strict=True) if is_there]
    views = prepare_views(
        seen,
        views=config.views,
        size=config.vision.image_size,
        dtype=config.semantics.image_dtype,  # of the model, not of the wire
    )
    encoder = PromptEncoder(load_tokenizer(checkpoint.tokenizer_dir), config)
    prompt = encoder.encode([request["prompt"]], [len(seen)])
    norm = json.loads((folder / "norm_stats.json").read_text())["arm"]
    norm = (
        norm
        if client.line == "authors_main"
        else norm[client.keys[1] if client.keys else "task_0"]
    )
    low, high = (
        {k: F.pad(torch.tensor(v[end]), (0, 24 - len(v[end]))) for k, v in norm.items()}
        for end in ("min", "max")
    )
    state = torch.tensor(request["state"])
    if client.line == "authors_main":
        state = F.pad(state, (0, 24 - len(state)))
    state_low, state_high = (x["observation.state"][: len(state)] for x in (low, high))
    state = torch.clamp(2 * (state - state_low) / (state_high - state_low + 1e-8) - 1, -1, 1)
    state = F.pad(state, (0, 24 - len(state)))
    mask = torch.arange(24) < client.action
    inputs = ModelInputs(
        images=views[None],
        input_ids=prompt.input_ids,
        image_slots=prompt.image_slots,
        token_mask=prompt.token_mask,
        state=state[None],
        action_mask=mask[None],
    )
    actions = Engine(load_model(checkpoint)).sample_actions(inputs, noise)[0]
    return (actions + 1.0) / 2.0 * (high["action"] - low["action"] + 1e-8) + low["action"]


@pytest.mark.parametrize("name", CLIENTS)
def test_each_clients_request_gets_the_numbers_of_the_authors_server(tmp_path, name):
    client, folder = CLIENTS[name], tmp_path / "checkpoint"
    said = folder_of(folder, client)
    policy = Policy.load(folder, device="cpu", **said)
    table = stats_by_key(lambda arm, key: stats_of(folder, arm, key, **said), arm="arm")
    request = request_of(client)
    with served(authors_protocol(policy, table)) as server:
        their = connect(f"ws://127.0.0.1:{server.ports[0]}", legacy=True)
        their.send(json.dumps(request))
        rows = json.loads(their.recv(timeout=60))
        their.close()
    expected = authors_answer(folder, said, client, request, policy._noise)
    assert np.shape(rows) == (policy.horizon, 24)
    np.testing.assert_allclose(rows, expected.numpy(), atol=2e-5)
    assert np.abs(np.array(rows)[:, : client.action]).max() > 0.01
