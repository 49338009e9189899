"""Folders of recordings and runs, and a server on a free port, for the tests of the desk."""

import threading
import time

import pytest

from evo1_training.library.shelves import Roots
from evo1_training.recording.episode import EpisodeFacts, Outcome, Sidecar, write_sidecar

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture
def markup():
    return MARKUP


@pytest.fixture
def roots(tmp_path):
    """Four takes whose label is markup, without their bags."""
    found = Roots(
        episodes=tmp_path / "episodes",
        datasets=tmp_path / "datasets",
        runs=tmp_path / "runs",
        trials=tmp_path / "trials",
        cache=tmp_path / "cache",
    )
    for number in range(4):
        _record(found.episodes / f"episode_{number:06d}")
    return found


def _record(folder):
    folder.mkdir(parents=True)
    facts = EpisodeFacts(
        episode_id=folder.name,
        instruction=MARKUP,
        operator="Ada",
        robot_text="",
        topics=(),
        started_ns=0,
        started_utc="2026-01-01T00:00:00",
    )
    ended = Outcome(ended_ns=2_000_000_000, grade="warn", reasons=("short",), streams=())
    write_sidecar(folder, Sidecar(facts=facts, outcome=ended))


@pytest.fixture
def serve():
    """Serve an application; gives its address."""
    uvicorn = pytest.importorskip("uvicorn")
    running = []

    def start(app):
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()
