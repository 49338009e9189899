"""The study's table: a seed counts once, however many trials it has."""

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "study.py"


def test_the_table_has_mean_and_range_of_the_seeds_beside_the_baselines(
    tmp_path: Path,
) -> None:
    study = runpy.run_path(str(SCRIPT))
    rates = {"two_stages": (0.5, 0.7), "single_stage": (0.6, 0.9)}
    for name, seeds in rates.items():
        for seed, rate in enumerate(seeds):
            numbers = {"seed": seed, "success_rate": rate, "held_out_error": {"1": 0.04}}
            (tmp_path / f"{name}_{seed}.json").write_text(json.dumps(numbers))
    lines = study["_table"](tmp_path).splitlines()
    assert lines[2].startswith("| two_stages | 50%, 70% | 60% | 50% to 70% |  | 0.0400, 0.0400 |")
    assert lines[3].startswith("| single_stage | 60%, 90% | 75% | 60% to 90% | +10%, +20% |")
    assert (tmp_path / "study.md").is_file()
