"""Many episodes to one dataset: order, resuming, shards, appending, bad episodes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from bag_writing import ENV, ROBOT_TEXT, TYPES, WRIST, picture, steady, write_episode

from evo1_training.cli import convert as command
from evo1_training.datasets import conversion_job
from evo1_training.datasets.conversion import convert
from evo1_training.datasets.conversion_request import ConversionError, Request
from evo1_training.datasets.lerobot.staging import is_interrupted
from evo1_training.datasets.lerobot.writing import DatasetWriter
from evo1_training.recording.episode import SIDECAR, bag_path


class Watcher:
    def __init__(self):
        self.expected, self.done, self.notes = 0, 0, []

    def expect(self, frames):
        self.expected = frames

    def advance(self, frames):
        self.done += frames

    def note(self, text):
        self.notes.append(text)


def episodes(root: Path, count: int, **options) -> Path:
    for k in range(count):
        recording = steady(1.0 + 0.1 * k)
        write_episode(root / f"episode_{k:06d}", recording, instruction=f"task {k}", **options)
        shift_start(root / f"episode_{k:06d}", k)
    return root


def shift_start(folder: Path, by: int) -> None:
    """Give an episode a start of its own, as real ones have."""
    data = json.loads((folder / SIDECAR).read_text())
    data["facts"]["started_ns"] += by
    (folder / SIDECAR).write_text(json.dumps(data))


@pytest.fixture
def request_for(tmp_path):
    def make(*roots: Path, **options) -> Request:
        options.setdefault("gaps", "split")
        options.setdefault("storage", "png")
        return Request(episodes=roots, dataset=tmp_path / "dataset", **options)

    return make


def listed(request: Request) -> list[dict]:
    text = (request.dataset / "meta" / "episodes.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def lengths(request: Request) -> list[int]:
    paths = sorted(request.dataset.glob("data/*/*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in paths] == [
        episode["length"] for episode in listed(request)
    ]
    return [episode["length"] for episode in listed(request)]


def sources(request: Request) -> list[str]:
    text = (request.dataset / "meta" / "evo1" / "sources.jsonl").read_text()
    return [json.loads(line)["source"] for line in text.splitlines()]


def test_episodes_come_in_order_with_their_instructions(tmp_path, request_for):
    request = request_for(episodes(tmp_path / "demos", 3))
    watcher = Watcher()
    summary = convert(request, watcher)
    assert [one["tasks"] for one in listed(request)] == [["task 0"], ["task 1"], ["task 2"]]
    assert lengths(request) == [30, 33, 36]
    assert (summary.failed, summary.left_out, summary.added) == ([], [], 3)
    assert watcher.done == 99
    assert not (request.dataset / ".work").exists()


def test_two_processes_give_the_same_dataset_as_one(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 3)
    one = request_for(root)
    convert(one, Watcher())
    two = replace(one, dataset=tmp_path / "two", workers=2)
    watcher = Watcher()
    convert(two, watcher)
    for path in one.dataset.glob("data/*/*.parquet"):
        other = two.dataset / path.relative_to(one.dataset)
        assert pq.read_table(path).equals(pq.read_table(other))
    assert watcher.done == 99


def test_bad_episode_is_named_and_stops_no_other(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 3)
    damaged = bag_path(root / "episode_000001")
    data = bytearray(damaged.read_bytes())
    data[data.find(picture(15).tobytes()) + 10] ^= 1
    damaged.write_bytes(data)
    request, watcher = request_for(root), Watcher()
    summary = convert(request, watcher)
    assert lengths(request) == [30, 36]
    ((folder, reason),) = summary.failed
    assert folder.name == "episode_000001"
    assert "damaged" in reason
    assert len(watcher.notes) == 1
    assert not (request.dataset / ".work").exists()


def test_failed_grade_is_left_out_unless_asked_for(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 1)
    write_episode(root / "episode_000001", steady(1.5), grade="fail")
    summary = convert(request_for(root), Watcher())
    ((folder, reason),) = summary.left_out
    assert (folder.name, reason.split(":")[0]) == ("episode_000001", "graded fail")
    request = replace(request_for(root), dataset=tmp_path / "all", include_failed=True)
    convert(request, Watcher())
    assert lengths(request) == [30, 45]


def test_episode_that_did_not_end_asks_for_recover(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 1)
    write_episode(root / "episode_000001", steady(1.5), grade=None, finish=False)
    summary = convert(request_for(root), Watcher())
    ((folder, reason),) = summary.failed
    assert folder.name == "episode_000001"
    assert "'recover'" in reason


def test_episode_without_an_instruction_is_refused(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 1)
    write_episode(root / "episode_000001", steady(1.5), instruction=" ")
    summary = convert(request_for(root), Watcher())
    ((_, reason),) = summary.failed
    assert "no instruction" in reason


def test_episode_that_is_longer_than_the_format_holds_is_cut_in_two(
    tmp_path, request_for, monkeypatch
):
    monkeypatch.setattr(conversion_job, "MAX_SECONDS", 1.15)
    root = episodes(tmp_path / "demos", 3)
    request = request_for(root)
    summary = convert(request, Watcher())
    assert (summary.failed, summary.added) == ([], 4)
    lengths = {Path(result.folder).name: result.frames for result in summary.results}
    assert lengths["episode_000002"] == (18, 18)
    assert len(lengths["episode_000001"]) == 1
    (note,) = [note for result in summary.results for note in result.notes if "cut" in note]
    assert note == "36 frames without a gap cut into 2 episodes: the format holds 34 in one"
    assert sum(result.dropped for result in summary.results) == 0


def test_other_robot_or_image_size_is_not_mixed_in(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 1)
    write_episode(root / "episode_000001", steady(1.5, size=(16, 24)))
    other = ROBOT_TEXT.replace("embodiment: two", "embodiment: other")
    write_episode(root / "episode_000002", steady(1.6), robot_text=other)
    request = request_for(root)
    summary = convert(request, Watcher())
    reasons = [reason for _, reason in summary.failed]
    assert "camera 'image_1' is 24x16, the dataset has 12x8" in reasons[0]
    assert "its embodiment: other; the dataset has two" in reasons[1]
    assert lengths(request) == [30]


def test_nothing_usable_is_an_error_and_leaves_nothing(tmp_path, request_for):
    recording = steady(1.0)
    recording.types = {**TYPES, WRIST: "std_msgs/msg/String"}
    write_episode(tmp_path / "demos" / "episode_000000", recording)
    request = request_for(tmp_path / "demos")
    foreign = r"(?s)none of .*_0\.mcap: /wrist/image_raw carries std_msgs/msg/String; expected"
    with pytest.raises(ConversionError, match=foreign):
        convert(request, Watcher())
    assert not request.dataset.exists()


def test_encoding_that_is_no_colour_image_names_bag_topic_and_encoding(tmp_path, request_for):
    recording = steady(1.0)
    recording.messages = [one for one in recording.messages if one[1] != ENV]
    for k in range(30):
        depth = np.zeros((8, 12, 2), np.uint8)
        recording.image(ENV, k * 1000 / 30, depth, encoding="16UC1")
    write_episode(tmp_path / "demos" / "episode_000000", recording)
    with pytest.raises(ConversionError, match=r"(?s)_0\.mcap: no image on /env/.*'16UC1'"):
        convert(request_for(tmp_path / "demos"), Watcher())


def test_existing_folder_is_not_touched_without_append(tmp_path, request_for):
    request = request_for(episodes(tmp_path / "demos", 1))
    request.dataset.mkdir()
    (request.dataset / "precious.txt").write_text("mine")
    with pytest.raises(ConversionError, match="exists already; give another folder, or --append"):
        convert(request, Watcher())
    assert [path.name for path in request.dataset.iterdir()] == ["precious.txt"]


def test_append_takes_only_what_is_new(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 2)
    request = request_for(root)
    convert(request, Watcher())
    write_episode(root / "episode_000002", steady(2.0))
    watcher = Watcher()
    summary = convert(replace(request, append=True), watcher)
    assert lengths(request) == [30, 33, 60]
    assert [folder.name for folder, _ in summary.left_out] == ["episode_000000", "episode_000001"]
    assert watcher.done == 60


def test_same_take_given_twice_is_taken_once(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 1)
    request = request_for(root, root / "episode_000000")
    convert(request, Watcher())
    assert lengths(request) == [30]


def test_shards_are_assembled_by_the_last_run(tmp_path, request_for):
    request = request_for(episodes(tmp_path / "demos", 5))
    for part in (1, 2):
        summary = convert(replace(request, shard=(part, 2)), Watcher())
        assert len(summary.results) == (3 if part == 1 else 2)
        assert not (request.dataset / "meta").exists()
    encoded = (request.dataset / ".work").glob("*/encoded.json")
    before = {path: path.stat().st_mtime_ns for path in encoded}
    assert len(before) == 5
    convert(request, Watcher())
    assert lengths(request) == [30, 33, 36, 39, 42]


def test_unfinished_conversion_is_not_continued_with_other_options(tmp_path, request_for):
    request = request_for(episodes(tmp_path / "demos", 2), shard=(1, 2))
    convert(request, Watcher())
    with pytest.raises(ConversionError, match="unfinished conversion with gaps split, now hold"):
        convert(replace(request, shard=None, gaps="hold"), Watcher())


def test_episode_that_another_conversion_works_on_is_left_to_it(
    tmp_path, request_for, monkeypatch
):
    encode_episode = conversion_job.encode_episode
    request = request_for(episodes(tmp_path / "demos", 1))
    refused = []

    def encode(frames, **where):
        work = where["folder"].parent
        summary = convert(replace(request, shard=(1, 1)), Watcher())
        refused.extend(reason for _, reason in summary.failed)
        assert list(work.glob("*/encoded.json")) == []
        encode_episode(frames, **where)

    monkeypatch.setattr(conversion_job, "encode_episode", encode)
    convert(request, Watcher())
    assert "another conversion works on it" in refused[0]
    assert lengths(request) == [30]


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


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "wrong", ["./../../escaped/pwn", "/tmp/pwn", "a/b", "", "a\n", "*", "x" * 101, 7, None]
)
def test_an_episode_id_that_is_no_name_writes_nothing_outside(tmp_path, request_for, wrong):
    root = episodes(tmp_path / "demos", 2)
    text = json.loads((root / "episode_000001" / SIDECAR).read_text())
    text["facts"]["episode_id"] = wrong
    (root / "episode_000001" / SIDECAR).write_text(json.dumps(text))
    before = contents(tmp_path)
    request = request_for(root)
    summary = convert(request, Watcher())
    ((folder, reason),) = summary.failed
    assert (folder.name, "episode_id" in reason) == ("episode_000001", True)
    assert lengths(request) == [30]
    assert {k: v for k, v in contents(tmp_path).items() if request.dataset not in k.parents} == (
        before
    )


def test_a_journal_in_a_dataset_changes_nothing(tmp_path, request_for):
    root = episodes(tmp_path / "demos", 2)
    request = request_for(root / "episode_000000")
    convert(request, Watcher())
    victim = tmp_path / "victim" / "secret.txt"
    victim.parent.mkdir()
    victim.write_text("mine")
    journal = request.dataset / ".adding" / "journal.json"
    journal.parent.mkdir()
    journal.write_text('{"replace": ["../victim/bashrc"], "delete": ["../victim/secret.txt"]}')
    more = replace(request, episodes=[root], append=True)
    with pytest.raises(ValueError, match=r"\.adding: no conversion left this"):
        convert(more, Watcher())
    assert journal.is_file()
    (journal.parent / "lock").touch()
    convert(more, Watcher())
    assert contents(victim.parent) == {victim: b"mine"}
    assert lengths(request) == [30, 33]


@pytest.mark.parametrize("name", [".work", ".adding", "meta", "data", "data/chunk-000"])
def test_a_link_in_a_dataset_does_not_lead_the_conversion_out_of_it(tmp_path, request_for, name):
    root = episodes(tmp_path / "demos", 2)
    request = request_for(root / "episode_000000")
    convert(request, Watcher())
    link, elsewhere = request.dataset / name, tmp_path / "elsewhere"
    if link.exists():
        link.rename(elsewhere)
    else:
        elsewhere.mkdir()
    link.symlink_to(elsewhere)
    before = contents(elsewhere)
    with pytest.raises(ValueError, match="is not in the folder"):
        convert(replace(request, episodes=[root], append=True), Watcher())
    assert contents(elsewhere) == before


@pytest.mark.parametrize("name", [".work", ".adding"])
def test_hidden_folders_of_others_are_not_removed(tmp_path, request_for, name):
    root = episodes(tmp_path / "demos", 2)
    request = request_for(root / "episode_000000")
    convert(request, Watcher())
    (request.dataset / name).mkdir()
    (request.dataset / name / "precious.txt").write_text("mine")
    before = contents(request.dataset)
    with pytest.raises(ValueError, match="no conversion left this"):
        convert(replace(request, episodes=[root], append=True), Watcher())
    assert contents(request.dataset) == before


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
    convert(request, Watcher())
    assert lengths(request) == [30, 33, 36, 39]


def ids(work):
    """Processes that said that they began; a file may be there before its number is."""
    texts = [path.read_text() for path in work.glob("*/started")]
    return [int(text) for text in texts if text]


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
