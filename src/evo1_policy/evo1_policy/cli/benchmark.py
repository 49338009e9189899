"""benchmark: how long an inference takes on this machine. Must not import ROS."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evo1_policy.model.measurement import Report

_DESCRIPTION = """\
Measure how long one inference of Evo-1 takes here: by the readable path (the model as it is
written down) and by the fast path (what the policy runs), which give the same actions.
Weights and inputs are random; latency does not depend on them. No checkpoint is needed.
"""
_EPILOG = """\
columns
  p50, p95    median and 95th percentile of the latency; Hz = 1 / p50
  CPU ms      CPU time of all threads; hardly changed by what else the machine does
  vision ...  share of the image encoder, the language model and the denoising head
  GFLOP       arithmetic that the path needs
  bound       the least time that this machine's matrix product and memory, both measured at the
              start, allow for it; 'of bound' = bound / p50, 100 % is the roofline

A robot replans at most every p50. A chunk has 50 actions: at 30 Hz it lasts 1.7 s, and an
inference must be done well before that.

examples
  # the size that ships with the workspace: seconds
  benchmark
  # the paper's size, as on two cameras with 32 and 50 steps; minutes on a CPU, 3.5 GB of memory
  benchmark --preset evo1 --views 2 --steps 32,50 --runs 1
  # figures for a script, and a plot
  benchmark --json latency.json --plot latency.png
  # what an integration module of the paper's section 4.4.1 costs
  benchmark --integration D
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # Lazily: torch takes seconds, --help shall not.
    from evo1_policy.model.config import preset
    from evo1_policy.model.machine import MachineError, choose_device, choose_threads
    from evo1_policy.model.measurement import measure_model

    config = preset(options.preset)
    config = dataclasses.replace(
        config,
        semantics=dataclasses.replace(config.semantics, integration=options.integration),
    )
    views = options.views or list(range(1, config.views + 1))
    if max(views) > config.views:
        parser.error(f"--views: {options.preset} has {config.views} image slots")
    try:
        device = choose_device(options.device)
    except MachineError as error:
        parser.error(f"--device {error}")
    choose_threads(options.threads)
    report = measure_model(
        config,
        device=device,
        views=views,
        steps=options.steps or sorted({10, config.num_inference_steps, 50}),
        runs=options.runs,
        max_s=options.seconds,
    )
    sys.stdout.write(table(report))
    if options.json:
        data = {"preset": options.preset, "integration": options.integration}
        options.json.write_text(json.dumps(data | as_json(report), indent=2) + "\n")
    if options.plot:
        plot(report, options.plot)
        sys.stdout.write(f"plot: {options.plot}\n")
    return 0


def as_json(report: "Report") -> dict[str, object]:
    """The report as plain data; a share that cannot be told is null."""
    data = dataclasses.asdict(report)
    data["results"] = [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in result.items()
        }
        for result in data["results"]
    ]
    cases = {(result.views, result.steps) for result in report.results}
    data["speedup"] = [
        {"views": views, "steps": steps, "speedup": report.speedup(views, steps)}
        for views, steps in sorted(cases)
    ]
    return data


def table(report: "Report") -> str:
    """The report for reading."""
    machine = report.machine
    lines = [
        f"{report.parameters:,} parameters on {machine.device}, {machine.threads} CPU threads "
        f"(load average {report.load_average:.1f})",
        f"this machine: {machine.matmul_gflops:,.0f} GFLOP/s, {machine.bandwidth_gb_s:,.1f} GB/s",
        f"{'path':<10}{'views':>5}{'steps':>6}{'p50 ms':>10}{'p95 ms':>10}{'Hz':>8}"
        f"{'CPU ms':>10}{'vision':>8}{'language':>9}{'head':>6}{'GFLOP':>8}"
        f"{'bound ms':>10}{'of bound':>9}{'faster':>8}{'runs':>5}",
    ]
    for result in report.results:
        faster = ""
        if result.path == "fast":
            faster = f"{report.speedup(result.views, result.steps):.2f}x"
        lines.append(
            f"{result.path:<10}{result.views:>5}{result.steps:>6}{result.p50_ms:>10.1f}"
            f"{result.p95_ms:>10.1f}{result.hz:>8.2f}{result.cpu_ms:>10.1f}"
            f"{_percent(result.vision_share):>8}"
            f"{_percent(result.language_share):>9}{_percent(result.head_share):>6}"
            f"{result.gflop:>8.1f}{result.bound_ms:>10.1f}{_percent(result.roofline):>9}"
            f"{faster:>8}{result.runs:>5}"
        )
    lines.append(
        f"memory: {report.readable_memory_gb:.2f} GB readable, {report.fast_memory_gb:.2f} GB "
        f"fast; largest difference of the normalised actions: {report.max_abs_diff:.1e}"
    )
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def plot(report: "Report", path: Path) -> None:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmark",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--preset",
        choices=("evo1", "evo1_tiny"),
        default="evo1_tiny",
        help="evo1: the paper's 0.78 billion parameters; evo1_tiny (default): a few million",
    )
    parser.add_argument(
        "--integration", choices=("A", "B", "C", "D"), default="A", help="default: A, as published"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--threads", type=_positive, help="CPU threads; without it the fastest number, measured"
    )
    parser.add_argument(
        "--views", type=_numbers, help="present views, e.g. 1,2; default: 1 to all of them"
    )
    parser.add_argument(
        "--steps", type=_numbers, help="denoising steps, e.g. 10,50; default: 10, the preset's, 50"
    )
    parser.add_argument("--runs", type=_positive, default=20, help="of each case (default 20)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="for each case, about (default 60)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them there, as PNG")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


def _numbers(text: str) -> list[int]:
    return sorted({_positive(part) for part in text.split(",")})


if __name__ == "__main__":
    sys.exit(main())
