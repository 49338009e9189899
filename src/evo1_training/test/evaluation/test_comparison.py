"""Recipes by their trainings, and a log book that survives a kill."""

import base64
import json

import pytest

from evo1_training.cli.promote import judge
from evo1_training.cli.promote import main as promote
from evo1_training.cli.trials import main as trials
from evo1_training.evaluation.comparison import better_p, compare_recipes, recipe_lines
from evo1_training.evaluation.logbook import LogBook
from evo1_training.evaluation.outcomes import Evaluation, EvaluationError, Trial, TrialOutcome
from evo1_training.evaluation.report import read_evaluations, write_json


def solving(policy, scenes, count=20):
    outcomes = tuple(
        TrialOutcome(
            trial=Trial(disturbance="none", seed=k),
            success=k in scenes,
            seconds=1.0,
            ended="solved" if k in scenes else "time_up",
            detail="",
            instruction="go",
            choice="told",
        )
        for k in range(count)
    )
    return Evaluation(facts={"policy": str(policy), "task": "t"}, outcomes=outcomes)


def test_recipes_are_judged_by_trainings_and_not_by_trials_thrown_together(tmp_path):
    first = [solving("a", range(n)) for n in (4, 16)]
    second = [solving("b", range(n)) for n in (8, 18)]
    (found,) = compare_recipes(first, second, resamples=2000)
    assert found.rates == ((0.2, 0.8), (0.4, 0.9))
    assert found.difference == pytest.approx(0.15)
    # 40 trials a side thrown together would say -0.06 to 0.36; two trainings cannot.
    assert found.low < -0.3
    assert found.high > 0.5
    assert recipe_lines([found])[0] == "none: first recipe: 50% (20%, 80%)"
    assert "so few trainings make it too narrow" in recipe_lines([found])[2]
    write_json(tmp_path / "it.json", [*first, *second], [found])
    told = json.loads((tmp_path / "it.json").read_text())
    assert told["comparisons"][0]["rates"] == [[0.2, 0.8], [0.4, 0.9]]


def test_trainings_that_are_alike_leave_only_the_scenes():
    (found,) = compare_recipes([solving("a", range(10))] * 3, [solving("b", range(10))] * 3)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)


def test_one_training_or_other_scenes_say_nothing_of_a_recipe():
    one, other = solving("a", range(4)), solving("b", range(4), count=19)
    with pytest.raises(EvaluationError, match="two trainings or more"):
        compare_recipes([one], [one])
    with pytest.raises(EvaluationError, match="on other scenes"):
        compare_recipes([one, one], [one, other])


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [(5, 0, 1 / 32), (4, 0, 1 / 16), (0, 0, 1.0), (0, 3, 1.0), (9, 1, 11 / 1024)],
)
def test_the_one_sided_p_of_known_counts(won, lost, p):
    assert better_p(won, lost) == pytest.approx(p)


def test_an_evaluation_comes_back_from_its_file(tmp_path):
    both = [solving("a", {1, 2}), solving("b", {3})]
    for some in (both[:1], both):
        write_json(tmp_path / "it.json", some)
        assert read_evaluations(tmp_path / "it.json") == tuple(some)
    (tmp_path / "it.json").write_text('{"trials": [{"seed": 3}]}')
    with pytest.raises(EvaluationError, match=r"it\.json: no numbers of an evaluation"):
        read_evaluations(tmp_path / "it.json")


