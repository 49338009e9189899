"""Conversions that are killed or run out of disk: nothing is lost, and the same call goes on."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bag_writing import steady, write_episode
from converting import Watcher, episodes, lengths, shift_start, sources

from evo1_training.cli import convert as command
from evo1_training.datasets import conversion_job
from evo1_training.datasets.conversion import convert
from evo1_training.datasets.lerobot.staging import is_interrupted
from evo1_training.datasets.lerobot.writing import DatasetWriter


class Stop(Exception):  # noqa: N818
    """Stands for a kill between two writes."""


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_conversion_killed_before_the_dataset_is_written_goes_on(
    tmp_path, request_for, monkeypatch, version
):
    root = tmp_path / "demos"
    write_episode(root / "episode_000000", steady(3.0, lost={40}))
    write_episode(root / "episode_000001", steady(2.5))
    shift_start(root / "episode_000001", 1)
    request = request_for(root, version=version)

    def dying(_):
        raise Stop

    monkeypatch.setattr(DatasetWriter, "_write", dying)
    with pytest.raises(Stop):
        convert(request, Watcher())
    monkeypatch.undo()
    assert not (request.dataset / "meta").exists()
    encoded = {path: path.stat().st_mtime_ns for path in request.dataset.glob(".work/*/*.parquet")}
    assert len(encoded) == 3
    monkeypatch.setattr(conversion_job, "encode_episode", dying)  # nothing is encoded again
    convert(request, Watcher())
    assert [source.split("-")[0] for source in sources(request)] == [
        "episode_000000",
        "episode_000000",
        "episode_000001",
    ]
    assert not is_interrupted(request.dataset)
    assert not (request.dataset / ".work").exists()


def test_a_conversion_that_was_killed_after_writing_adds_nothing_twice(
    tmp_path, request_for, monkeypatch
):
    request = request_for(episodes(tmp_path / "demos", 2))

    def dying(_):
        raise Stop

    monkeypatch.setattr(DatasetWriter, "abandon", dying)
    with pytest.raises(Stop):
        convert(request, Watcher())
    monkeypatch.undo()
    assert (request.dataset / ".work").exists()
    summary = convert(request, Watcher())
    assert (lengths(request), summary.added) == ([30, 33], 0)
    assert not (request.dataset / ".work").exists()


def test_a_full_disk_is_told_with_the_path_and_the_same_call_goes_on(tmp_path):
    """With a bound on the size of files, which stands for the disk's."""
    root = tmp_path / "demos"
    write_episode(root / "episode_000000", steady(2.0, size=(120, 160)))
    script = (
        "import resource, signal, sys\n"
        "from evo1_training.cli.convert import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    for storage in ("png", "h264"):
        out = tmp_path / f"with spaces; {storage}"
        given = [str(root), "--to", str(out), "--storage", storage, "--workers", "1"]
        run = subprocess.run(
            [sys.executable, "-c", script, *given], capture_output=True, text=True, check=False
        )
        assert run.returncode == 1, run.stderr
        assert "File too large" in run.stderr
        assert str(out / ".work") in run.stderr
        assert "Traceback" not in run.stderr
        assert not (out / "meta").exists()
        assert command.main(given) == 0
        assert not (out / ".work").exists()


KILLED = """
import os
import sys
import threading
from pathlib import Path
from evo1_training.datasets import conversion_job
from evo1_training.datasets.conversion import convert
from evo1_training.datasets.conversion_request import Request
from test_conversion_watcher import Watcher

def slow_encode(frames, *, folder, **where):
    folder.mkdir()
    (folder / "started").write_text(str(os.getpid()))
    threading.Event().wait()

conversion_job.encode_episode = slow_encode  # in the workers, too

if __name__ == "__main__":
    episodes, dataset = [Path(sys.argv[1])], Path(sys.argv[2])
    given = {"workers": 2, "gaps": "split", "storage": "png"}
    convert(Request(episodes=episodes, dataset=dataset, **given), Watcher())
"""


def test_killed_conversion_leaves_no_process_and_goes_on(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 4)
    request = request_for(root)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    (tmp_path / "test_conversion_watcher.py").write_text(
        "class Watcher:\n    expect = advance = note = lambda self, _: None\n"
    )
    given = [sys.executable, str(script), str(root), str(request.dataset)]
    process = subprocess.Popen(
        given, env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])}
    )
    work = request.dataset / ".work"
    started = []
    until(lambda: started.extend(ids(work)) or started or process.poll() is not None)
    children = set(started) | set(ids(work))
    assert children
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not any(alive(pid) for pid in children))
    until(lambda: all(is_free(lock) for lock in work.glob(".*.lock")))
    convert(request, Watcher())
    assert lengths(request) == [30, 33, 36, 39]


def ids(work):
    """Processes that said that they began; a file may be there before its number is."""
    texts = [path.read_text() for path in work.glob("*/started")]
    return [int(text) for text in texts if text]


def is_free(lock):
    """A process that is gone may hold its files for a moment longer."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
