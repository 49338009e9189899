"""Episodes as they are browsed: lists, films, what a person changes; runs and their numbers."""

import json
import os
import shlex

import pytest
from bag_writing import steady, write_episode
from PIL import Image

from evo1_training.cli.edit_dataset import _parser
from evo1_training.datasets.episode_plan import frames, plan_episode
from evo1_training.library import changes, runs
from evo1_training.library.films import bound, episode_facts, make_film
from evo1_training.library.shelves import (
    LibraryError,
    Roots,
    Shelf,
    cards,
    find_episode,
    find_shelf,
    shelves,
)
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import read_sidecar
from evo1_training.training.watching import read_numbers


@pytest.fixture
def roots(tmp_path):
    return Roots(
        episodes=tmp_path / "episodes",
        datasets=tmp_path / "datasets",
        runs=tmp_path / "runs",
        cache=tmp_path / "cache",
    )


def recorded(roots, *numbers):
    for number in numbers:
        write_episode(roots.episodes / f"episode_{number:06d}", steady(1.0))
    return find_shelf(roots, "episodes", ".")


def test_recordings_are_listed_newest_first_and_read_once(roots):
    shelf = recorded(roots, 0, 1)
    assert [one.name for one in cards(shelf, roots.cache)] == ["episode_000001", "episode_000000"]
    assert {one.instruction for one in cards(shelf, roots.cache)} == {"pick"}
    (kept,) = (roots.cache / "lists").iterdir()
    before = kept.stat().st_mtime_ns
    cards(shelf, roots.cache)
    assert kept.stat().st_mtime_ns == before
    assert [one.kind for one in shelves(roots)] == ["episodes"]


@pytest.mark.parametrize("name", ["..", "../episodes", "/etc", "a\x00", "none"])
def test_a_name_from_a_browser_leads_nowhere_else(roots, name):
    shelf = recorded(roots, 0)
    with pytest.raises(LibraryError):
        find_shelf(roots, "episodes", name)
    with pytest.raises(LibraryError):
        find_episode(shelf, name)
    with pytest.raises(LibraryError):
        runs.run_folder(roots.runs, name)


def test_a_film_has_a_picture_every_while_and_the_joints(roots):
    shelf = recorded(roots, 3)
    film = make_film(shelf, "episode_000003", roots.cache)
    facts = episode_facts(shelf, "episode_000003", film, roots.cache)
    width, height = facts["cell"]
    assert Image.open(film.strip).size == (12 * width, 2 * height)
    assert facts["joints"] == ["elbow", "finger"]
    assert len(facts["state"]["values"]) == 2
    assert facts["labels"] == ((0.0, "pick"),)
    made = film.facts.stat().st_mtime_ns
    assert make_film(shelf, "episode_000003", roots.cache).facts.stat().st_mtime_ns == made


def test_the_oldest_films_make_room(roots):
    shelf = recorded(roots, 0, 1)
    first, second = (make_film(shelf, f"episode_00000{k}", roots.cache) for k in (0, 1))
    os.utime(first.strip, ns=(0, 0))
    size = sum(path.stat().st_size for path in roots.cache.rglob("*") if path.is_file())
    bound(roots.cache, size)
    assert (first.there, second.there) == (True, True)
    bound(roots.cache, size - 1)
    assert [path.exists() for path in (first.facts, first.strip, first.thumbnail)] == [False] * 3
    assert (second.there, second.strip.is_file()) == (True, True)


def test_spans_are_labels_that_converting_reads(roots):
    shelf = recorded(roots, 0)
    name = "episode_000000"
    film = make_film(shelf, name, roots.cache)
    begin_ns = episode_facts(shelf, name, film, roots.cache)["begin_ns"]
    changes.mark(shelf, name, begin_ns, [(0.5, "place"), (0.0, "grasp")])
    sidecar = read_sidecar(shelf.path / name)
    assert sidecar.instruction_at(begin_ns + 499_999_999) == "grasp"
    assert sidecar.instruction_at(begin_ns + 500_000_001) == "place"
    facts = episode_facts(shelf, name, film, roots.cache)
    assert facts["labels"] == ((0.0, "grasp"), (0.5, "place"))
    with pytest.raises(LibraryError, match="expected spans from 0 on"):
        changes.mark(shelf, name, begin_ns, [(0.5, "place")])
    with pytest.raises(LibraryError, match="nothing would be left of it"):
        changes.mark(shelf, name, begin_ns, [(0.0, "")])