@pytest.fixture
def policies(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    return tmp_path / "old", tmp_path / "new"


def test_only_a_better_policy_becomes_the_current_one(tmp_path, policies, capsys):
    old, new = policies
    link, numbers = tmp_path / "runs" / "current", tmp_path / "it.json"
    words = ["--current", str(link), "--evaluation", str(numbers)]
    assert promote([str(old), "--current", str(link)]) == 0
    assert promote([str(new), "--current", str(link)]) == 1
    assert "show by --evaluation FILE that this is better" in capsys.readouterr().err
    write_json(numbers, [solving(old, range(10)), solving(new, range(14))])
    assert promote([str(new), *words]) == 3
    assert "refused: not better at 95% (p 0.062)" in capsys.readouterr().err
    assert link.resolve() == old
    assert promote([str(new), *words, "--confidence", "0.9"]) == 0
    assert link.resolve() == new
    said = [json.loads(line) for line in link.with_name("current.jsonl").read_text().splitlines()]
    assert [one["policy"] for one in said] == [str(old), str(new)]
    assert (said[1]["verdict"]["won"], said[1]["verdict"]["lost"]) == (4, 0)


def test_a_policy_that_was_not_tried_is_not_judged(policies):
    old, new = policies
    with pytest.raises(EvaluationError, match="was not tried there, but elsewhere"):
        judge([solving("elsewhere", range(3))], old, new)


def begun(path, **what):
    what = {"conditions": ["none", "lamp"], "scenes": 3, "facts": {"task": "can"}, **what}
    return LogBook.begin(path, policies=["/p/a", "/p/b"], seed=4, **what)


def test_every_scene_meets_all_policies_in_a_row_and_the_names_are_hidden(tmp_path):
    book = begun(tmp_path / "book.jsonl")
    blocks = [book.order[k : k + 2] for k in range(0, 12, 2)]
    assert all(a.scene == b.scene and a.condition == b.condition for a, b in blocks)
    assert all(a.name != b.name for a, b in blocks)
    assert len({(a.scene, a.condition) for a, _ in blocks}) == 6
    text = (tmp_path / "book.jsonl").read_text()
    assert "/p/a" not in text
    assert "/p/a" in base64.b64decode(json.loads(text)["sealed"]).decode()
    with pytest.raises(EvaluationError, match="is there already"):
        begun(tmp_path / "book.jsonl")


def test_a_killed_book_loses_at_most_the_line_that_was_being_written(tmp_path):
    path = tmp_path / "book.jsonl"
    book = begun(path)
    book.score(1, solved=True, seconds=9.5, notes="ölig", video="take1.mp4")
    whole = path.read_bytes()
    for cut in range(len(whole) - 20, len(whole)):
        path.write_bytes(whole[:cut])
        assert len(LogBook(path).left) == 12
    after = LogBook(path)
    after.score(1, solved=False, seconds=0.0)
    after.score(2, solved=True, seconds=3.0)
    assert [one.number for one in LogBook(path).left] == list(range(3, 13))
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_the_names_are_told_at_the_end_with_the_report_of_evaluate(tmp_path, capsys, monkeypatch):
    path, numbers = tmp_path / "book.jsonl", tmp_path / "numbers.json"
    words = ["--policy", "a", "--policy", "b", "--scenes", "2", "--task", "can"]
    assert trials(["new", str(path), *words]) == 0
    book = LogBook(path)
    for planned in book.order[:-1]:
        what = "solved" if book.checkpoint(planned.name).endswith("/b") else "failed"
        assert trials(["score", str(path), what, "--seconds", "7"]) == 0
    assert trials(["report", str(path)]) == 1
    assert "1 trials are left" in capsys.readouterr().err
    answers = iter(["x", "s" if book.checkpoint(book.order[-1].name).endswith("/b") else "f"])
    monkeypatch.setattr("builtins.input", lambda text: next(answers, "8"))
    assert trials(["ask", str(path)]) == 0
    assert trials(["report", str(path), "--json", str(numbers)]) == 0
    first, second = read_evaluations(numbers)
    assert (first.conditions[0].successes, second.conditions[0].successes) == (0, 2)
    assert str(second.facts["policy"]).endswith("/b")
    assert "McNemar's exact p 0.500" in capsys.readouterr().out
    assert trials(["score", str(path), "solved", "--number", "1"]) == 1
    assert "scoring is over" in capsys.readouterr().err
