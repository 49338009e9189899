"""A function of tensors as one CUDA graph. Must not import ROS."""

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UPS = 2


class GraphedCall:
    """Captures a function once, then replays it without the cost of its launches.

    The function must do all its work on the GPU, in shapes that do not change, and without
    waiting for the GPU. What it reads besides its arguments must stay where it is.
    """

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor) -> None:
        self._inputs = [example.clone() for example in examples]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate their workspaces before the capture
            for _ in range(_WARM_UPS):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = function(*self._inputs)

    def __call__(self, *values: Tensor) -> Tensor:
        """Run on other values, of the same shapes and types as the examples."""
        for held, value in zip(self._inputs, values, strict=True):
            held.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._output.clone()
