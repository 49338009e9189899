"""The recipes of the policies that ship, as commands; nothing is trained here."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from make_shipped_policies import PHRASINGS, Maker
from shipped_policies.recipes import RECIPES

from evo1_sim.tasks import tasks_of

NAMED = {recipe.name: recipe for recipe in RECIPES}


@pytest.mark.parametrize("name", ["xarm6_four", "so100_varied"])
def test_each_task_of_a_varied_recipe_has_several_phrasings_and_no_two_tasks_share_one(
    name: str,
) -> None:
    recipe = NAMED[name]
    phrasings = yaml.safe_load((PHRASINGS / f"{name}.yaml").read_text())
    words = {task.name: task.instruction for task in tasks_of(recipe.robot)}
    assert set(phrasings) == {words[task] for task in recipe.tasks}
    every = [said for task, all_said in phrasings.items() for said in all_said]
    assert len(every) == len(set(every)) >= 3 * len(phrasings)


def test_a_varied_recipe_goes_on_where_it_was_and_records_varied_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(Maker, "_run", lambda self, *words: ran.append([*map(str, words)]))
    (tmp_path / "so100_varied").mkdir()
    for begin in range(0, 380, 20):
        (tmp_path / "so100_varied" / f"converted_cube_into_box_{begin:05d}").touch()
    Maker(NAMED["so100_varied"], tmp_path, workers=1).demonstrate()
    recorded, converted = ran
    assert recorded[recorded.index("--seed") + 1] == "319000"
    assert recorded[recorded.index("--episodes") + 1] == "20"
    assert recorded[-3:] == ["--vary", "--workers", "1"]
    assert converted[0] == "convert"
