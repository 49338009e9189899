"""Wall times of calls, and of the parts of an inference. Must not import ROS."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from evo1_policy.model.evo1 import Evo1


def times(
    call: Callable[[], object],
    device: torch.device,
    *,
    runs: int,
    max_s: float = 1e9,
    warm_up: bool = True,
) -> list[float]:
    """Wall times [s] of up to `runs` calls, at least one; the warm-up is not counted."""
    if warm_up:
        call()
    found: list[float] = []
    while not found or (len(found) < runs and sum(found) < max_s):
        start = now(device)
        call()
        found.append(now(device) - start)
    return found


class StageClock:
    """Notes when the projector and the last norm of the language model end."""

    def __init__(self, model: Evo1, device: torch.device) -> None:
        self._device = device
        self._start = self._seen = self._read = float("nan")
        self._model = model
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "StageClock":
        backbone = self._model.embedder.model
        self._hooks = [
            backbone.multi_modal_projector.register_forward_hook(self._on_seen),
            backbone.language_model.norm.register_forward_hook(self._on_read),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def start(self) -> None:
        """Begin one inference."""
        self._start, self._seen, self._read = now(self._device), float("nan"), float("nan")

    def shares(self, total_s: float) -> tuple[float, float, float]:
        """Vision, language and head of the last inference, as parts of 1."""
        vision, language = self._seen - self._start, self._read - self._seen
        return vision / total_s, language / total_s, (total_s - vision - language) / total_s

    def _on_seen(self, module: nn.Module, args: Sequence[object], output: object) -> None:
        self._seen = self._now_unless_captured()

    def _on_read(self, module: nn.Module, args: Sequence[object], output: object) -> None:
        self._read = self._now_unless_captured()

    def _now_unless_captured(self) -> float:
        if self._device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return float("nan")
        return now(self._device)


def now(device: torch.device) -> float:
    """A clock reading [s], once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
