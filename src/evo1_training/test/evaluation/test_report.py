import json

from evo1_training.evaluation.outcomes import Evaluation, Trial, TrialOutcome
from evo1_training.evaluation.report import page, write_report


def evaluation(task="can_into_box"):
    return Evaluation(
        facts={"task": task, "policy": "<mine>", "execute_actions": None},
        outcomes=(
            TrialOutcome(
                trial=Trial(disturbance="back10", seed=1_000_000),
                success=False,
                seconds=30.0,
                ended="time_up",
                detail="the can is <not> within the walls",
                instruction="push it",
                video="videos/back10_1000000.mp4",
                thumbnails=(b"start", b"end"),
            ),
        ),
    )


def test_the_report_is_a_page_and_its_numbers(tmp_path):
    path = write_report(tmp_path / "new", evaluation())
    assert sorted(item.name for item in path.parent.iterdir()) == ["evaluation.json", "index.html"]
    assert json.loads((path.parent / "evaluation.json").read_text())["trials"][0]["seed"] == 10**6


def test_the_page_shows_the_trial_with_pictures_and_video():
    text = page(evaluation())
    assert text.count("data:image/jpeg;base64,") == 2
    assert 'href="videos/back10_1000000.mp4"' in text
    assert "Target 10 mm backward" in text


def test_the_page_escapes_what_it_shows():
    text = page(evaluation())
    assert "&lt;mine&gt;" in text
    assert "&lt;not&gt;" in text
    assert "execute" not in text
    assert "<th>instruction</th><td>push it</td>" in text


def test_the_papers_figures_stand_only_beside_the_papers_task():
    assert "95%</td><td>time_up 1" in page(evaluation())
    assert "paper" not in page(evaluation("cube_into_box"))
