"""The paper's comparisons on one of our tasks: what each choice of training is worth.

    python scripts/study.py --dataset DIR [--seeds 0 1 2] [--only two_stages single_stage ...]

Trains every variant with every seed, evaluates each on the same unseen scenes, and writes a table
with the mean and the range over the seeds. Trials of one policy tell of that policy; what a recipe
is worth, only trainings with several seeds tell, and each of them counts once. A run's numbers are
kept in `--results`; runs whose numbers are there are not done again, so several machines or days
can share the work: copy the files together. On one core of a CPU a run of the tiny preset takes
about a quarter of an hour.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ("trials", "successes", "success_rate", "seconds_to_success_median", "failures")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train.

    Attributes:
        question: what it is compared for.
        stages: of the training, in order.
        choices: of the command line; they win over those for all variants.
    """

    question: str
    stages: tuple[str, ...] = ("--stage 1", "--stage 2")
    choices: tuple[str, ...] = ()


HORIZON_16 = ("model.horizon=16", "model.execute_actions=12")
VARIANTS = {
    "two_stages": Variant(question="baseline: two stages, integration A, clean chunk"),
    "single_stage": Variant(
        question="two stages against one (the paper's 4.4.2)", stages=("--single-stage",)
    ),
    "integration_D": Variant(
        question="integration A against D (the paper's 4.4.1)",
        choices=("model.semantics.integration=D",),
    ),
    "velocity": Variant(
        question="clean chunk against velocity", choices=("model.semantics.prediction=velocity",)
    ),
    # The head pools to 128 numbers: the noise in a velocity fits through, 16 actions of 7 joints.
    "horizon_16": Variant(question="clean chunk, horizon 16", choices=HORIZON_16),
    "horizon_16_long": Variant(
        question="clean chunk, horizon 16, three times the steps",
        choices=(*HORIZON_16, "stage2.steps=6000"),
    ),
    "horizon_16_velocity": Variant(
        question="clean chunk against velocity, horizon 16, three times the steps",
        choices=(*HORIZON_16, "model.semantics.prediction=velocity", "stage2.steps=6000"),
    ),
    "fp32": Variant(question="baseline without bf16", choices=("precision=fp32",)),
    "no_milestones": Variant(
        question="without the loss on milestones", choices=("milestone_weight=0",)
    ),
    "patch_stem": Variant(
        question="patches instead of convolutions", choices=("model.vision.stem=patch",)
    ),
}


def main() -> None:
    """Train, evaluate, print."""
    options = _parser().parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:  # outside: an unfinished study has whole seeds of every variant
        for name in options.only:
            if not _numbers(name, seed, options).is_file():
                _run(name, seed, options)
            print(_table(options.results), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "out" / "study", help="for runs [out/study]"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "docs" / "study",
        help="for a JSON file of each run, and the table [docs/study]",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--trials", type=int, default=100, help="of each run [100]")
    parser.add_argument("--workers", type=int, default=0, help="of the evaluation [one a core]")
    parser.add_argument(
        "--choices", nargs="*", default=[], metavar="KEY=VALUE", help="for all, such as steps=6000"
    )
    return parser


def _numbers(name: str, seed: int, options: argparse.Namespace) -> Path:
    """Where a run's numbers are kept."""
    path: Path = options.results / f"{name}_{seed}.json"
    return path


def _run(name: str, seed: int, options: argparse.Namespace) -> None:
    """Train and evaluate one variant with one seed; its numbers are kept."""
    variant, out = VARIANTS[name], options.out / f"{name}_{seed}"
    out.mkdir(parents=True, exist_ok=True)
    common = ["--name", "study", "--dataset", options.dataset, "--runs", out, f"seed={seed}"]
    common += [f"data.cache_dir={options.out / 'frames'}", *options.choices, *variant.choices]
    for stage in variant.stages:
        _call("train", *stage.split(), *common)
    last = "single" if variant.stages[-1] == "--single-stage" else "stage2"
    run, evaluation = out / "study" / last, out / "evaluation.json"
    workers = ["--workers", options.workers] if options.workers else []
    # Without smoothing, as all runs in docs/study: most are from before there was any.
    _call(
        "evaluate", "--checkpoint", run / "last", "--trials", options.trials, "--seed", 2,
        "--smoothing-rad", 0, "--json", evaluation, *workers,
    )  # fmt: skip
    condition = json.loads(evaluation.read_text())["conditions"][0]
    found = {
        "variant": name,
        "seed": seed,
        "choices": [*options.choices, *variant.choices],
        **{key: condition[key] for key in KEPT},
        "held_out_error": _curve(run / "metrics.jsonl"),
    }
    _numbers(name, seed, options).write_text(json.dumps(found, indent=1) + "\n")


def _curve(metrics: Path) -> dict[str, float]:
    """Held-out open-loop error, of the normalised range, by step."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    key = "open_loop/normalised"
    return {str(row["step"]): round(row[key], 5) for row in rows if key in row}


def _call(command: str, *arguments: object) -> None:
    words = [sys.executable, "-m", f"evo1_training.cli.{command}", *map(str, arguments)]
    print("+", " ".join(words[1:]), flush=True)
    subprocess.run(words, check=True)


def _table(results: Path) -> str:
    """The table of all numbers that are kept; also written, as Markdown."""
    lines = [
        "| variant | each seed | mean | range | less the baseline, seed by seed | held-out error "
        "| compared for |",
        "|---" * 7 + "|",
    ]
    base: dict[int, float] = {}  # rates of the first variant by seed
    for name, variant in VARIANTS.items():
        runs: list[dict[str, Any]] = [
            json.loads(path.read_text()) for path in sorted(results.glob(f"{name}_[0-9]*.json"))
        ]
        if not runs:
            continue
        rates = {run["seed"]: run["success_rate"] for run in runs}
        each = ", ".join(f"{rate:.0%}" for rate in rates.values())
        less = ", ".join(f"{rate - base[k]:+.0%}" for k, rate in rates.items() if k in base)
        errors = ", ".join(f"{list(run['held_out_error'].values())[-1]:.4f}" for run in runs)
        lines.append(
            f"| {name} | {each} | {statistics.mean(rates.values()):.0%} | "
            f"{min(rates.values()):.0%} to {max(rates.values()):.0%} | {less} | {errors} | "
            f"{variant.question} |"
        )
        base = base or rates
    text = "\n".join(lines) + "\n"
    (results / "study.md").write_text(text)
    return text


if __name__ == "__main__":
    main()
