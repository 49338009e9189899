"""What all benchmarks share: where things are, and the flat JSON file that they write into."""

import json
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRINGUP = ROOT / "src" / "evo1_bringup"
ROBOTS = BRINGUP / "robots"


def merge_figures(path: Path, figures: Mapping[str, float]) -> None:
    """Add flat figures (e.g. 'sim.camera_hz': 29.9) to a JSON file; it need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    present = json.loads(path.read_text()) if path.exists() else {}
    present.update({key: float(f"{value:.9g}") for key, value in figures.items()})
    path.write_text(json.dumps(dict(sorted(present.items())), indent=2) + "\n")
