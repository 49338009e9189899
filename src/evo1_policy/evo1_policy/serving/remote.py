"""A policy on another machine, with the methods of one on this. Must not import ROS or torch.

Speaks evo1.py's protocol. A lost connection is made again within the time that the chunk may
still take; what cannot be mended is a RemoteError, whose code says what happened: the arm holds.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import simplejpeg
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection

from evo1_policy.action_chunk import ActionChunk, Guidance, ToolError
from evo1_policy.command_line import printable
from evo1_policy.control.signals import StopCode
from evo1_policy.observation import Observation
from evo1_policy.robot_config import RobotConfig, RobotConfigError, differences, parse_robot
from evo1_policy.serving.arrays import pack
from evo1_policy.serving.calling import (
    CONNECT_S,
    Exchange,
    RemoteError,
    ServerClock,
    dial,
    nobody,
    receive,
    server_url,
)
from evo1_policy.serving.evo1 import VERSION

_LOG = logging.getLogger(__name__)
ANSWER_S = 8.0  # less than after which the loop gives an inference up
_PAUSE_S = 0.1  # between two
_ATTEMPTS = 3  # a connection that is lost while it is asked
_WARM_UP_S = 60.0  # a policy that never inferred loads kernels first
_PINGS = 8
_QUALITY = 95  # of a JPEG


class RemotePolicy:
    """The policy that an `evo1 serve` elsewhere serves, for one robot.

    Args:
        address: 'host:port', or a URL that begins with ws:// or wss://.
        robot: that it shall move; the server's has to be the same.
        jpeg: whether pictures go as JPEG: less to send, and not quite what the camera saw.
        token: that the server asks for.
        answer_s: how long a chunk may take [s].

    Raises:
        RemoteError: nobody is there, or what is there does not fit this robot.
    """

    def __init__(
        self,
        address: str,
        *,
        robot: RobotConfig,
        jpeg: bool = False,
        token: str = "",
        answer_s: float = ANSWER_S,
    ) -> None:
        self._url, self._token = server_url(address), token
        self._robot, self._jpeg, self._answer_s = robot, jpeg, answer_s
        self._connection: ClientConnection | None = None
        self._request_id = 0
        self._lock = threading.Lock()  # close comes from another thread
        self._closed = False
        self.clock = ServerClock()
        self.model_hash = ""
        self._connect(time.monotonic() + CONNECT_S)
        trip = self.clock.best
        if trip is not None:
            _LOG.info(
                "%s: round trip %.1f ms, its clock is %.1f ms ahead",
                self._url,
                trip.round_trip_ns / 1e6,
                trip.offset_ns / 1e6,
            )

    @property
    def device(self) -> str:
        """Where it runs."""
        return f"{self._url} ({self._device})"

    def infer(self, observation: Observation, guidance: Guidance | None = None) -> ActionChunk:
        """Ask the server for the actions that follow an observation.

        Returns:
            As evo1_policy.policy.Policy.infer does, anchored to this machine's clock.

        Raises:
            RemoteError: no chunk came; the code says why.
        """
        return self._infer(observation, guidance, self._answer_s)

    def warm_up(self, instruction: str = "", *, guided: bool = False) -> None:
        """Have the server infer from black pictures; with `guided`, with guidance too."""
        black, home = np.zeros((480, 640, 3), np.uint8), np.array(self._robot.home)
        empty = Observation(
            images={camera.name: black for camera in self._robot.cameras},
            state=home,
            instruction=instruction or "wait",
            stamp_ns=0,
            received_ns=0,
            skew_ns=0,
        )
        rest = Guidance(actions=home[None], weights=np.ones(1))
        for guidance in (None, rest)[: 1 + guided]:
            self._infer(empty, guidance, _WARM_UP_S)

    def close(self) -> None:
        """Hang up; an inference that runs ends with an error."""
        self._closed = True
        self._drop()

    def _infer(
        self, observation: Observation, guidance: Guidance | None, answer_s: float
    ) -> ActionChunk:
        self._request_id += 1
        end_s = time.monotonic() + answer_s
        request = self._request(observation, guidance, end_s)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._chunk(self._exchange(request, end_s), observation)
            except TimeoutError as error:
                self._drop()  # else its late word would be taken for the next answer
                raise RemoteError(
                    StopCode.REMOTE_LATE,
                    f"{self._url}: no answer within {answer_s:g} s; is the network, or the device "
                    "there, fast enough?",
                ) from error
            except (OSError, WebSocketException) as error:
                self._drop()
                if attempt == _ATTEMPTS:
                    raise RemoteError(
                        StopCode.REMOTE_GONE, f"{self._url}: hangs up again and again: {error}"
                    ) from error
        raise AssertionError  # the last attempt returns or raises

    def _request(self, observation: Observation, guidance: Guidance | None, end_s: float) -> bytes:
        trip = self.clock.best
        request: dict[str, Any] = {
            "images": {
                camera.name: self._picture(observation.images[camera.name])
                for camera in self._robot.cameras
            },
            "state": observation.state,
            "prompt": observation.instruction,
            "id": self._request_id,
            "until_ns": round(end_s * 1e9) + (0 if trip is None else trip.offset_ns),
        }
        if guidance is not None:
            request["guidance"] = {"actions": guidance.actions, "weights": guidance.weights}
        return pack(request)

    def _picture(self, image: np.ndarray[Any, Any]) -> Any:
        if not self._jpeg:
            return image
        whole = np.ascontiguousarray(image)
        return simplejpeg.encode_jpeg(whole, quality=_QUALITY, colorspace="RGB")

    def _exchange(self, request: bytes, end_s: float) -> Mapping[str, Any]:
        """Send a request and wait for the answer with its id; late ones of others are dropped."""
        if self._connection is None:
            self._connect(end_s)
        connection = self._connection
        assert connection is not None
        sent_ns = time.monotonic_ns()
        connection.send(request)
        while True:
            answer = receive(connection, end_s, self._url)
            if answer.get("id") == self._request_id:
                self._learn_clock(sent_ns, answer.get("server_timing"))
                return answer

    def _chunk(self, answer: Mapping[str, Any], observation: Observation) -> ActionChunk:
        actions, error = answer.get("actions"), answer.get("tool_error")
        expected = (self.horizon, self._robot.width)
        if not isinstance(actions, np.ndarray) or actions.shape != expected:
            shape = getattr(actions, "shape", type(actions).__name__)
            raise RemoteError(
                StopCode.REMOTE_REFUSED,
                f"{self._url}: expected actions {expected}, got {shape}",
            )
        step_ns = self._robot.step_ns
        return ActionChunk(
            actions=np.array(actions, np.float64),
            start_ns=observation.stamp_ns + step_ns,
            step_ns=step_ns,
            observation_stamp_ns=observation.stamp_ns,
            instruction=observation.instruction,
            tool_error=_tool_error(error),
        )

    def _connect(self, end_s: float) -> None:
        """Connect, again and again until the time is over, and see who is there.

        Raises:
            RemoteError: nobody answers, or it is another server than before.
        """
        while not self._closed:
            try:
                self._greet(dial(self._url, self._token, end_s - time.monotonic()), end_s)
                return
            except (OSError, WebSocketException) as error:
                if end_s - time.monotonic() < _PAUSE_S:
                    raise nobody(self._url, error) from error
                time.sleep(_PAUSE_S)
        raise RemoteError(StopCode.REMOTE_GONE, f"{self._url}: hung up")

    def _greet(self, connection: ClientConnection, end_s: float) -> None:
        """Hear what the server says of itself, and measure its clock."""
        try:
            self._check(receive(connection, min(end_s, time.monotonic() + CONNECT_S), self._url))
            for _ in range(_PINGS):
                sent_ns = time.monotonic_ns()
                connection.send(pack({"ping": sent_ns}))
                self._learn_clock(sent_ns, receive(connection, end_s, self._url))
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._connection = connection

    def _check(self, metadata: Mapping[str, Any]) -> None:
        """Refuse a server that is none of ours, or for another robot, or of another model."""

        def refuse(problem: str) -> RemoteError:
            return RemoteError(StopCode.REMOTE_REFUSED, f"{self._url}: {problem}")

        if metadata.get("server") != "evo1" or metadata.get("protocol") != VERSION:
            raise refuse("is no evo1 server of this version (evo1 serve --protocol evo1)")
        text, told = metadata.get("robot"), metadata.get("model_hash")
        if not isinstance(text, str) or not text or not isinstance(told, str):
            raise refuse(
                "its policy is for no robot: evaluate it with --suite, or its own clients"
            )
        try:
            theirs = parse_robot(text, source="the server's robot file")
        except RobotConfigError as error:
            raise refuse(str(error)) from error
        found = differences(self._robot, theirs)
        if found:
            details = "; ".join(
                f"{key}: this robot has '{mine}', the server's policy '{other}'"
                for key, mine, other in found
            )
            raise refuse(f"serves another robot: {details}")
        if self.model_hash not in ("", told):
            raise refuse(f"serves another model now: {told}, before {self.model_hash}")
        horizon, execute = metadata.get("horizon"), metadata.get("execute_actions")
        if type(horizon) is not int or not 0 < horizon <= 1000:
            raise refuse(f"tells a horizon of {horizon!r:.40}")
        words = metadata.get("instructions")
        self.model_hash, self.horizon = told, horizon
        self.execute_actions = execute if type(execute) is int and execute > 0 else None
        self.instructions = tuple(map(str, words)) if isinstance(words, list) else ()
        self._device = printable(metadata.get("device", "?"), 40)

    def _learn_clock(self, sent_ns: int, times: object) -> None:
        received_ns = time.monotonic_ns()
        if not isinstance(times, Mapping):
            return
        there, back = times.get("received_ns"), times.get("sent_ns")
        if type(there) is int and type(back) is int:
            self.clock.add(
                Exchange(sent_ns=sent_ns, there_ns=there, back_ns=back, received_ns=received_ns)
            )

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is gone whatever happens
                connection.close()


def _tool_error(value: object) -> ToolError | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    return ToolError(position_m=float(value[0]), rotation_rad=float(value[1]))
