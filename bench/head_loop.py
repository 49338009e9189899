"""The denoising loop of the head alone, on the CPU: readable against fast path."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from model_inputs import JOINTS, random_noise

from evo1_policy.model.action_expert import ActionExpert
from evo1_policy.model.config import Evo1Config
from evo1_policy.model.engine import store_by_input
from evo1_policy.model.fast_head import FastHead
from evo1_policy.model.flow_matching import euler_time_index


@dataclass(frozen=True, kw_only=True)
class HeadResult:
    """The denoising loop of both paths, from the same noise."""

    readable_ms: float
    fast_ms: float
    max_abs_diff: float


@torch.inference_mode()
def measure_head(config: Evo1Config, *, keys: int, steps: int, runs: int) -> HeadResult:
    """Measure the head alone on the CPU: both paths, on the same keys, in turns.

    Both walk by velocities; what the head predicts does not change the time.
    """
    torch.manual_seed(0)
    readable, arranged = ActionExpert(config).eval(), ActionExpert(config).eval()
    arranged.load_state_dict(readable.state_dict())
    store_by_input(arranged)
    fast = FastHead(arranged)
    context = torch.randn(1, keys - 1, config.language.width)  # (1, S-1, E)
    state, noise = torch.rand(1, config.state_width), random_noise(config)
    used = torch.arange(min(JOINTS, config.action_width))
    mask = torch.zeros(1, config.action_width).index_fill(1, used, 1.0)  # (1, D)
    rows = [euler_time_index(k, steps, config.semantics.time_scale) for k in range(steps)]
    biases, columns = fast.time_biases(sorted(set(rows))), fast.columns(used)

    totals = []
    for _ in range(runs):
        clock = [0.0, 0.0]
        start = time.perf_counter()
        joined = torch.cat((context, readable.encode_state(state)), dim=1)  # (1, S, E)
        middle = time.perf_counter()
        found = fast.keys(context, state)
        clock[0], clock[1] = middle - start, time.perf_counter() - middle
        slow_x, fast_x = noise * mask[:, None], noise[..., used]
        for row in rows:  # in turns, so that other load on the machine meets both alike
            start = time.perf_counter()
            slow_v = readable(slow_x, torch.tensor([row]), joined)
            slow_x = slow_x + slow_v * mask[:, None] / steps
            middle = time.perf_counter()
            fast_x = fast_x + fast.predict(fast_x, biases[row], found, columns) / steps
            clock[0] += middle - start
            clock[1] += time.perf_counter() - middle
        totals.append(clock)
    readable_s, fast_s = np.median(np.array(totals), axis=0)
    return HeadResult(
        readable_ms=1e3 * float(readable_s),
        fast_ms=1e3 * float(fast_s),
        max_abs_diff=float((slow_x[..., used] - fast_x).abs().max()),
    )
