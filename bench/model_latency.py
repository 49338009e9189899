"""Inference of the paper's model: readable path against fast path, on random weights.

The head alone with 50 steps on 1025 keys, then whole inferences with two views and 50 steps on
the CPU, and on a GPU where there is one. Options choose other sizes, views, steps and devices.

columns
  p50, p95    median and 95th percentile of the latency; Hz = 1 / p50
  CPU ms      CPU time of all threads; hardly changed by what else the machine does
  vision ...  share of the image encoder, the language model and the denoising head
  GFLOP       arithmetic of the path, as torch counts it
  bound       the least time that this machine's matrix product and memory, both measured at the
              start, allow for it; 'of bound' = bound / p50, 100 % is the roofline

A robot replans at most every p50. A chunk has 50 actions: at 30 Hz it lasts 1.7 s, and an
inference must be done well before that.

  python -m bench model_latency --preset evo1_tiny                    # the size that ships
  python -m bench model_latency --views 1,2,3 --steps 32,50 --runs 1  # minutes on a CPU, 3.5 GB
  python -m bench model_latency --preset evo1_tiny --plot latency.png
  python -m bench model_latency --integration D                       # the paper's section 4.4.1
"""

import argparse
import dataclasses
import gc
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from figures import bench_parser, merge_figures
from head_loop import measure_head
from inference_times import Report, Result, best_threads, measure_model

from evo1_policy.model.config import Evo1Config, preset

