"""Time, arithmetic and memory of whole inferences, readable and fast path, on random weights."""

import itertools
import math
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from model_inputs import random_inputs, random_noise
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from evo1_policy.model.config import Evo1Config
from evo1_policy.model.engine import Engine, serving_dtype
from evo1_policy.model.evo1 import Evo1, new_model
from evo1_policy.model.preprocessing import ModelInputs

SMALL = 10e6  # weights that even a CPU without bf16 multiplies in seconds


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """Operations of one attention, from its shapes; torch itself counts those of GPUs only."""
    return int(sdpa_flop_count(query, key, value))


_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine can do at best, measured in the type that the fast path uses."""

    device: str
    threads: int
    matmul_gflops: float
    bandwidth_gb_s: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured case; shares add up to 1, or are NaN where a CUDA graph hides the parts."""

    path: str  # 'readable', 'fast' or, on a CPU, 'bf16': the fast one in bf16
    views: int
    steps: int
    runs: int
    p50_ms: float
    p95_ms: float
    cpu_ms: float  # mean CPU time of all threads; hardly changed by other load on the machine
    vision_share: float
    language_share: float
    head_share: float
    gflop: float  # as torch counts them: causal attention as the full square
    bound_ms: float  # the least time for them, and for reading the head's weights at each step


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was measured of one model.

    The memory of the fast path is a figure of its own on a GPU only; on a CPU it is the most
    that the process held so far.
    """

    parameters: int
    machine: Machine
    load_average: float  # of the machine, over the minute before
    results: tuple[Result, ...]
    readable_memory_gb: float
    fast_memory_gb: float
    max_abs_diff: float  # of the normalised actions of readable and fast path
    bf16_max_abs_diff: float  # of those in bf16, likewise

    def speedup(
        self, views: int, steps: int, *, of: str = "fast", before: str = "readable"
    ) -> float:
        """How many times sooner one path's median is than the other's."""
        found = {r.path: r.p50_ms for r in self.results if (r.views, r.steps) == (views, steps)}
        return found[before] / found[of]


def measure_model(
    config: Evo1Config,
    *,
    device: torch.device,
    views: Sequence[int],
    steps: Sequence[int],
    runs: int,
    max_s: float,
) -> Report:
    """Measure both paths of one model in all combinations of views and steps.

    Args:
        config: its sizes and semantics; the weights are random.
        device: where to run; on CUDA the backbone is bf16, and all matrices of the fast path.
        views: numbers of present views.
        steps: numbers of Euler steps.
        runs: timed inferences of each case, at most.
        max_s: time of each case [s], about; there is always one inference.
    """
    load = os.getloadavg()[0]
    model = new_model(config, seed=0).eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if device.type == "cuda":
        model.embedder.to(torch.bfloat16)
        model.to(device)
    machine = measure_machine(device)
    results: list[Result] = []
    memory: list[float] = []
    chunks: dict[tuple[int, int], Tensor] = {}
    paths = ["readable", "fast", *(["bf16"] if _tries_bf16(device, parameters) else [])]
    differences = dict.fromkeys(("readable", "fast", "bf16"), 0.0)
    for path in paths:
        sampler = _sampler(path, model, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for case in itertools.product(views, steps):
            result, chunk = _measure_case(
                path, sampler, model, machine,
                views=case[0], steps=case[1], device=device, runs=runs, max_s=max_s,
            )  # fmt: skip
            results.append(result)
            found = (chunks.setdefault(case, chunk) - chunk).abs().max()
            differences[path] = max(differences[path], float(found))
        memory.append(_memory_gb(device))
    return Report(
        parameters=parameters,
        machine=machine,
        load_average=load,
        results=tuple(results),
        readable_memory_gb=memory[0],
        fast_memory_gb=memory[1],
        max_abs_diff=differences["fast"],
        bf16_max_abs_diff=differences["bf16"],
    )


def _sampler(path: str, model: Evo1, device: torch.device) -> Evo1 | Engine:
    """The model, arranged in place for a path."""
    if path == "readable":
        return model
    fast = "fp32" if device.type == "cpu" else "auto"
    return Engine.for_device(model, device, "bf16" if path == "bf16" else fast)


def _tries_bf16(device: torch.device, parameters: int) -> bool:
    """Whether a CPU runs it in seconds; a GPU's fast path is in it already."""
    is_fast = serving_dtype("auto", device) == torch.bfloat16
    return device.type == "cpu" and (is_fast or parameters < SMALL)


