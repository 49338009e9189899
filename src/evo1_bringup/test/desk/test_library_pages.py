"""The pages of datasets, runs and recording in a real browser, over prepared folders."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from evo1_training.evaluation.logbook import LogBook

CHROMIUM = Path("/usr/bin/chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: no browser to ask")
pytest.importorskip("evo1_bringup.desk.app", reason="the desk's page is not there")
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser at {CHROMIUM}")


@pytest.fixture
def address(roots, serve):
    from evo1_bringup.desk.app import DeskSettings, create_app
    from evo1_bringup.desk.library import library_router

    run = roots.runs / "can" / "stage2"
    run.mkdir(parents=True)
    (run / "train.yaml").write_text("stage2: {steps: 40}\n")
    rows = [{"step": step, "loss": 1 / step} for step in (10, 20)]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    names = ["/policies/a", "/policies/b"]
    what = {"conditions": ["none"], "scenes": 1, "facts": {"task": "can"}}
    LogBook.begin(roots.trials / "cans.jsonl", policies=names, **what)
    return serve(create_app(DeskSettings(), None, library_router(roots, ThreadPoolExecutor(1))))


def film(roots, name):
    """The film of a take, as it would be made of its bag: one joint over two seconds."""
    from evo1_training.library.films import film_of
    from evo1_training.library.shelves import find_shelf

    (roots.episodes / name / f"{name}_0.mcap").write_bytes(b"")
    made = film_of(find_shelf(roots, "episodes", "."), name, roots.cache)
    made.facts.parent.mkdir(parents=True)
    curve = {"times": [0.0, 2.0], "values": [[0.0, 1.0]]}
    facts = {"name": name, "title": "", "remarks": [], "seconds": 2.0, "joints": ["elbow"]}
    facts |= {"state": curve, "action": curve, "times": [], "gaps": [], "begin_ns": 10**9}
    made.facts.write_text(json.dumps(facts))
    for path in (made.strip, made.thumbnail):
        Image.new("RGB", (12, 1)).save(path, "JPEG")


def score_two_trials(page):
    """By a person to whom the page tells no policy's name before the end."""
    page.locator("#books button", has_text="cans.jsonl").click()
    page.locator("#todo", has_text="trial 1 of 2").wait_for()
    assert "/policies/" not in page.locator("main").inner_text()
    page.locator("#solved").click()
    page.locator("#told", has_text="how many seconds").wait_for()
    page.locator("#seconds").fill("3.5")
    page.locator("#solved").click()
    page.locator("#todo", has_text="trial 2 of 2").wait_for()
    page.locator("#notes").fill("knocked it over")
    page.locator("#failed").click()
    page.locator("#book td", has_text="knocked it over").wait_for()
    page.locator("#unblind").click()
    page.locator("#unblind", has_text="End the scoring?").click()
    page.locator("#report", has_text="/policies/a").wait_for()


def test_takes_are_marked_a_run_is_watched_trials_are_scored_and_text_stays_text(
    address, roots, markup
):
    film(roots, "episode_000003")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        said, broken = [], []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
        page.goto(f"{address}/#record")
        page.locator("#takes article").nth(3).wait_for()
        page.get_by_role("button", name="Open").first.click()
        page.locator(".line").fill("1.5")
        page.get_by_role("button", name="Trim what is after").click()
        page.locator(".line").fill("0.5")
        page.locator("#words_of_span").fill("put it down")
        page.get_by_role("button", name="This from here on").click()
        page.locator("#save_marks").click()
        page.locator("#told", has_text="3 spans").wait_for()
        told = json.loads((roots.episodes / "episode_000003/episode.json").read_text())
        assert told["facts"]["instruction"] == markup
        assert told["outcome"]["labels"] == [
            {"from_ns": 1_500_000_000, "instruction": "put it down"},
            {"from_ns": 2_500_000_000, "instruction": ""},
        ]
        page.goto(f"{address}/#datasets")
        page.locator("#episodes article").nth(3).wait_for()
        assert page.locator("#episodes .what").last.text_content() == markup
        for place in (0, 1):
            page.locator("#episodes input[type=checkbox]").nth(place).check()
        page.locator("button[data-what=delete]").click()
        assert len(list(roots.episodes.glob("episode_*"))) == 4
        page.locator("button[data-what=delete]", has_text="Move 2 to the trash?").click()
        page.locator("#count", has_text="2 episodes").wait_for()
        page.goto(f"{address}/#runs")
        page.locator("#runs button", has_text="can/stage2").click()
        page.locator("figcaption", has_text="loss: 0.05").wait_for()
        score_two_trials(page)
        assert LogBook(roots.trials / "cans.jsonl").opened
        assert page.locator("main img[src='x']").count() == 0
        assert (said, broken) == ([], [])  # a browser's dialog would stand before STOP
        browser.close()
