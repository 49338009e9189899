"""A LeRobot dataset on the shelf: its cards, its film, and findings beside their episode."""

import dataclasses
import json

import pytest
from converting import episodes

from evo1_training.cli.convert import main
from evo1_training.datasets.reader.problems import Findings
from evo1_training.library.films import episode_facts, film_of, make_film
from evo1_training.library.shelves import (
    LibraryError,
    Roots,
    cards,
    find_shelf,
    findings_path,
    shelves,
)


def test_a_dataset_shows_its_episodes_and_what_was_found_where(tmp_path):
    roots = Roots(
        episodes=tmp_path / "none",
        datasets=tmp_path / "datasets",
        runs=tmp_path / "runs",
        cache=tmp_path / "cache",
    )
    recorded = episodes(tmp_path / "recorded", 2)
    assert main([str(recorded), "--to", str(roots.datasets / "red/can"), "--format", "v2.1"]) == 0
    assert [(one.kind, one.name) for one in shelves(roots)] == [("datasets", "red/can")]
    shelf = find_shelf(roots, "datasets", "red/can")
    assert [(one.name, one.instruction) for one in cards(shelf, roots.cache)] == [
        ("0", "task 0"),
        ("1", "task 1"),
    ]
    found = Findings()
    found.add("black-frames", "episode 1", "5 black frames", episode=1, frame=7)
    path = findings_path(shelf, roots.cache)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"findings": [dataclasses.asdict(one) for one in found]}))
    assert [one.grade for one in cards(shelf, roots.cache)] == ["", "warning"]
    film = make_film(shelf, "1", roots.cache)
    facts = episode_facts(shelf, "1", film, roots.cache)
    assert facts["findings"][0]["frame"] == 7
    assert facts["labels"] == [[0.0, "task 1"]]
    with pytest.raises(LibraryError, match=r"no episode 2; there are 0 \.\. 1"):
        film_of(shelf, "2", roots.cache)
