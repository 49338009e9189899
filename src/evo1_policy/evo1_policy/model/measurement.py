"""Measure the readable and the fast path on this machine, with random weights.

Latency does not depend on the values of the weights, so no checkpoint is needed.
Letters: H horizon, D action width, E width. Must not import ROS.
"""

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evo1_policy.model import costs
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.engine import Engine
from evo1_policy.model.evo1 import Evo1
from evo1_policy.model.machine import Machine, measure_machine, memory_gb
from evo1_policy.model.preprocessing import ModelInputs
from evo1_policy.model.synthetic import random_inputs, random_model, random_noise
from evo1_policy.model.timing import StageClock, times


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured case; shares add up to 1, or are NaN where a CUDA graph hides the parts."""

    path: str  # 'readable' or 'fast'
    views: int
    steps: int
    runs: int
    p50_ms: float
    p95_ms: float
    hz: float
    vision_share: float
    language_share: float
    head_share: float
    cpu_ms: float  # mean CPU time of all threads; hardly changed by other load on the machine
    gflop: float
    bound_ms: float  # what the roofline allows
    roofline: float  # bound_ms / p50_ms


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
    max_abs_diff: float  # of the normalised actions of both paths

    def speedup(self, views: int, steps: int) -> float:
        """How many times sooner the fast path's median is."""
        found = {r.path: r.p50_ms for r in self.results if (r.views, r.steps) == (views, steps)}
        return found["readable"] / found["fast"]


def measure_case(
    sampler: Evo1 | Engine,
    machine: Machine,
    *,
    views: int,
    steps: int,
    device: torch.device,
    runs: int,
    max_s: float,
    modules: Evo1,
) -> tuple[Result, Tensor]:
    """Measure one path with some views and steps.

    Args:
        sampler: the model itself, or its engine.
        machine: for the roofline.
        views: images present.
        steps: Euler steps.
        device: where the sampler runs.
        runs: inferences to time, at most.
        max_s: no further run after this time.
        modules: the model, whose parts tell when vision and language are done.

    Returns:
        the figures, and the actions (1, H, D) on the CPU.
    """
    fast = isinstance(sampler, Engine)  # which takes inputs from the CPU
    inputs = random_inputs(sampler.config, present=views).to("cpu" if fast else device)
    noise = random_noise(sampler.config).to(device)
    with torch.inference_mode(), StageClock(modules, device) as clock:
        actions = [noise]
        cpu_s = []

        def call() -> None:
            clock.start()
            before = time.process_time()
            actions[0] = sampler.sample_actions(inputs, noise, steps=steps)
            cpu_s.append(time.process_time() - before)

        warm_up = fast or device.type == "cuda"  # else nothing is remembered
        found = times(call, device, runs=runs, max_s=max_s, warm_up=warm_up)
    p50, p95 = np.percentile(found, (50, 95)).tolist()
    vision, language, head = clock.shares(found[-1])
    flops, bound_s = _bound(sampler, machine, inputs, steps=steps, device=device)
    return Result(
        path="fast" if fast else "readable",
        views=views,
        steps=steps,
        runs=len(found),
        p50_ms=1e3 * p50,
        p95_ms=1e3 * p95,
        hz=1 / p50,
        vision_share=vision,
        language_share=language,
        head_share=head,
        cpu_ms=1e3 * float(np.mean(cpu_s[-len(found) :])),
        gflop=flops.total / 1e9,
        bound_ms=1e3 * bound_s,
        roofline=bound_s / p50,
    ), actions[0].cpu()


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
    model = random_model(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if device.type == "cuda":
        model.embedder.to(torch.bfloat16)
        model.to(device)
    machine = measure_machine(device)
    results: list[Result] = []
    memory: list[float] = []
    chunks: dict[tuple[int, int], Tensor] = {}
    difference = 0.0
    for path in ("readable", "fast"):
        sampler = model if path == "readable" else Engine.for_device(model, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for case in itertools.product(views, steps):
            result, chunk = measure_case(
                sampler,
                machine,
                views=case[0],
                steps=case[1],
                device=device,
                runs=runs,
                max_s=max_s,
                modules=model,
            )
            results.append(result)
            difference = max(
                difference, float((chunks.setdefault(case, chunk) - chunk).abs().max())
            )
        memory.append(memory_gb(device))
    return Report(
        parameters=parameters,
        machine=machine,
        load_average=load,
        results=tuple(results),
        readable_memory_gb=memory[0],
        fast_memory_gb=memory[1],
        max_abs_diff=difference,
    )


def _bound(
    sampler: Evo1 | Engine,
    machine: Machine,
    inputs: ModelInputs,
    *,
    steps: int,
    device: torch.device,
) -> tuple[costs.Flops, float]:
    """Operations, and the least time [s] that the machine allows for them."""
    flops, read = _work(sampler.config, inputs, steps=steps, fast=isinstance(sampler, Engine))
    peak, bandwidth = machine.matmul_gflops * 1e9, machine.bandwidth_gb_s * 1e9
    bytes_each = 2 if device.type == "cuda" else 4
    head_s = max(flops.head / peak, read * bytes_each / bandwidth)
    return flops, (flops.vision + flops.language) / peak + head_s


def _work(
    config: Evo1Config, inputs: ModelInputs, *, steps: int, fast: bool
) -> tuple[costs.Flops, float]:
    """Operations, and numbers read by the head over all steps."""
    E, blocks = config.language.width, config.head.layers
    weights = blocks * 10 * E * E + config.horizon * E * E
    mask, slots = inputs.token_mask[0], inputs.image_slots[0]
    if not fast:
        flops = costs.readable_flops(config, tokens=len(mask), steps=steps)
        return flops, float(steps * (weights + 2 * blocks * E * E))
    hidden = 0
    if config.semantics.context_mode == "official_fa2":
        pads = int((~mask & ~slots).any())
        hidden = pads + config.vision.tokens_per_view * int((~mask & slots).any())
    visible, size = int(mask.sum()), config.vision.tokens_per_view
    present = int((mask & slots).sum()) // size
    flops = costs.fast_flops(config, present=present, visible=visible, hidden=hidden, steps=steps)
    return flops, float(steps * (weights + 2 * blocks * E * (visible + hidden + 1)))
