"""The protocol of vla-evaluation-harness, whose benchmarks speak to any policy by one adapter.

msgpack {type, payload, seq, timestamp}. The client says hello, episode_start, then observations,
each of which wants one action: a chunk is given out action by action, and the policy asked again
when `execute` of them are used. An error is a message of that type. Must not import ROS or torch.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.command_line import printable
from evo1_policy.observation import Observation
from evo1_policy.serving.arrays import pack, unpack
from evo1_policy.serving.evo1 import picture_of
from evo1_policy.serving.sessions import (
    Frame,
    Job,
    Protocol,
    Refusal,
    RequestError,
    ServedPolicy,
    Session,
    checked_numbers,
    checked_prompt,
)

VERSION = 1  # protocol_version
MOST_BYTES = 32_000_000
_MOST_NUMBERS = 256
_SILENT = ("episode_start", "episode_end", "error")


def vla_eval_protocol(
    policy: ServedPolicy, *, cameras: Sequence[str], metadata: Mapping[str, Any]
) -> Protocol:
    """vla-eval's protocol for a policy.

    Args:
        policy: answers.
        cameras: what the benchmark calls the pictures ('agentview', 'wrist' in LIBERO), in the
            order of the image slots.
        metadata: see evo1.evo1_protocol.
    """
    named = dict(zip(metadata["interface"]["cameras"], cameras, strict=True))
    execute = policy.execute_actions or max(1, policy.horizon // 2)
    return Protocol(
        name="vla-eval",
        port=8001,
        most_bytes=MOST_BYTES,
        pings=False,
        session=partial(_VlaEvalSession, policy, named, execute, str(metadata["model_hash"])),
    )


class _VlaEvalSession(Session):
    def __init__(
        self, policy: ServedPolicy, cameras: Mapping[str, str], execute: int, version: str
    ) -> None:
        self._policy, self._cameras, self._execute = policy, cameras, execute
        self._version = version
        self._actions: deque[npt.NDArray[np.float32]] = deque()  # of the chunk, not given out yet
        self._seq = 0

    def read(self, message: Frame) -> Job | Frame | None:
        if isinstance(message, str):
            raise RequestError("message", "a text frame; expected msgpack in a binary frame")
        data = unpack(message)
        for key in ("type", "payload", "seq", "timestamp"):
            if key not in data:
                raise RequestError(key, "missing")
        payload, seq = data["payload"], data["seq"]
        if not isinstance(payload, Mapping) or type(seq) is not int:
            raise RequestError("payload", "expected a mapping, and seq a whole number")
        self._seq = seq
        if data["type"] == "hello":
            return self._message("hello", self._hello())
        if data["type"] in _SILENT:
            self._actions.clear()
            return None
        if data["type"] != "observation":
            known = ", ".join(("hello", "observation", *_SILENT))
            raise RequestError("type", f"expected one of {known}, got {data['type']!r:.40}")
        if self._actions:
            return self._next_action()
        return Job(run=partial(self._infer, self._observation(payload)))

    def refusal(self, problem: str) -> Refusal:
        return Refusal(frame=self._message("error", {"error": f"observation_failed: {problem}"}))

    def _hello(self) -> dict[str, Any]:
        wants: dict[str, Any] = {"send_state": True}
        if len(self._cameras) > 1:
            wants["send_wrist_image"] = True
        return {
            "harness_version": f"evo1 {self._version}",
            "protocol_version": VERSION,
            "model_server": "evo1",
            "capabilities": {},
            "observation_params": wants,
        }

    def _observation(self, payload: Mapping[str, Any]) -> Observation:
        sent = payload.get("images")
        if not isinstance(sent, Mapping):
            raise RequestError("images", "expected a mapping by camera")
        images = {}
        for ours, theirs in self._cameras.items():
            if theirs not in sent:
                there = printable(", ".join(map(str, sent)), 120)
                raise RequestError(
                    f"images.{theirs}", f"missing; got {there} (evo1 serve --cameras names them)"
                )
            images[ours] = picture_of(sent[theirs], f"images.{theirs}")
        state = payload.get("states", payload.get("state"))
        if state is None:
            raise RequestError("states", "missing; the benchmark must send it (send_state)")
        prompt = payload.get("task_description")
        return Observation(
            images=images,
            state=checked_numbers(state, "states", most=_MOST_NUMBERS),
            instruction=checked_prompt(prompt, "task_description"),
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )

    def _infer(self, observation: Observation) -> bytes:
        actions = self._policy.infer(observation).actions[: self._execute]
        self._actions.extend(actions.astype(np.float32))
        return self._next_action()

    def _next_action(self) -> bytes:
        return self._message("action", {"actions": self._actions.popleft()})

    def _message(self, kind: str, payload: Mapping[str, Any]) -> bytes:
        message = {"type": kind, "payload": dict(payload), "seq": self._seq}
        return pack({**message, "timestamp": time.time()}, byte_keys=False)
