"""The paper's comparisons on one of our tasks: what each choice of training is worth.

    python scripts/study.py --dataset DIR [--seeds 0 1 2] [--only two_stages single_stage ...]

Trains every variant with every seed, evaluates each on the same unseen scenes, and prints a table
with Wilson intervals over all trials of a variant. Finished runs are not done again. On the CPU a
run of the tiny preset takes about an hour, on a GPU minutes.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo1_training.evaluation.outcomes import wilson_interval

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train.

    Attributes:
        question: what it is compared for.
        stages: of the training, in order.
        choices: of the command line.
    """

    question: str
    stages: tuple[str, ...] = ("--stage 1", "--stage 2")
    choices: tuple[str, ...] = ()


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
    "no_milestones": Variant(
        question="without the loss on milestones", choices=("milestone_weight=0",)
    ),
    "patch_stem": Variant(
        question="patches instead of convolutions", choices=("model.vision.stem=patch",)
    ),
}


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "study")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--trials", type=int, default=100, help="of each run [100]")
    parser.add_argument(
        "--choices", nargs="*", default=[], metavar="KEY=VALUE", help="for all, such as steps=6000"
    )
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    for name in options.only:
        for seed in options.seeds:
            results.setdefault(name, []).append(_run(name, seed, options))
            _write(results, options.out)


def _run(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one variant with one seed; returns the condition's numbers."""
    variant, out = VARIANTS[name], options.out / f"{name}_{seed}"
    out.mkdir(parents=True, exist_ok=True)
    numbers = out / "evaluation.json"
    if not numbers.is_file():
        common = ["--name", "study", "--dataset", options.dataset, "--runs", out, f"seed={seed}"]
        common += [f"data.cache_dir={options.out / 'frames'}", *variant.choices, *options.choices]
        for stage in variant.stages:
            _call("train", *stage.split(), *common)
        last = "single" if variant.stages[-1] == "--single-stage" else "stage2"
        policy = out / "study" / last / "last"
        _call(
            "evaluate", "--checkpoint", policy, "--trials", options.trials, "--seed", 2,
            "--json", numbers,
        )  # fmt: skip
    condition: dict[str, Any] = json.loads(numbers.read_text())["conditions"][0]
    return condition


def _call(command: str, *arguments: object) -> None:
    words = [sys.executable, "-m", f"evo1_training.cli.{command}", *map(str, arguments)]
    print("+", " ".join(words[1:]), flush=True)
    subprocess.run(words, check=True)


def _write(results: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """Print the table, and keep it as Markdown."""
    lines = [
        "| variant | seeds | solved | rate | 95 % interval | compared for |",
        "|---" * 6 + "|",
    ]
    for name, runs in results.items():
        solved, trials = (sum(run[key] for run in runs) for key in ("successes", "trials"))
        low, high = wilson_interval(solved, trials)
        each = ", ".join(f"{run['success_rate']:.0%}" for run in runs)
        lines.append(
            f"| {name} | {each} | {solved}/{trials} | {solved / trials:.0%} | {low:.0%} to "
            f"{high:.0%} | {VARIANTS[name].question} |"
        )
    text = "\n".join(lines) + "\n"
    (out / "study.md").write_text(text)
    print(text, flush=True)


if __name__ == "__main__":
    main()
