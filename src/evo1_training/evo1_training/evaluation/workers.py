"""How many trials fit side by side into this machine. Must not import ROS."""

import math
from pathlib import Path

from evo1_training.datasets.worker_pool import available_cores

_CELL_BYTES = 700_000_000  # of a worker without a policy: Python, torch, MuJoCo, its pictures
_COPIES = 1.5  # of the weights that a worker holds while it loads them
_WEIGHTS = (".safetensors", ".pt", ".bin")
_MEMORY = Path("/proc/meminfo")
_LIMITS = (  # of the container: what it may use, what it uses
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def fitting_workers(trials: int, policy: Path | None, *, device: str = "auto") -> int:
    """Processes for so many trials: no more than cores, nor than memory holds policies.

    Args:
        trials: of one policy.
        policy: its folder; None for the scripted expert.
        device: torch's, on which each process has a policy of its own.
    """
    weights = _weights_bytes(policy)
    fitting = [available_cores(), math.ceil(trials / 2)]
    if (free := free_bytes()) is not None:
        fitting.append(int(0.9 * free / (_CELL_BYTES + _COPIES * weights)))
    if policy is not None and (free := _free_gpu_bytes(device)) is not None:
        fitting.append(int(0.9 * free / (_CELL_BYTES + weights)))
    return max(1, min(fitting))


def free_bytes() -> int | None:
    """Memory that can be had without swapping, within a container's limit; None: unknown."""
    lines = [line.split() for line in _text(_MEMORY).splitlines()]
    found = [int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"]
    for limit, used in _LIMITS:
        most, now = _text(limit).strip(), _text(used).strip()
        if most.isdigit() and now.isdigit():  # 'max' is no limit
            found.append(max(int(most) - int(now), 0))
    return min(found, default=None)


def _weights_bytes(policy: Path | None) -> int:
    """Bytes of the files of weights below a checkpoint's folder, in whichever layout."""
    files = () if policy is None else policy.rglob("*")
    return sum(file.stat().st_size for file in files if file.suffix in _WEIGHTS)


def _free_gpu_bytes(device: str) -> int | None:
    from torch import cuda  # late: seconds

    if device == "cpu" or not cuda.is_available():
        return None
    free: int = cuda.mem_get_info()[0]
    return free


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