def test_what_is_marked_without_words_is_left_out_by_converting(roots):
    shelf = recorded(roots, 0)
    name = "episode_000000"
    film = make_film(shelf, name, roots.cache)
    begin_ns = episode_facts(shelf, name, film, roots.cache)["begin_ns"]
    spans = [(0.0, ""), (0.2, "grasp"), (0.4, ""), (0.5, "place"), (0.8, "")]
    changes.mark(shelf, name, begin_ns, spans)
    assert episode_facts(shelf, name, film, roots.cache)["labels"] == tuple(spans)
    for gaps in ("auto", "hold", "refuse"):
        episode = open_episode(shelf.path / name)
        plan = plan_episode(episode, gaps=gaps)
        shown = [[frame.instruction for frame in frames(episode, plan, k)] for k in (0, 1)]
        assert shown == [["grasp"] * 6, ["place"] * 9]
        assert (plan.gaps, plan.problems[0]) == ((), "15 frames left out, as marked")
    changes.relabel(shelf, [name], "pick")
    assert episode_facts(shelf, name, film, roots.cache)["labels"] == tuple(
        (begin_s, words and "pick") for begin_s, words in spans
    )


def test_many_are_named_anew_and_told_who_demonstrated(roots):
    shelf = recorded(roots, 0, 1)
    names = ["episode_000000", "episode_000001"]
    changes.relabel(shelf, names, " put <b>it</b> down ")
    changes.demonstrated_by(shelf, names, "Ada")
    told = {(one.instruction, one.operator) for one in cards(shelf, roots.cache)}
    assert told == {("put <b>it</b> down", "Ada")}
    with pytest.raises(LibraryError, match="empty"):
        changes.relabel(shelf, names, " ")


def test_deleted_episodes_are_in_the_trash_together(roots):
    shelf = recorded(roots, 0, 1, 2)
    changes.delete(shelf, ["episode_000000", "episode_000002"])
    assert [one.name for one in cards(shelf, roots.cache)] == ["episode_000001"]
    (place,) = (roots.episodes / ".trash").iterdir()
    assert len(list(place.iterdir())) == 2


def test_a_running_take_is_left_alone(roots):
    write_episode(roots.episodes / "episode_000000", steady(1.0), grade=None)
    shelf = find_shelf(roots, "episodes", ".")
    with pytest.raises(LibraryError, match="still runs, or was cut off"):
        changes.delete(shelf, ["episode_000000"])


def test_a_dataset_is_changed_by_a_command_that_edit_dataset_takes(tmp_path):
    shelf = Shelf(kind="datasets", name="cans", path=tmp_path / "my cans")
    line = changes.edit_command(
        shelf,
        changes.DatasetEdit(
            delete=frozenset({3, 7, 8, 9}),
            tasks={1: "pick 'it' up", 2: "pick 'it' up"},
            trims={5: (10, 200)},
            splits={4: (300, 120)},
        ),
    )
    words = shlex.split(line)
    options = _parser().parse_args(words[words.index(str(shelf.path)) :])
    assert options.delete == {3, 7, 8, 9}
    assert options.task == [({1, 2}, "pick 'it' up")]
    assert options.trim == [(5, (10, 200))]
    assert options.split == [(4, (120, 300))]
    with pytest.raises(LibraryError, match="nothing is chosen"):
        changes.edit_command(shelf, changes.DatasetEdit())


def test_numbers_of_a_run_are_read_as_they_come(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5, "note": "x"}\n{"step": 2, "lo')
    rows, place = read_numbers(path)
    assert rows == [{"step": 1.0, "loss": 2.5}]
    with path.open("a") as file:
        file.write('ss": NaN}\n')
    assert read_numbers(path, after=place)[0] == [{"step": 2.0}]
    assert read_numbers(path, after=10**9)[0][0]["step"] == 1.0


def test_a_run_shows_its_curves_and_how_far_it_is(roots):
    folder = roots.runs / "can" / "stage2"
    folder.mkdir(parents=True)
    (folder / "train.yaml").write_text("stage2: {steps: 40}\n")
    (folder / "metrics.jsonl").write_text('{"step": 10, "loss": 1.5}\n{"step": 20, "loss": 1}\n')
    (folder / "summary.md").write_text("fine\x1b[2J\n")
    (card,) = runs.runs(roots.runs)
    assert (card.name, card.step, card.steps, card.running) == ("can/stage2", 20, 40, True)
    facts = runs.run_facts(roots.runs, "can/stage2")
    assert facts["curves"] == {"loss": [[10, 1.5], [20, 1]]}
    assert "\x1b" not in facts["summary"]
    assert runs.run_facts(roots.runs, "can/stage2", after=facts["next"])["curves"] == {}


def test_reports_are_found_below_the_runs(roots):
    folder = roots.runs / "can" / "report"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("<p>")
    told = {"task": "can", "conditions": [{"disturbance": "none", "successes": 4, "trials": 5}]}
    (folder / "evaluation.json").write_text(json.dumps(told))
    better = roots.runs / "better"  # of improve
    better.mkdir()
    (better / "index.html").write_text("<p>")
    (better / "choices.json").write_text('{"task": "can", "condition": "lamp", "trials": 20}')
    assert {(card.name, card.kind, card.title) for card in runs.reports(roots)} == {
        ("can/report", "evaluation", "can, none 4/5"),
        ("better", "improvement", "can, lamp"),
    }
