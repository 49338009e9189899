"""Inference of the paper's model: readable path against fast path, on random weights.

The head alone with 50 steps on 1025 keys, then whole inferences with two views and 50 steps on
the CPU, and on a GPU where there is one. `ros2 run evo1_policy benchmark` shows more.
"""

import argparse
import gc
from pathlib import Path

import torch
from figures import merge_figures

from evo1_policy.cli.benchmark import table
from evo1_policy.model.config import Evo1Config, preset
from evo1_policy.model.head_measurement import measure_head
from evo1_policy.model.machine import choose_threads
from evo1_policy.model.measurement import Report, measure_model

VIEWS, STEPS, KEYS = 2, 50, 1025


def main() -> int:
    """Measure, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to merge the figures into")
    parser.add_argument("--quick", action="store_true", help="small model, three steps")
    parser.add_argument("--runs", type=int, default=2, help="of each path (default 2)")
    parser.add_argument("--threads", type=int, help="CPU threads; default: the fastest number")
    arguments = parser.parse_args()
    choose_threads(arguments.threads)
    config = preset("evo1_tiny" if arguments.quick else "evo1")
    steps, runs = (3, 1) if arguments.quick else (STEPS, arguments.runs)

    head = measure_head(preset("evo1"), keys=KEYS, steps=steps, runs=runs)
    print(
        f"head, {steps} steps, {KEYS} keys, {torch.get_num_threads()} threads: "
        f"readable {head.readable_ms:.0f} ms, fast {head.fast_ms:.0f} ms, "
        f"{head.readable_ms / head.fast_ms:.2f}x, difference {head.max_abs_diff:.1e}",
        flush=True,
    )
    gc.collect()
    report = _measure(config, "cpu", steps, runs)
    figures = {
        "model.parameters": report.parameters,
        "model.head_speedup_cpu": head.readable_ms / head.fast_ms,
        "model.speedup_cpu": report.speedup(VIEWS, steps),
        "model.max_abs_diff": max(head.max_abs_diff, report.max_abs_diff),
    }
    if torch.cuda.is_available():
        figures |= _gpu_figures(_measure(config, "cuda", steps, 50), steps)
    if arguments.json:
        merge_figures(arguments.json, figures)
    return 0


def _measure(config: Evo1Config, device: str, steps: int, runs: int) -> Report:
    report = measure_model(
        config,
        device=torch.device(device),
        views=[VIEWS],
        steps=[steps],
        runs=runs,
        max_s=120.0,
    )
    print(table(report), flush=True)
    return report


def _gpu_figures(report: Report, steps: int) -> dict[str, float]:
    fast = next(result for result in report.results if result.path == "fast")
    return {
        "model.gpu_ms_p50": fast.p50_ms,
        "model.gpu_speedup": report.speedup(VIEWS, steps),
        "model.gpu_memory_gb": report.fast_memory_gb,
    }


if __name__ == "__main__":
    raise SystemExit(main())
