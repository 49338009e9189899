"""Who may see and do what at the desk, and the page in a real browser over a robot fed by hand."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="no fastapi: no desk")
from fastapi import APIRouter

from evo1_bringup.desk.app import DeskSettings, create_app, refusal
from evo1_bringup.desk.robot_side import ACTIONS, LEASE_S, Lease, Picture, Told, hindrances

CHROMIUM = Path("/usr/bin/chromium")
MARKUP = "<img src=x onerror=document.title='owned'>"
JPEG = b"\xff\xd8\xff\xe0not a picture\xff\xd9"
OWN = {"host": "127.0.0.1:8321", "origin": "http://127.0.0.1:8321"}


def policy(state="RUNNING", reason_code="", reason=""):
    stream = {"name": "image_1", "topic": "/env", "age_ms": 20.0, "max_age_ms": 150.0}
    return {
        "state": state,
        "reason_code": reason_code,
        "reason": reason,
        "instruction": MARKUP,
        "speed": 100,
        "lines": [f"{state} {reason}"],
        "streams": [{**stream, "rate_hz": 30.0, "offset_ms": 1.0, "problem": ""}],
    }


class FedRobot:
    """A robot that says what the test puts in."""

    def __init__(self):
        self.said = {
            "policy": policy(),
            "simulated": True,
            "nodes": [],
            "joints": [],
            "chunks": [],
        }
        self.done = []
        self.encoded = 0
        self._lock = threading.Lock()

    def snapshot(self):
        with self._lock:
            return {**self.said, "now_s": 100.0}

    def act(self, what, value):
        with self._lock:
            self.done.append((what, value))
            if what == "stop":
                self.said["policy"] = policy("STOPPED", "stopped", "stopped by request")
        return Told(ok=True, text=f"{what} done")

    def picture(self, camera):
        return Picture(number=1, jpeg=JPEG) if camera == "image_1" else None

    def close(self):
        """Nothing to let go of."""


@pytest.mark.parametrize(
    ("headers", "method", "token", "why"),
    [
        (OWN, "POST", "", ""),
        ({"host": "127.0.0.1:8321"}, "GET", "", ""),
        ({"host": "evil.example:8321"}, "GET", "", "none of this desk's names"),
        ({**OWN, "origin": "http://evil.example"}, "POST", "", "another origin"),
        ({"host": OWN["host"], "sec-fetch-site": "cross-site"}, "POST", "", "name its origin"),
        (OWN, "POST", "secret", "no token"),
        ({**OWN, "authorization": "Bearer secret"}, "POST", "secret", ""),
        ({**OWN, "authorization": "Bearer secre"}, "POST", "secret", "no token"),
    ],
)
def test_only_its_own_page_is_answered(headers, method, token, why):
    told = refusal(headers, {}, method, DeskSettings(token=token))
    assert why in told
    assert bool(why) == bool(told)


def test_one_page_operates_until_it_is_gone_or_another_takes_over():
    lease = Lease()
    assert lease.seen("a", 0.0) == "a"
    assert lease.seen("b", 1.0) == "a"
    assert lease.seen("b", LEASE_S + 0.1) == "b"  # the first was not seen for so long
    lease.take("a")
    assert "another page" in lease.refusal("b")
    assert lease.refusal("a") == ""


@pytest.mark.parametrize(
    ("said", "possible"),
    [
        ({}, {"stop"}),
        ({"relay": "following"}, {"stop", "clear_stop", "pause", "resume"}),
        (
            {"policy": policy("STOPPED", "stopped")},
            {"stop", "clear_stop", "speed", "instruction"},
        ),
        (
            {"policy": policy("RUNNING"), "recorder": {"busy": True}},
            {"stop", "pause", "speed", "instruction", "take_over", "park", "home"}
            | {"record_save", "record_discard", "record_task"},
        ),
        (
            {"policy": policy("TAKEOVER"), "simulated": True},
            {"stop", "resume", "speed", "instruction", "hand_back", "park", "home", "reset"},
        ),
    ],
)
def test_what_cannot_be_done_now_says_why(said, possible):
    why = hindrances(said)
    assert set(why) == set(ACTIONS)
    assert {what for what, text in why.items() if not text} - {"pause"} == possible - {"pause"}


@pytest.fixture
def robot():
    return FedRobot()


@pytest.fixture
def address(robot, serve):
    return serve(create_app(DeskSettings(), robot))


def post(address, path, body, **headers):
    asked = urllib.request.Request(
        f"{address}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.load(answer)


def test_a_stop_asks_for_no_lease_and_the_rest_does(address, robot):
    assert post(address, "/api/lease", {"page": "mine"})["ok"]
    assert "another page" in post(address, "/api/act", {"what": "pause", "page": "other"})["text"]
    assert post(address, "/api/stop", {})["text"] == "stop done"
    assert post(address, "/api/act", {"what": "clear_stop", "page": "mine"})["ok"]
    assert (
        "expected one of" in post(address, "/api/act", {"what": "rm -rf", "page": "mine"})["text"]
    )
    assert [what for what, _ in robot.done] == ["stop", "clear_stop"]


def test_a_page_of_another_origin_cannot_even_stop_it(address, robot):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        post(address, "/api/stop", {}, Origin="http://evil.example")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"{address}/api/stop", timeout=10)
    assert robot.done == []


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser at {CHROMIUM}")
def test_in_a_browser_stop_works_from_every_tab_and_page_and_text_stays_text(address, robot):
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright: no browser to ask")
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        first, second = browser.new_page(), browser.new_page()
        broken = []
        for page in (first, second):
            page.on("pageerror", lambda error: broken.append(str(error)))
            page.goto(address)
            page.locator("#state.RUNNING").wait_for()
        second.get_by_text("Another page operates").wait_for()
        assert second.locator("button[data-what=pause]").is_disabled()
        for page, press in (
            (first, lambda page: page.locator("#stop").dispatch_event("pointerdown")),
            (second, lambda page: page.keyboard.press("Escape")),
            (first, lambda page: page.keyboard.press("Space")),
        ):
            robot.said["policy"] = policy("HOLDING", "camera_stale", MARKUP)
            page.locator("#state.HOLDING").wait_for()
            press(page)
            page.locator("#state.STOPPED").wait_for()
        first.goto(f"{address}/#datasets")
        first.keyboard.press("Escape")
        end_s = time.monotonic() + 10.0
        while len(robot.done) < 4 and time.monotonic() < end_s:
            first.wait_for_timeout(20)
        assert [what for what, _ in robot.done] == ["stop"] * 4
        second.locator("button", has_text="Take the controls").click()
        second.locator("button[data-what=clear_stop]:enabled").click()
        second.locator("#told", has_text="clear_stop done").wait_for()
        robot.said |= {
            "policy": None,
            "nodes": [{"name": MARKUP, "level": "error", "text": MARKUP, "age_s": 9}],
        }
        second.locator("#state", has_text="NOBODY ANSWERS").wait_for()
        second.locator("td", has_text="silent").wait_for()
        robot.said["age"] = float("nan")  # which no browser reads as JSON
        robot.said["policy"] = policy("RUNNING")
        second.locator("#state.RUNNING").wait_for()
        assert second.title() == "evo1 desk"
        assert second.locator("main img[src='x']").count() == 0
        browser.close()
    assert broken == []


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser at {CHROMIUM}")
def test_a_stop_is_heard_at_once_with_many_pages_open_and_slow_requests_running(robot, serve):
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright: no browser to ask")
    slow, held = APIRouter(), threading.Event()
    slow.add_api_route("/api/slow", lambda: held.wait(20.0))
    address = serve(create_app(DeskSettings(), robot, slow))
    robot.said["policy"]["streams"] *= 3
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        together = browser.new_context()
        pages = [together.new_page() for _ in range(4)]
        for page in pages:
            page.goto(address)
            page.locator(".camera img[src]").first.wait_for()
        asked = [
            threading.Thread(target=urllib.request.urlopen, args=(f"{address}/api/slow",))
            for _ in range(45)  # more than there are threads for requests
        ]
        for thread in asked:
            thread.start()
        time.sleep(0.3)
        pages[0].keyboard.press("Escape")
        end_s = time.monotonic() + 5.0
        while not robot.done and time.monotonic() < end_s:
            pages[0].wait_for_timeout(5)
        assert [what for what, _ in robot.done] == ["stop"]
        held.set()
        for thread in asked:
            thread.join()
        browser.close()


def test_a_body_whose_length_is_not_told_is_not_read_without_end(address, robot):
    line = http.client.HTTPConnection(address.removeprefix("http://"))
    line.putrequest("POST", "/api/act")
    line.putheader("Transfer-Encoding", "chunked")
    line.endheaders()
    for _ in range(3):
        line.send(b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
    line.send(b"0\r\n\r\n")
    assert "expected one of" in json.load(line.getresponse())["text"]
    assert robot.done == []
