"""The routes of recordings, datasets and runs, asked over HTTP as a browser asks."""

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

fastapi = pytest.importorskip("fastapi")


@pytest.fixture
def ask(roots, serve, tmp_path):
    from evo1_bringup.desk.library import library_router

    (roots.runs / "can/report").mkdir(parents=True)
    (roots.runs / "can/report/report.html").write_text("<script>alert(1)</script>")
    (tmp_path / "secret.html").write_text("secret")
    app = fastapi.FastAPI()
    app.include_router(library_router(roots, ThreadPoolExecutor(1)))
    address = serve(app)

    def call(path, body=None, **words):
        query = f"?{urllib.parse.urlencode(words)}" if words else ""
        request = urllib.request.Request(f"{address}/api/library/{path}{query}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return answer.read(), answer.headers

    return call


def test_recordings_are_listed_filtered_and_deleted_together(ask, markup):
    here = {"kind": "episodes", "shelf": "."}
    found = json.loads(ask("episodes", **here, words="ada", count=2)[0])
    assert (found["total"], len(found["cards"]), found["grades"]) == (4, 2, {"warn": 4})
    assert found["cards"][0]["instruction"] == markup
    chosen = ["episode_000000", "episode_000002"]
    ask("change", {**here, "what": "delete", "episodes": chosen})
    assert json.loads(ask("episodes", **here)[0])["names"] == ["episode_000003", "episode_000001"]


def test_a_report_may_run_nothing(ask):
    body, headers = ask("report/0/can/report/report.html")
    assert b"<script>" in body
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-same-origin; default-src 'none'")
    assert "script" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "report/0/..%2f..%2fsecret.html",
        "report/7/can/report/report.html",
        "episodes?kind=episodes&shelf=..%2fruns",
        "thumbnail?kind=episodes&shelf=.&episode=..%2f..",
        "run?name=..%2fx",
    ],
)
def test_nothing_outside_of_the_folders_can_be_named(ask, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(path)


def test_nothing_of_it_needs_ros_or_torch():
    code = (
        "import sys\n"
        "sys.modules.update(rclpy=None, torch=None)\n"
        "from evo1_bringup.desk.library import Roots, library_router\n"
        "library_router(Roots())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
