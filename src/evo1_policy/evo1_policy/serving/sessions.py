"""What a protocol is to the server: a greeting, sessions that read requests, and refusals.

Must not import ROS, torch or a network library.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol as Shape

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import ActionChunk, Floats, Guidance
from evo1_policy.normalization import NormStats
from evo1_policy.observation import Observation, instruction_problem

Frame = str | bytes  # text or binary
Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB


class RequestError(ValueError):
    """A request that is refused; `key` is the field at fault."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key


class ServedPolicy(Shape):
    """What the protocols need of a policy; evo1_policy.policy.Policy is one."""

    @property
    def horizon(self) -> int:
        """H, actions in a chunk."""
        ...

    @property
    def execute_actions(self) -> int | None:
        """Actions of a chunk to execute before the next one; None: half of them."""
        ...

    def infer(self, observation: Observation, guidance: Guidance | None = None) -> ActionChunk:
        """Return what to do from this observation on, beginning with `guidance`."""
        ...

    def predict(
        self,
        images: Sequence[Image],
        state: Floats,
        instruction: str,
        *,
        stats: NormStats | None = None,
        image_mask: Sequence[bool] | None = None,
        action_mask: Sequence[bool] | None = None,
    ) -> Floats:
        """Return every column of the chunk (H, action width), denormalised."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request that wants the policy.

    Attributes:
        run: infers and gives the frame that answers; called on the policy's thread.
        within_s: nobody waits for the answer any longer than this; None: as the server says.
    """

    run: Callable[[], Frame]
    within_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """How a protocol tells that it refused: a frame, if it has one, and whether it hangs up."""

    frame: Frame | None = None
    closes: bool = False


class Session(ABC):
    """One client's conversation."""

    @abstractmethod
    def read(self, message: Frame) -> Job | Frame | None:
        """Look at a message, on any thread: a job, an answer at once, or None to say nothing.

        Raises:
            RequestError: it is refused; names the key.
        """

    @abstractmethod
    def refusal(self, problem: str) -> Refusal:
        """How to tell why the last message was refused."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol of the server.

    Attributes:
        name: by which it is asked for.
        port: where its clients look for it.
        most_bytes: of a message.
        pings: whether the server asks silent clients if they are still there.
        greeting: the first frame, said before the client says anything; None: nothing.
        session: makes a session for a client.
    """

    name: str
    port: int
    most_bytes: int
    pings: bool
    session: Callable[[], Session]
    greeting: Frame | None = None


def checked_prompt(value: object, key: str) -> str:
    """Words that a policy may be told.

    Raises:
        RequestError: they are none.
    """
    if not isinstance(value, str):
        raise RequestError(key, f"expected words, got {type(value).__name__}")
    if problem := instruction_problem(value):
        raise RequestError(key, problem)
    return value


def checked_numbers(value: object, key: str, *, most: int) -> Floats:
    """A flat vector of finite numbers: (N,) float64, 1 <= N <= most.

    Raises:
        RequestError: it is something else.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]  # a batch of one
    if isinstance(value, list):
        odd = next((x for x in value if type(x) not in (int, float)), None)
        if odd is not None or len(value) > most:
            what = f"{odd!r:.40}" if odd is not None else f"{len(value)} of them"
            raise RequestError(key, f"expected 1 to {most} numbers, got {what}")
    elif not isinstance(value, np.ndarray):
        raise RequestError(key, f"expected 1 to {most} numbers, got {type(value).__name__}")
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(key, f"expected 1 to {most} numbers") from error
    if numbers.ndim == 2 and len(numbers) == 1:
        numbers = numbers[0]
    if numbers.ndim != 1 or not 1 <= len(numbers) <= most:
        raise RequestError(key, f"expected 1 to {most} numbers, got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        k = int(np.argmin(np.isfinite(numbers)))
        raise RequestError(f"{key}[{k}]", f"{numbers[k]} is no finite number")
    return numbers
