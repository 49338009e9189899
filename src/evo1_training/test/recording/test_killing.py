import hashlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from evo1_training.cli.recover import main as recover_main
from evo1_training.recording.episode import EpisodeError, bag_path, read_sidecar
from evo1_training.recording.recovery import needs_recovery

KILLS = 50
AT_ONCE = 5


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """A folder in memory where there is one: a disk that others keep busy may stall a second."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("killed")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def killed(memory, robots_dir):
    """Episodes whose writers were killed, and the moment of the last accepted message."""
    root = memory
    script = Path(__file__).with_name("killed_writer.py")
    command = [sys.executable, str(script), str(root), str(robots_dir / "so100.yaml")]
    choose = random.Random(4)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        for first in range(0, KILLS, AT_ONCE):
            writers = {}
            for number in range(first, first + AT_ONCE):
                server.stdin.write(f"episode_{number:06d}\n")
                server.stdin.flush()
                writers[int(server.stdout.readline())] = root / f"episode_{number:06d}.accepted"
            for index, (pid, accepted) in enumerate(writers.items()):
                if index:  # the first is killed while it opens its file, or soon after
                    wait_for_messages(accepted)
                time.sleep(choose.uniform(0.0, 0.2))
                os.kill(pid, signal.SIGKILL)
        server.stdin.close()
    return {
        folder: newest(folder.with_suffix(".accepted"))
        for folder in sorted(root.glob("episode_??????"))
    }


def newest(accepted):
    return struct.unpack("<Q", accepted.read_bytes() or bytes(8))[0] if accepted.exists() else 0


def wait_for_messages(accepted):
    end = time.monotonic() + 60
    while not newest(accepted):
        assert time.monotonic() < end
        time.sleep(0.005)


def test_episodes_are_readable_up_to_the_last_seconds_after_fifty_kills(killed):
    assert len(killed) > KILLS * 0.8  # a few are killed before they begin
    root = next(iter(killed)).parent
    assert recover_main([str(root)]) == 0
    with_messages = 0
    for folder, accepted_ns in killed.items():
        if not any(folder.iterdir()):
            continue  # killed between two calls of the operating system
        sidecar = read_sidecar(folder)
        assert sidecar.facts.instruction == "put the cube into the box"
        assert sidecar.outcome.recovered
        assert sidecar.outcome.grade != "pass"
        with bag_path(folder).open("rb") as file:
            times = [message.log_time for _, _, message in make_reader(file).iter_messages()]
        with AnyReader([folder]) as reader:
            assert [time_ns for _, time_ns, _ in reader.messages()] == sorted(times)
            assert reader.message_count == len(times)
        if accepted_ns:
            with_messages += 1
            assert accepted_ns - max(times) < 1_000_000_000
    assert with_messages >= KILLS * 0.8


def test_recovering_again_changes_nothing(killed):
    root = next(iter(killed)).parent
    assert recover_main([str(root)]) == 0
    before = digests(root)
    assert recover_main([str(root)]) == 0
    assert digests(root) == before


def test_episode_that_is_being_recorded_is_not_touched(tmp_path, robots_dir, capsys):
    script = Path(__file__).with_name("killed_writer.py")
    command = [sys.executable, str(script), str(tmp_path), str(robots_dir / "so100.yaml")]
    folder = tmp_path / "episode_000000"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        server.stdin.write("episode_000000\n")
        server.stdin.flush()
        pid = int(server.stdout.readline())
        try:
            end = time.monotonic() + 20
            while not (folder / "metadata.yaml").is_file():
                assert time.monotonic() < end
                time.sleep(0.01)
            with pytest.raises(EpisodeError, match="being recorded right now"):
                needs_recovery(folder)
            assert recover_main([str(tmp_path)]) == 1
            assert "being recorded" in capsys.readouterr().err
        finally:
            os.kill(pid, signal.SIGKILL)
        server.stdin.close()


@pytest.fixture(scope="module")
def begun(tmp_path_factory, robots_dir):
    """An episode whose writer was killed soon after it began."""
    root = tmp_path_factory.mktemp("begun")
    script = Path(__file__).with_name("killed_writer.py")
    command = [sys.executable, str(script), str(root), str(robots_dir / "so100.yaml")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        server.stdin.write("episode_000000\n")
        server.stdin.flush()
        pid = int(server.stdout.readline())
        wait_for_messages(root / "episode_000000.accepted")
        os.kill(pid, signal.SIGKILL)
        server.stdin.close()
    return root / "episode_000000"


@pytest.mark.parametrize("left", [0, 4, 8, 40, 500, 5_000])
def test_a_bag_that_was_cut_off_at_once_keeps_its_label_for_every_reader(tmp_path, begun, left):
    folder = shutil.copytree(begun, tmp_path / begun.name)
    bag_path(folder).write_bytes(bag_path(folder).read_bytes()[:left])
    assert recover_main([str(folder)]) == 0
    with bag_path(folder).open("rb") as file:
        times = [message.log_time for _, _, message in make_reader(file).iter_messages()]
    assert times
    with AnyReader([folder]) as reader:
        assert [time_ns for _, time_ns, _ in reader.messages()] == sorted(times)
    assert read_sidecar(folder).facts.instruction == "put the cube into the box"


def test_recover_names_what_it_cannot_use(tmp_path, capsys):
    assert recover_main([str(tmp_path)]) == 1
    assert f"{tmp_path}: no episode found" in capsys.readouterr().err
    folder = tmp_path / "episode_000000"
    folder.mkdir()
    bag_path(folder).write_bytes(b"something else entirely")
    assert recover_main([str(tmp_path)]) == 1
    assert "no MCAP file" in capsys.readouterr().err
    assert bag_path(folder).read_bytes() == b"something else entirely"


def digests(root):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
