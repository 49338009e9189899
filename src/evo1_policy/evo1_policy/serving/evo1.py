"""Our own protocol, which openpi's clients speak too: msgpack in binary frames.

The server begins with its metadata. A request is a mapping:

    images    {camera: (H, W, 3) uint8 RGB, or a JPEG or PNG}; openpi's 'observation/CAMERA' too
    state     (S,), of a robot [rad]; openpi's 'observation/state' too
    prompt    what to do, in words
    id        comes back with the answer
    guidance  {actions (K, A), weights (K,)}: what the chunk shall begin with (real-time chunking)
    until_ns  nobody waits for the answer any longer, on the server's clock, which a ping tells

and the answer has `actions` (H, A), as the policy gives them to the node. {ping: n} is answered at
once, with the server's clock. An error is a text frame. Must not import ROS or torch.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from evo1_policy.action_chunk import Guidance
from evo1_policy.command_line import printable
from evo1_policy.observation import Observation
from evo1_policy.serving.arrays import decode_picture, pack, unpack
from evo1_policy.serving.sessions import (
    Frame,
    Image,
    Job,
    Protocol,
    Refusal,
    RequestError,
    ServedPolicy,
    Session,
    checked_numbers,
    checked_prompt,
)
from evo1_policy.untrusted import MOST_PIXELS

PORT, VERSION = 8000, 1
MOST_BYTES = 32_000_000
_MOST_NUMBERS = 256  # of a state
_MOST_ACTIONS = 1000  # of a guidance
_PREFIX = "observation/"


def evo1_protocol(
    policy: ServedPolicy, *, cameras: Sequence[str], metadata: Mapping[str, Any]
) -> Protocol:
    """Our protocol for a policy.

    Args:
        policy: answers.
        cameras: under which names clients send the pictures, in the order of the image slots; the
            policy knows them by its own.
        metadata: what the server says of itself (see metadata_of).
    """
    named = dict(zip(metadata["interface"]["cameras"], cameras, strict=True))
    return Protocol(
        name="evo1",
        port=PORT,
        most_bytes=MOST_BYTES,
        pings=True,
        greeting=pack(dict(metadata)),
        session=partial(_Evo1Session, policy, named),
    )


def metadata_of(
    policy: Any, interface: Any, *, robot_text: str, trained_in: str
) -> dict[str, Any]:
    """What a server says of itself.

    Args:
        policy: an evo1_policy.policy.Policy.
        interface: its evo1_policy.interface.Interface.
        robot_text: its robot file; '' where it moves none.
        trained_in: 'simulation', 'reality' or 'unknown' (TrainingFacts).
    """
    names = ("name", "state", "action", "cameras", "rate_hz", "action_space")
    told = {name: getattr(interface, name) for name in names}
    return {
        "server": "evo1",
        "protocol": VERSION,
        "model_hash": policy.model_hash,
        "interface": {k: list(v) if isinstance(v, tuple) else v for k, v in told.items()},
        "horizon": policy.horizon,
        "execute_actions": policy.execute_actions,
        "instructions": list(policy.instructions),
        "device": policy.device,
        "robot": robot_text,
        "trained_in": trained_in,
    }


class _Evo1Session(Session):
    def __init__(self, policy: ServedPolicy, cameras: Mapping[str, str]) -> None:
        self._policy, self._cameras = policy, cameras  # the policy's name -> the client's

    def read(self, message: Frame) -> Job | Frame:
        received_ns = time.monotonic_ns()
        if isinstance(message, str):
            raise RequestError("message", "a text frame; expected msgpack in a binary frame")
        data = unpack(message)
        if "ping" in data:
            return pack({"pong": _whole(data, "ping"), **_times(received_ns)})
        observation = Observation(
            images=_images(data, self._cameras),
            state=checked_numbers(_either(data, "state"), "state", most=_MOST_NUMBERS),
            instruction=checked_prompt(data.get("prompt"), "prompt"),
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )
        guidance = _guidance(data["guidance"]) if data.get("guidance") is not None else None
        until_ns, within_s = _whole(data, "until_ns"), None
        if until_ns:
            within_s = (until_ns - time.monotonic_ns()) / 1e9
            if within_s <= 0:
                raise RequestError("until_ns", f"it came {-within_s:.3f} s too late")
        run = partial(self._infer, observation, guidance, _whole(data, "id"), received_ns)
        return Job(run=run, within_s=within_s)

    def refusal(self, problem: str) -> Refusal:
        return Refusal(frame=problem)

    def _infer(
        self,
        observation: Observation,
        guidance: Guidance | None,
        request_id: int,
        received_ns: int,
    ) -> bytes:
        started_ns = time.monotonic_ns()
        chunk = self._policy.infer(observation, guidance)
        infer_ms = (time.monotonic_ns() - started_ns) / 1e6
        error = chunk.tool_error
        return pack(
            {
                "actions": chunk.actions,
                "id": request_id,
                "tool_error": error and [error.position_m, error.rotation_rad],
                "server_timing": {"infer_ms": infer_ms, **_times(received_ns)},
            }
        )


def picture_of(value: object, key: str) -> Image:
    """(H, W, 3) uint8 RGB of an array, or of a JPEG or PNG.

    Raises:
        RequestError: it is neither.
    """
    if isinstance(value, bytes):
        value = decode_picture(value, key)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        what = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise RequestError(key, f"expected a picture (H, W, 3) uint8, a JPEG or PNG, got {what}")
    if value.ndim == 3 and value.shape[0] == 3 and value.shape[2] != 3:
        value = np.moveaxis(value, 0, 2)  # as openpi's ALOHA client sends it
    if value.ndim != 3 or value.shape[2] != 3 or not 0 < value.size <= 3 * MOST_PIXELS:
        raise RequestError(key, f"expected a picture (H, W, 3), got {value.shape}")
    return value


def _images(data: Mapping[str, Any], cameras: Mapping[str, str]) -> dict[str, Image]:
    sent = data.get("images", {})
    if not isinstance(sent, Mapping):
        raise RequestError("images", f"expected a mapping by camera, got {type(sent).__name__}")
    images = {}
    for ours, theirs in cameras.items():
        value = sent.get(theirs, data.get(_PREFIX + theirs))
        if value is None:
            there = [*sent, *(key for key in data if key.startswith(_PREFIX))]
            raise RequestError(
                f"images.{theirs}",
                f"missing; got {printable(', '.join(map(str, there)), 120) or 'none'}",
            )
        images[ours] = picture_of(value, f"images.{theirs}")
    return images


def _either(data: Mapping[str, Any], key: str) -> Any:
    """What stands under our key or openpi's."""
    for name in (key, _PREFIX + key):
        if name in data:
            return data[name]
    raise RequestError(key, "missing")


def _guidance(value: object) -> Guidance:
    data = value if isinstance(value, Mapping) else {}
    actions, weights = data.get("actions"), data.get("weights")
    for name, array, dimensions in (("actions", actions, 2), ("weights", weights, 1)):
        key = f"guidance.{name}"
        if not isinstance(array, np.ndarray) or array.ndim != dimensions:
            raise RequestError(key, f"expected an array of {dimensions} dimensions")
        if not 0 < len(array) <= _MOST_ACTIONS or not np.isfinite(array).all():
            raise RequestError(key, f"expected 1 to {_MOST_ACTIONS} rows of finite numbers")
    assert isinstance(actions, np.ndarray)
    assert isinstance(weights, np.ndarray)
    if len(actions) != len(weights) or weights.min() < 0 or weights.max() > 1:
        raise RequestError("guidance.weights", "expected one from 0 to 1 for each action")
    return Guidance(actions=actions.astype(np.float64), weights=weights.astype(np.float64))


def _whole(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key, 0)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise RequestError(key, f"expected a whole number, got {value!r:.40}")
    return value


def _times(received_ns: int) -> dict[str, int]:
    return {"received_ns": received_ns, "sent_ns": time.monotonic_ns()}