def _measure_case(
    path: str,
    sampler: Evo1 | Engine,
    model: Evo1,
    machine: Machine,
    *,
    views: int,
    steps: int,
    device: torch.device,
    runs: int,
    max_s: float,
) -> tuple[Result, Tensor]:
    """The figures of one path with some views and steps, and its actions (1, H, D) on the CPU."""
    fast = isinstance(sampler, Engine)  # which takes inputs from the CPU
    inputs = random_inputs(model.config, present=views).to("cpu" if fast else device)
    noise = random_noise(model.config).to(device)
    with torch.inference_mode(), StageClock(model, device) as clock:
        gflop = _count_gflop(sampler, model, inputs, noise, steps)  # which is the warm-up, too

        def call() -> Tensor:
            clock.start()
            return sampler.sample_actions(inputs, noise, steps=steps)

        if device.type == "cuda":
            call()  # captures the graph
        cpu_s = time.process_time()
        found, actions = times(call, device, runs=runs, max_s=max_s)
        cpu_s = (time.process_time() - cpu_s) / len(found)
    p50, p95 = np.percentile(found, (50, 95)).tolist()
    vision, language, head = clock.shares(found[-1])
    read_gb = steps * sum(w.nbytes for w in model.action_head.parameters()) / 1e9
    bound_s = max(gflop / machine.matmul_gflops, read_gb / machine.bandwidth_gb_s)
    return Result(
        path=path,
        views=views,
        steps=steps,
        runs=len(found),
        p50_ms=1e3 * p50,
        p95_ms=1e3 * p95,
        cpu_ms=1e3 * cpu_s,
        vision_share=vision,
        language_share=language,
        head_share=head,
        gflop=gflop,
        bound_ms=1e3 * bound_s,
    ), actions.cpu()


def _count_gflop(
    sampler: Evo1 | Engine, model: Evo1, inputs: ModelInputs, noise: Tensor, steps: int
) -> float:
    """10^9 floating-point operations of one inference, without what a prompt costs once."""
    if isinstance(sampler, Engine):
        sampler = sampler if noise.device.type == "cpu" else Engine(model, graphs=False)
        sampler.sample_actions(inputs, noise, steps=1)
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
        sampler.sample_actions(inputs, noise, steps=steps)
    return float(counter.get_total_flops()) / 1e9


class StageClock:
    """Notes when the projector and the last norm of the language model end."""

    def __init__(self, model: Evo1, device: torch.device) -> None:
        self._device = device
        self._start = self._seen = self._read = math.nan
        backbone = model.embedder.model
        self._hooks = [
            backbone.multi_modal_projector.register_forward_hook(self._on_seen),
            backbone.language_model.norm.register_forward_hook(self._on_read),
        ]

    def __enter__(self) -> "StageClock":
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def start(self) -> None:
        """Begin one inference."""
        self._start, self._seen, self._read = now(self._device), math.nan, math.nan

    def shares(self, total_s: float) -> tuple[float, float, float]:
        """Vision, language and head of the last inference, as parts of 1."""
        vision, language = self._seen - self._start, self._read - self._seen
        return vision / total_s, language / total_s, (total_s - vision - language) / total_s

    def _on_seen(self, *_: object) -> None:
        self._seen = self._now_unless_captured()

    def _on_read(self, *_: object) -> None:
        self._read = self._now_unless_captured()

    def _now_unless_captured(self) -> float:
        if self._device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return math.nan
        return now(self._device)


def now(device: torch.device) -> float:
    """A clock reading [s], once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def times(
    call: Callable[[], Tensor], device: torch.device, *, runs: int, max_s: float = math.inf
) -> tuple[list[float], Tensor]:
    """Wall times [s] of up to `runs` calls, at least one, and what the last gave."""
    found: list[float] = []
    while True:
        start = now(device)
        last = call()
        found.append(now(device) - start)
        if len(found) >= runs or sum(found) >= max_s:
            return found, last


def measure_machine(device: torch.device) -> Machine:
    """Time a large matrix product and a large read."""
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    size = 8192 if cuda else 1024
    square = torch.rand(size, size, device=device, dtype=dtype)
    tall = torch.rand(2**28 // (4096 * square.element_size()), 4096, device=device, dtype=dtype)
    vector = torch.rand(4096, device=device, dtype=dtype)
    matmul_s = min(times(lambda: square @ square, device, runs=6)[0])
    read_s = min(times(lambda: tall @ vector, device, runs=6)[0])
    return Machine(
        device=torch.cuda.get_device_name(device) if cuda else "cpu",
        threads=torch.get_num_threads(),
        matmul_gflops=2 * size**3 / matmul_s / 1e9,
        bandwidth_gb_s=tall.nbytes / read_s / 1e9,
    )


def best_threads(limit: int) -> int:
    """The number of CPU threads, 1 to `limit` in powers of two, that multiplies fastest."""
    weight, rows = torch.rand(3584, 896), torch.rand(50, 896)  # the head's widest layer
    before = torch.get_num_threads()
    found: dict[int, float] = {}
    for threads in sorted({limit, *(2**k for k in range(limit.bit_length()))}):
        torch.set_num_threads(threads)
        product, _ = times(lambda: rows @ weight.t(), torch.device("cpu"), runs=21)
        found[threads] = float(np.median(product))
    torch.set_num_threads(before)
    return min(found, key=found.__getitem__)


def _memory_gb(device: torch.device) -> float:
    """Most memory that this process held so far: on the GPU, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts KiB
