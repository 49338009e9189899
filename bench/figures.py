"""What all benchmarks share: where things are, their options, and the JSON file of figures."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRINGUP = ROOT / "src" / "evo1_bringup"
ROBOTS = BRINGUP / "robots"


def bench_parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """A parser of what every benchmark takes: --json and --quick; `quick` says what that does."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file to merge the figures into")
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def print_figures(figures: Mapping[str, float], digits: int = 3) -> None:
    """One line a figure."""
    for name, value in figures.items():
        print(f"  {name:<40}{value:12.{digits}f}")


def merge_figures(path: Path | None, figures: Mapping[str, float]) -> None:
    """Add flat figures (e.g. 'sim.camera_hz': 29.9) to a JSON file; it need not exist yet.

    Args:
        path: of the file; None writes nothing.
        figures: what to add.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    present = json.loads(path.read_text()) if path.exists() else {}
    present.update({key: float(f"{value:.9g}") for key, value in figures.items()})
    path.write_text(json.dumps(dict(sorted(present.items())), indent=2) + "\n")
