"""An exponential moving average of the weights. Must not import ROS."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows the trained weights; the frozen ones are what they are."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {
            name: weight for name, weight in module.named_parameters() if weight.requires_grad
        }
        self._average = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after update number `step` (from 0); faster in the beginning."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self._average.values()), [w.detach() for w in self._weights.values()], 1 - decay
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the average's weights inside, and its own again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name."""
        return dict(self._average)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from averages saved before."""
        for name, average in self._average.items():
            average.copy_(state[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._weights.items():
            average = self._average[name]
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
