"""Who chooses the actions in a suite: a policy in this process, or one behind a server.

Must not import ROS; torch comes with a policy in this process.
"""

import json
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from evo1_policy.command_line import printable
from evo1_training.suites.simulation import SuiteError
from evo1_training.suites.suite import Suite

Array = npt.NDArray[Any]
Seen = Mapping[str, Any]  # what a simulator's reset and step tell

PORT = 9000  # of the authors' server
PICTURES, NUMBERS = 3, 24  # of their protocol
SIDE = 448  # pixels of the pictures that fill up
ANSWER_S = 600.0
_MOST_BYTES = 100_000_000


class Player(ABC):
    """Gives a chunk for what is seen."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._took_s: list[float] = []

    def chunk(self, seen: Seen, words: str) -> Array:
        """(H, A) actions, as numbers of the suite.

        Raises:
            SuiteError: there are too few, or of too few numbers, or the server is gone.
        """
        began = time.monotonic()
        actions = self._chunk(seen, words)
        self._took_s.append(time.monotonic() - began)
        suite = self._suite
        rows, width = actions.shape if actions.ndim == 2 else (0, 0)
        if rows < suite.execute or width < suite.width or not np.isfinite(actions).all():
            raise SuiteError(
                f"the policy answered {actions.shape} numbers; {suite.name} executes "
                f"{suite.execute} actions of {suite.width} finite numbers"
            )
        return actions[: suite.execute, : suite.width]

    def inference_ms(self) -> float | None:
        """Median since the last call [ms]; None without any."""
        took, self._took_s = self._took_s, []
        return round(statistics.median(took) * 1e3, 2) if took else None

    @abstractmethod
    def _chunk(self, seen: Seen, words: str) -> Array: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""


class LocalPlayer(Player):
    """A checkpoint in this process.

    Args:
        suite: that it plays.
        checkpoint: its folder.
        swapped: it has learned from pictures whose red and blue are swapped.
        reading: what else Policy.load is told.
    """

    def __init__(
        self, suite: Suite, checkpoint: Path, *, swapped: bool, reading: Mapping[str, Any]
    ) -> None:
        super().__init__(suite)
        from evo1_policy.policy import Policy  # late: torch takes seconds to import

        self._policy = Policy.load(checkpoint, **reading)
        self._swapped = swapped

    def close(self) -> None:
        """Nothing to let go of."""

    def _chunk(self, seen: Seen, words: str) -> Array:
        pictures = [p[..., ::-1] if self._swapped else p for p in seen["pictures"]]
        return self._policy.predict(
            [np.ascontiguousarray(picture) for picture in pictures], seen["state"], words
        )


class ServedPlayer(Player):
    """A server that speaks the authors' protocol, asked as their clients ask.

    Args:
        suite: that it plays.
        address: 'host' or 'host:port'.

    Raises:
        SuiteError: nobody answers there.
    """

    def __init__(self, suite: Suite, address: str) -> None:
        super().__init__(suite)
        self._address = address if ":" in address else f"{address}:{PORT}"
        self._held = ExitStack()
        try:
            self._socket = self._held.enter_context(
                connect(
                    f"ws://{self._address}",
                    max_size=_MOST_BYTES,
                    compression=None,
                    proxy=None,
                    ping_interval=None,  # an inference of theirs may take longer than a ping waits
                )
            )
        except (OSError, ValueError, WebSocketException) as error:
            raise SuiteError(
                f"--server {self._address}: {printable(error)}; start one there: evo1 serve DIR"
            ) from error

    def close(self) -> None:
        """Say goodbye."""
        self._held.close()

    def _chunk(self, seen: Seen, words: str) -> Array:
        try:
            self._socket.send(request(self._suite, seen, words))
            answer = self._socket.recv(timeout=ANSWER_S)
            return np.asarray(json.loads(answer), dtype=np.float64)
        except (OSError, ValueError, TypeError, WebSocketException) as error:
            raise SuiteError(
                f"{self._address}: {printable(error)}; the server's log says what it did not like"
            ) from error


def request(suite: Suite, seen: Seen, words: str) -> str:
    """What the authors' client of a suite sends for what it sees, as JSON.

    The server swaps red and blue of every picture: a client that means to be understood sends
    BGR, as that of Meta-World does; that of LIBERO sends RGB.
    """
    seen_ones = seen["pictures"]
    sent = [json.dumps((p if suite.swapped else p[..., ::-1]).tolist()) for p in seen_ones]
    sent += [_black()] * (PICTURES - len(sent))
    rest = {
        "state": np.asarray(seen["state"]).tolist(),
        "prompt": words,
        "image_mask": _ones(len(seen_ones), PICTURES),
        "action_mask": _ones(suite.width, NUMBERS),
    }
    return f'{{"image": [{", ".join(sent)}], {json.dumps(rest)[1:]}'


def _ones(count: int, width: int) -> Sequence[int]:
    return [1] * count + [0] * (width - count)


@lru_cache(maxsize=1)
def _black() -> str:
    return json.dumps(np.zeros((SIDE, SIDE, 3), dtype=np.uint8).tolist())