KEYS = 1025


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the figures."""
    parser = _parser()
    options = parser.parse_args(arguments)
    config = preset("evo1_tiny" if options.quick else options.preset)
    semantics = dataclasses.replace(config.semantics, integration=options.integration)
    config = dataclasses.replace(config, semantics=semantics)
    if max(options.views) > config.views:
        parser.error(f"--views: {options.preset} has {config.views} image slots")
    if "cuda" in options.device and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA here; use cpu")
    if options.quick:
        options.steps, options.runs = [3], 1
    torch.set_num_threads(options.threads or best_threads(torch.get_num_threads()))

    published = (options.preset, options.integration) == ("evo1", "A")
    figures = _head_figures(options.steps[-1], options.runs or 2) if published else {}
    for device in options.device:
        report = _measure(config, device, options)
        if options.plot:
            plot(report, options.plot.with_stem(f"{options.plot.stem}_{device}"))
        figures |= _figures(report, device, figures.get("max_abs_diff", 0.0))
    name = "model" if published else f"model_{options.preset}_{options.integration}"
    merge_figures(options.json, {f"{name}.{key}": value for key, value in figures.items()})
    return 0


def _head_figures(steps: int, runs: int) -> dict[str, float]:
    head = measure_head(preset("evo1"), keys=KEYS, steps=steps, runs=runs)
    gc.collect()
    speedup = head.readable_ms / head.fast_ms
    print(
        f"head, {steps} steps, {KEYS} keys, {torch.get_num_threads()} threads: "
        f"readable {head.readable_ms:.0f} ms, fast {head.fast_ms:.0f} ms, "
        f"{speedup:.2f}x, difference {head.max_abs_diff:.1e}",
        flush=True,
    )
    return {"head_speedup_cpu": speedup, "max_abs_diff": head.max_abs_diff}


def _measure(config: Evo1Config, device: str, options: argparse.Namespace) -> Report:
    report = measure_model(
        config,
        device=torch.device(device),
        views=options.views,
        steps=options.steps,
        runs=options.runs or (50 if device == "cuda" else 2),
        max_s=options.seconds,
    )
    print(table(report), flush=True)
    return report


def _figures(report: Report, device: str, difference: float) -> dict[str, float]:
    """Medians of all cases; the speedup of the last one, which is the largest.

    The difference of both paths is of fp32 on the CPU: `difference` is that of the head alone.
    """
    last = report.results[-1]
    figures: dict[str, float] = {
        f"{device}_{r.path}_{r.views}views_{r.steps}steps_ms_p50": r.p50_ms for r in report.results
    }
    figures["parameters"] = report.parameters
    speedup = report.speedup(last.views, last.steps)
    if device == "cpu":
        difference = max(difference, report.max_abs_diff)
        figures |= {"speedup_cpu": speedup, "max_abs_diff": difference}
        if last.path == "bf16":
            half = report.speedup(last.views, last.steps, of="bf16", before="fast")
            figures["cpu_bf16_speedup"] = half
            figures["cpu_bf16_max_abs_diff"] = report.bf16_max_abs_diff
        return figures
    return figures | {
        "gpu_ms_p50": last.p50_ms,
        "gpu_speedup": speedup,
        "gpu_memory_gb": report.fast_memory_gb,
    }


def table(report: Report) -> str:
    """The report for reading."""
    machine = report.machine
    lines = [
        f"{report.parameters:,} parameters on {machine.device}, {machine.threads} CPU threads "
        f"(load average {report.load_average:.1f})",
        f"this machine: {machine.matmul_gflops:,.0f} GFLOP/s, {machine.bandwidth_gb_s:,.1f} GB/s",
        f"{'path':<10}{'views':>5}{'steps':>6}{'p50 ms':>10}{'p95 ms':>10}{'Hz':>8}"
        f"{'CPU ms':>10}{'vision':>8}{'language':>9}{'head':>6}{'GFLOP':>8}"
        f"{'bound ms':>10}{'of bound':>9}{'faster':>8}{'runs':>5}",
        *(_row(report, result) for result in report.results),
        f"memory: {report.readable_memory_gb:.2f} GB readable, {report.fast_memory_gb:.2f} GB "
        f"fast; largest difference of the normalised actions: {report.max_abs_diff:.1e}, "
        f"in bf16 on a CPU {report.bf16_max_abs_diff:.1e}",
    ]
    return "\n".join(lines) + "\n"


def _row(report: Report, result: Result) -> str:
    faster = ""
    if result.path != "readable":
        faster = f"{report.speedup(result.views, result.steps, of=result.path):.2f}x"
    return (
        f"{result.path:<10}{result.views:>5}{result.steps:>6}{result.p50_ms:>10.1f}"
        f"{result.p95_ms:>10.1f}{1e3 / result.p50_ms:>8.2f}{result.cpu_ms:>10.1f}"
        f"{_percent(result.vision_share):>8}"
        f"{_percent(result.language_share):>9}{_percent(result.head_share):>6}"
        f"{result.gflop:>8.1f}{result.bound_ms:>10.1f}"
        f"{_percent(result.bound_ms / result.p50_ms):>9}{faster:>8}{result.runs:>5}"
    )


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def plot(report: Report, path: Path) -> None:
    """Latency of both paths over the steps, one panel for each number of views, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    views = sorted({result.views for result in report.results})
    figure, axes = pyplot.subplots(
        1, len(views), figsize=(3.6 * len(views) + 1, 3.6), sharey=True, squeeze=False
    )
    for axis, count in zip(axes[0], views, strict=True):
        for name, colour in (("readable", "tab:grey"), ("fast", "tab:blue")):
            rows = [r for r in report.results if (r.path, r.views) == (name, count)]
            steps = [r.steps for r in rows]
            axis.plot(steps, [r.p50_ms for r in rows], "o-", color=colour, label=f"{name}, p50")
            axis.plot(steps, [r.p95_ms for r in rows], "_", color=colour)
            axis.plot(steps, [r.bound_ms for r in rows], ":", color=colour, label=f"{name}, bound")
        axis.set(title=f"{count} view{'s' if count > 1 else ''}", xlabel="denoising steps")
        axis.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("latency [ms]")
    axes[0, 0].legend()
    figure.suptitle(f"{report.parameters / 1e6:.0f} M parameters, {report.machine.device}")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"plot: {path}")


def _parser() -> argparse.ArgumentParser:
    parser = bench_parser(__doc__, quick="small model, three steps")
    parser.add_argument(
        "--preset",
        choices=("evo1", "evo1_tiny"),
        default="evo1",
        help="evo1 (default): the paper's 0.78 billion parameters; evo1_tiny: a few million",
    )
    parser.add_argument(
        "--integration", choices=("A", "B", "C", "D"), default="A", help="default: A, as published"
    )
    parser.add_argument(
        "--device",
        nargs="+",
        choices=("cpu", "cuda"),
        default=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"],
        help="default: the CPU, and CUDA where there is one",
    )
    parser.add_argument(
        "--threads", type=_positive, help="CPU threads; without it the fastest number, measured"
    )
    parser.add_argument(
        "--views", type=_numbers, default=[2], help="present views, e.g. 1,2 (default 2)"
    )
    parser.add_argument(
        "--steps", type=_numbers, default=[50], help="denoising steps, e.g. 10,50 (default 50)"
    )
    parser.add_argument(
        "--runs", type=_positive, default=0, help="of each case (default: 2, on CUDA 50)"
    )
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="for each case, about (default 120)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the latencies, as PNG")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


def _numbers(text: str) -> list[int]:
    return sorted({_positive(part) for part in text.split(",")})


if __name__ == "__main__":
    raise SystemExit(main())
