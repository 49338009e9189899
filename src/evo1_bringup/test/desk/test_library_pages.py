"""The pages of datasets, runs and recording in a real browser, over prepared folders."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
    return serve(create_app(DeskSettings(), None, library_router(roots, ThreadPoolExecutor(1))))


def test_two_takes_are_deleted_and_a_run_is_watched_and_text_stays_text(address, markup):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        said, broken = [], []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
        page.goto(f"{address}/#record")
        page.locator("#takes article").nth(3).wait_for()
        page.goto(f"{address}/#datasets")
        page.locator("#episodes article").nth(3).wait_for()
        assert page.locator("#episodes .what").first.text_content() == markup
        for place in (0, 1):
            page.locator("#episodes input[type=checkbox]").nth(place).check()
        page.locator("button[data-what=delete]").click()
        page.locator("#count", has_text="2 episodes").wait_for()
        page.goto(f"{address}/#runs")
        page.locator("#runs button", has_text="can/stage2").click()
        page.locator("figcaption", has_text="loss: 0.05").wait_for()
        assert page.locator("main img[src='x']").count() == 0
        assert said == ["Move 2 episodes to the trash?"]
        assert broken == []
        browser.close()
