"""The protocol of the authors' evaluation clients: one JSON text a request, one a reply.

As Evo1_server.py speaks it, of the main branch and of evo1-flash: 3 pictures that are resized to
448x448 and turned from BGR to RGB whatever they are, and a reply of H rows of 24 numbers. It has
no word for an error: a refusal closes with 1011, and the reason stands in the server's log.
Must not import ROS or torch.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import cv2
import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.checkpoint_layouts.contents import CheckpointError
from evo1_policy.normalization import NormStats
from evo1_policy.serving.json_images import read_request
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

WIDTH = 24  # numbers of a state and of an action
PICTURES = 3
SIZE = 448  # of a picture's edge [px]
MOST_BYTES = 100_000_000

StatsOf = Callable[[str | None, str | None], NormStats | None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client asks.

    Attributes:
        images: three, each (448, 448, 3) uint8 RGB.
        state: (S,) as it was received.
        prompt: what to do.
        image_mask: (3,) which pictures are looked at.
        action_mask: (24,) which columns of the reply are wanted.
        stats: of the arm and dataset that were named; None: those of the checkpoint.
    """

    images: Sequence[Image]
    state: Floats
    prompt: str
    image_mask: Sequence[bool]
    action_mask: Sequence[bool]
    stats: NormStats | None


def read(text: str, stats_of: StatsOf) -> Request:
    """Read one request.

    Raises:
        RequestError: names the key.
    """
    data, pictures = read_request(text)
    if len(pictures) != PICTURES:
        raise RequestError("image", f"expected exactly {PICTURES} pictures, got {len(pictures)}")
    for key in ("state", "prompt", "image_mask", "action_mask"):
        if key not in data:
            raise RequestError(key, "missing")
    image_mask = _mask(data["image_mask"], "image_mask", PICTURES)
    if not any(image_mask):
        raise RequestError("image_mask", "expected at least one 1: no picture would be seen")
    return Request(
        images=[_seen(picture) for picture in pictures],
        state=checked_numbers(data["state"], "state", most=WIDTH),
        prompt=checked_prompt(data["prompt"], "prompt"),
        image_mask=image_mask,
        action_mask=_mask(data["action_mask"], "action_mask", WIDTH),
        stats=stats_of(_key(data, "arm_key"), _key(data, "dataset_key")),
    )


def reply(rows: Floats) -> str:
    """(H, action width) actions as the authors' server writes them, 24 in a row."""
    missing = WIDTH - rows.shape[1]
    return json.dumps(np.pad(rows, ((0, 0), (0, missing))).tolist())


def authors_protocol(
    policy: ServedPolicy, stats_of: StatsOf, *, views: int = PICTURES, width: int = WIDTH
) -> Protocol:
    """The authors' protocol for a policy.

    Args:
        policy: answers.
        stats_of: see stats_by_key.
        views: that its model has; pictures beyond must be masked.
        width: of its actions; numbers beyond must be masked.
    """
    return Protocol(
        name="authors",
        port=9000,
        most_bytes=MOST_BYTES,
        pings=False,  # a client that steps a simulation answers none for minutes
        session=partial(_AuthorsSession, policy, stats_of, views, width),
    )


def stats_by_key(read: Callable[[str, str | None], NormStats], *, arm: str) -> StatsOf:
    """The norm stats that a request names by arm and dataset; None: the checkpoint's own.

    Args:
        read: reads those of an arm and a dataset (checkpoint.stats_of); what it gives is kept.
        arm: the checkpoint's own.
    """
    known = cache(read)

    def stats_of(key: str | None, dataset: str | None) -> NormStats | None:
        if key in (None, arm) and dataset is None:
            return None
        try:
            return known(key or arm, dataset)
        except CheckpointError as error:
            raise RequestError("dataset_key" if key is None else "arm_key", str(error)) from error

    return stats_of


class _AuthorsSession(Session):
    def __init__(self, policy: ServedPolicy, stats_of: StatsOf, views: int, width: int) -> None:
        self._policy, self._stats_of = policy, stats_of
        self._views, self._width = views, width

    def read(self, message: Frame) -> Job:
        if isinstance(message, bytes):
            raise RequestError("message", "a binary frame; expected JSON in a text frame")
        request = read(message, self._stats_of)
        for key, mask, most in (
            ("image_mask", request.image_mask, self._views),
            ("action_mask", request.action_mask, self._width),
        ):
            if any(mask[most:]):
                raise RequestError(key, f"the model takes {most}, a 1 stands beyond")
        return Job(run=partial(self._infer, request))

    def refusal(self, problem: str) -> Refusal:
        return Refusal(closes=True)

    def _infer(self, request: Request) -> str:
        rows = self._policy.predict(
            request.images[: self._views],
            request.state,
            request.prompt,
            stats=request.stats,
            image_mask=request.image_mask[: self._views],
            action_mask=request.action_mask[: self._width],
        )
        return reply(rows)


def _seen(picture: Image) -> Image:
    """A picture as their server gives it to the model."""
    resized = cv2.resize(picture, (SIZE, SIZE))
    return np.ascontiguousarray(resized[..., ::-1])


def _mask(value: object, key: str, width: int) -> list[bool]:
    """`width` times 0 or 1, flat or in a list of one."""
    numbers = checked_numbers(value, key, most=width)
    if len(numbers) != width or not np.isin(numbers, (0, 1)).all():
        raise RequestError(key, f"expected {width} times 0 or 1, got {numbers.tolist()}")
    return [bool(number) for number in numbers]


def _key(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise RequestError(key, f"expected a word, got {value!r:.40}")
    return value
