"""What this machine can do, and how much memory a process took. Must not import ROS."""

import resource
from dataclasses import dataclass

import numpy as np
import torch

from evo1_policy.model.timing import times

_MATRIX, _VECTOR_MB = 1024, 256  # sizes of the roofline measurement


class MachineError(ValueError):
    """A device that is not there; the message begins with its name."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine can do at best, measured."""

    device: str
    threads: int
    matmul_gflops: float
    bandwidth_gb_s: float


def measure_machine(device: torch.device) -> Machine:
    """Time a large matrix product and a large read, in the type that the fast path uses."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    size = 8 * _MATRIX if device.type == "cuda" else _MATRIX
    square = torch.rand(size, size, device=device, dtype=dtype)
    rows = _VECTOR_MB * 2**20 // (4096 * square.element_size())
    tall = torch.rand(rows, 4096, device=device, dtype=dtype)
    vector = torch.rand(4096, device=device, dtype=dtype)
    matmul_s = min(times(lambda: square @ square, device, runs=5))
    read_s = min(times(lambda: tall @ vector, device, runs=5))
    return Machine(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        matmul_gflops=2 * size**3 / matmul_s / 1e9,
        bandwidth_gb_s=tall.numel() * tall.element_size() / read_s / 1e9,
    )


def best_threads(limit: int) -> int:
    """The number of CPU threads, 1 to `limit` in powers of two, that multiplies fastest."""
    weight, rows = torch.rand(3584, 896), torch.rand(50, 896)  # the head's widest layer
    before = torch.get_num_threads()
    found: dict[int, float] = {}
    for threads in sorted({1, limit, *(2**k for k in range(limit.bit_length()))}):
        if threads <= limit:
            torch.set_num_threads(threads)
            product = times(lambda: rows @ weight.t(), torch.device("cpu"), runs=20)
            found[threads] = float(np.median(product))
    torch.set_num_threads(before)
    return min(found, key=found.__getitem__)


def choose_device(name: str) -> torch.device:
    """A device by its name; 'auto' is CUDA where there is one.

    Raises:
        MachineError: the name means nothing, or torch finds no CUDA.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MachineError(f"{name}: expected auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MachineError(f"{name}: torch finds no CUDA here; use cpu")
    return device


def choose_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads; None measures which number is fastest."""
    torch.set_num_threads(threads or best_threads(torch.get_num_threads()))


def memory_gb(device: torch.device) -> float:
    """Most memory that this process held so far: on the GPU, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts KiB
