"""Creating, appending and refusing; what a crash at any moment leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_episodes import encoded, schema

from evo1_training.datasets.lerobot import layouts, staging
from evo1_training.datasets.lerobot.schema import differences
from evo1_training.datasets.lerobot.staging import DatasetWriteError, is_interrupted
from evo1_training.datasets.lerobot.writing import open_dataset
from evo1_training.datasets.reader import DatasetError, open_folder

VERSIONS = pytest.mark.parametrize("version", ["v2.1", "v3.0"])


def create(root, version="v2.1", storage="h264", *, append=False):
    return open_dataset(root, schema(storage), version=version, append=append)


def with_one(tmp_path, version="v2.1"):
    root = tmp_path / "set"
    writer = create(root, version)
    writer.add(encoded(tmp_path / "work", 0))
    writer.close()
    return root


@VERSIONS
def test_existing_dataset_needs_append(tmp_path, version):
    root = with_one(tmp_path, version)
    with pytest.raises(DatasetWriteError, match="holds a dataset already"):
        create(root, version)
    assert create(root, version, append=True).sources == {"episode_000000#0"}


def test_folder_with_something_else_is_refused_by_name(tmp_path):
    root = tmp_path / "set"
    (root / "data").mkdir(parents=True)
    with pytest.raises(DatasetWriteError, match=r"holds data but no meta/info.json.*written half"):
        create(root, append=True)


def test_hidden_entries_of_others_do_not_matter(tmp_path):
    (tmp_path / "set" / ".work").mkdir(parents=True)
    create(tmp_path / "set").close()
    assert (tmp_path / "set" / ".work").is_dir()


def test_other_version_is_refused(tmp_path):
    with pytest.raises(DatasetWriteError, match=r"codebase_version is v2.1, asked for is v3.0"):
        create(with_one(tmp_path), "v3.0", append=True)


def test_other_schema_is_refused_with_the_difference(tmp_path):
    root = with_one(tmp_path)
    other = replace(schema(), image_sizes={"image_1": (48, 64), "image_2": (24, 32)})
    with pytest.raises(DatasetWriteError, match=r"image_2. is video \[48, 64, 3\] h264 in"):
        open_dataset(root, other, version="v2.1", append=True)
    with pytest.raises(DatasetWriteError, match="fps is 30 in the dataset, here 15"):
        open_dataset(root, replace(schema(), fps=15), version="v2.1", append=True)


def test_dataset_of_lerobot_itself_is_not_appended_to(tmp_path):
    root = with_one(tmp_path)
    (root / "meta/evo1/sources.jsonl").unlink()
    with pytest.raises(DatasetWriteError, match="only datasets of this converter"):
        create(root, append=True)


def test_broken_info_is_refused_by_name(tmp_path):
    root = with_one(tmp_path)
    (root / "meta/info.json").write_text('{"codebase_version": "v2.1"')
    with pytest.raises(DatasetWriteError, match=r"meta/info.json: cannot be read"):
        create(root, append=True)


def test_episode_of_another_schema_is_refused(tmp_path):
    writer = create(tmp_path / "set")
    with pytest.raises(DatasetWriteError, match="does not fit into"):
        writer.add(encoded(tmp_path / "work", 0, storage="png"))
    assert not (tmp_path / "set" / "meta").exists()


def test_same_source_is_refused(tmp_path):
    writer = create(tmp_path / "set")
    episode = encoded(tmp_path / "work", 0)
    writer.add(episode)
    with pytest.raises(DatasetWriteError, match="episode_000000#0 is in it already"):
        writer.add(episode)


def test_episode_too_long_for_lerobots_times_is_refused(tmp_path):
    writer = create(tmp_path / "set")
    episode = replace(encoded(tmp_path / "work", 0), length=1025 * 30)
    with pytest.raises(DatasetWriteError, match=r"1025 s long.*split it"):
        writer.add(episode)


def test_two_writers_exclude_each_other(tmp_path):
    first = create(tmp_path / "set")
    with pytest.raises(DatasetWriteError, match="another process is adding to it"):
        create(tmp_path / "set", append=True)
    first.close()
    create(tmp_path / "set").close()


def test_closed_writer_refuses(tmp_path):
    writer = create(tmp_path / "set")
    writer.close()
    writer.close()
    with pytest.raises(DatasetWriteError, match="closed"):
        writer.add(encoded(tmp_path / "work", 0))


@VERSIONS
def test_full_disk_leaves_the_dataset_as_it_was(tmp_path, version, monkeypatch):
    root = with_one(tmp_path, version)
    before = state(root)

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging, "sync", full)
    writer = create(root, version, append=True)
    writer.add(encoded(tmp_path / "work", 1))
    with pytest.raises(OSError, match=rf"No space left on device: '{root}'"):
        writer.close()
    monkeypatch.undo()
    assert state(root) == before
    writer = create(root, version, append=True)
    assert writer.add(encoded(tmp_path / "work", 1)) == 1
    writer.close()
    check_consistent(root, version, 2)
    assert not (root / staging.STAGING).exists()


def state(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and staging.STAGING not in path.parts
    }


def check_consistent(root: Path, version: str, episodes: int | None = None) -> int:
    """All files agree on how many episodes there are; returns how many."""
    info = json.loads((root / "meta/info.json").read_text())
    count = info["total_episodes"]
    if episodes is not None:
        assert count == episodes
    tables = [pq.read_table(path) for path in sorted((root / "data").glob("*/*.parquet"))]
    index = [value for table in tables for value in table["index"].to_pylist()]
    assert index == list(range(info["total_frames"]))
    assert len(list(root.glob("meta/evo1/sources.jsonl"))) == 1
    assert len((root / "meta/evo1/sources.jsonl").read_text().splitlines()) == count
    if version == "v2.1":
        assert len(tables) == count
        assert len(list(root.glob("videos/*/*/*.mp4"))) == 2 * count
        for name in ("episodes", "episodes_stats"):
            lines = (root / f"meta/{name}.jsonl").read_text().splitlines()
            assert [json.loads(line)["episode_index"] for line in lines] == list(range(count))
    else:
        paths = sorted(root.glob("meta/episodes/*/*.parquet"))
        rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
        assert [row["episode_index"] for row in rows] == list(range(count))
        for row in rows:
            for key in ("observation.images.image_1", "observation.images.image_2"):
                prefix = f"videos/{key}"
                number = row[f"{prefix}/file_index"]
                assert (root / f"videos/{key}/chunk-000/file-{number:03d}.mp4").is_file()
            assert (root / f"data/chunk-000/file-{row['data/file_index']:03d}.parquet").is_file()
    return count


@VERSIONS
def test_every_rename_of_a_change_can_be_the_last(tmp_path, version, monkeypatch):
    """Cut off before it is decided: as it was. After: named, and finished by opening it."""
    renames = decided = 0
    while True:
        root = tmp_path / f"set_{renames}"
        work = tmp_path / f"work_{renames}"
        writer = create(root, version)
        writer.add(encoded(work, 0, count=3))
        writer.close()
        writer = create(root, version, append=True)
        writer.add(encoded(work, 1, count=3))
        left = renames

        def dying(path, target, move=Path.replace, root=root):
            nonlocal left
            if root in path.parents:
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
            return move(path, target)

        monkeypatch.setattr(Path, "replace", dying)
        monkeypatch.setattr(Path, "rename", dying)
        try:
            writer.close()
        except KeyboardInterrupt:
            monkeypatch.undo()
        else:
            monkeypatch.undo()
            break
        if is_interrupted(root):
            decided += 1
            with pytest.raises(DatasetError, match="cut off half-way; run the same convert"):
                open_folder(root)
        again = create(root, version, append=True)
        assert not is_interrupted(root)
        check_consistent(root, version, 2 if decided else 1)
        again.close()
        assert not (root / staging.STAGING).exists()
        renames += 1
    assert decided >= 5


# Each line asks for a process of its own, which tells its number and writes until it is killed.
WRITE_FOREVER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from made_episodes import schema
from evo1_training.datasets.lerobot.encoding import load_encoded
from evo1_training.datasets.lerobot.writing import open_dataset
work, root, version = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
def write():
    for item in map(load_encoded, sorted(work.iterdir())):
        writer = open_dataset(root, schema(), version=version, append=True)
        if item.source not in writer.sources:
            index = writer.add(item)
            writer.close()
            print(index, flush=True)
        writer.abandon()
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        print(os.getpid(), flush=True)
        write()
        os._exit(0)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


@pytest.fixture(scope="module")
def many_encoded(tmp_path_factory):
    """A folder of episodes that wait to be added."""
    folder = tmp_path_factory.mktemp("encoded")
    for number in range(30):
        encoded(folder, number, 3)
    return folder


@VERSIONS
def test_killed_writer_leaves_what_was_added(tmp_path, version, many_encoded):
    """SIGKILL at different moments: nothing of what close() wrote is lost."""
    root = tmp_path / "set"
    done = 0
    given = [str(Path(__file__).parent), many_encoded, root, version]
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    ) as server:
        for number in range(3):
            server.stdin.write("go on\n")
            pid = int(server.stdout.readline())
            for _ in range(2 + number):
                done = int(server.stdout.readline()) + 1
            os.kill(pid, signal.SIGKILL)
            done += len(list(iter(server.stdout.readline, "ended\n")))
            if not is_interrupted(root):
                assert check_consistent(root, version) >= done
            writer = create(root, version, append=True)
            assert check_consistent(root, version) >= done
            writer.abandon()
        server.stdin.close()


def test_names_of_joints_are_compared_however_a_dataset_wraps_them():
    def vector(names):
        return {"observation.state": {"dtype": "float32", "shape": [2], "names": names}}

    ours = vector(["pan", "lift"])
    assert not differences(ours, vector([["pan", "lift"]]))
    assert not differences(ours, vector({"motors": ["pan", "lift"]}))
    for other in ([["lift", "pan"]], {"motors": ["lift", "pan"]}):
        assert differences(vector({"motors": ["pan", "lift"]}), vector(other)) == [
            "'observation.state' is float32 [2] lift/pan in the dataset, here float32 [2] pan/lift"
        ]


def add(tmp_path, root, version, numbers):
    writer = create(root, version, append=True)
    for number in numbers:
        writer.add(encoded(tmp_path / "work", number, 2))
    writer.close()


def sizes(root):
    """Bytes of each file that was written, by what stays where it is only given another name."""
    found = [path.stat() for path in root.rglob("*") if path.is_file()]
    return {one.st_ino: one.st_size for one in found}


@VERSIONS
def test_an_added_episode_costs_what_it_is_itself(tmp_path, version, monkeypatch):
    monkeypatch.setattr(layouts, "_LIST_LIMIT", 60_000)
    root, written = tmp_path / "set", []
    for numbers in (range(1), range(1, 2), range(2, 12), range(12, 13)):
        before = sizes(root)
        add(tmp_path, root, version, numbers)
        after = sizes(root)
        written.append(sum(size - before.get(inode, 0) for inode, size in after.items()))
    # Longer lists of tasks and sources, and what a parquet file costs; a list anew is 60 kB.
    assert written[3] < written[1] + 10_000
    lists = [root / f"meta/{name}" for name in ("episodes.jsonl", "episodes_stats.jsonl")]
    for path in lists if version == "v2.1" else []:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["episode_index"] for line in lines] == list(range(13))
    assert len(open_folder(root).episodes) == 13
    assert not (root / staging.STAGING).exists()


def test_lines_that_were_cut_off_half_way_are_added_once(tmp_path, monkeypatch):
    root = with_one(tmp_path)
    writer = create(root, append=True)
    writer.add(encoded(tmp_path / "work", 1))
    extend = staging._extend

    def torn(path, size, data):
        extend(path, size, data[: len(data) // 2])
        raise OSError(5, "the plug was pulled")

    with monkeypatch.context() as patched:
        patched.setattr(staging, "_extend", torn)
        with pytest.raises(OSError, match="plug"):
            writer.close()
    assert is_interrupted(root)
    with pytest.raises(DatasetError, match="cut off half-way"):
        open_folder(root)
    create(root, append=True).abandon()
    found = (root / "meta/episodes_stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["episode_index"] for line in found] == [0, 1]
    assert len(open_folder(root).episodes) == 2


def test_a_copy_by_links_is_not_changed_by_what_is_added(tmp_path):
    root = with_one(tmp_path)
    shutil.copytree(root, tmp_path / "copy", copy_function=os.link)
    add(tmp_path, root, "v2.1", [1])
    assert len(open_folder(root).episodes) == 2
    assert len(open_folder(tmp_path / "copy").episodes) == 1
