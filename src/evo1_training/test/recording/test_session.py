import contextlib
import resource
import shutil
import struct
import subprocess
import time

import numpy as np
import pytest
from bag_writing import (
    IMAGE,
    JOINT_STATE,
    ROBOT_TEXT,
    T0,
    TRAJECTORY,
    cdr,
    header,
    intervention_head,
    message,
)
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from evo1_policy.robot_config import parse_robot
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.bag_writer import WriterLimits
from evo1_training.recording.cdr import definition
from evo1_training.recording.episode import bag_path, read_sidecar
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.mcap_writer import TopicSpec
from evo1_training.recording.pre_roll import PreRoll
from evo1_training.recording.recovery import recover
from evo1_training.recording.session import Session, SessionInput
from evo1_training.recording.stream_monitor import robot_topics
from evo1_training.recording.take import Ending, RefusedError, TakeState


class Rig:
    """A session, and a robot that sends one round of messages when told."""

    def __init__(self, root, *, side=4, keep_deleted=5, **choices):
        self.now_ns = T0
        self.robot = parse_robot(ROBOT_TEXT)
        self.topics = robot_topics(self.robot, {})
        self.session = Session(
            self.robot,
            EpisodeStore(root, keep_deleted=keep_deleted),
            now_ns=lambda: self.now_ns,
            min_free_gb=0.0,
            **choices,
        )
        self.session.set_inputs(
            [
                SessionInput(
                    topic=topic,
                    spec=TopicSpec(
                        name=topic.name, type=topic.type, definition=definition(topic.type)
                    ),
                )
                for topic in self.topics
            ]
        )
        self._raw = {IMAGE: _image(side), JOINT_STATE: _state(), TRAJECTORY: _target()}

    def send(self):
        self.now_ns += 33_000_000
        now_ns = self.now_ns
        stamp = struct.pack("<iI", *divmod(now_ns, 10**9))
        for topic in self.topics:
            raw = self._raw[topic.type]
            self.session.receive(
                topic.name, raw[:4] + stamp + raw[12:], received_ns=now_ns, publish_ns=now_ns
            )

    def begin(self):
        self.session.start("pour")
        self.send()
        assert self.session.tick() is None
        assert self.session.take.state is TakeState.RECORDING

    def finish(self, seconds=20):
        end = time.monotonic() + seconds
        while (result := self.session.tick()) is None:
            assert time.monotonic() < end
            time.sleep(0.005)
        return result


def _image(side):
    return cdr(
        IMAGE,
        message(
            IMAGE,
            header=header(0),
            height=side,
            width=side,
            encoding="rgb8",
            is_bigendian=0,
            step=3 * side,
            data=np.zeros(3 * side * side, np.uint8),
        ),
    )


def _state():
    empty = np.array([])
    return cdr(
        JOINT_STATE,
        message(
            JOINT_STATE,
            header=header(0),
            name=["elbow", "finger"],
            position=np.array([0.1, 0.2]),
            velocity=empty,
            effort=empty,
        ),
    )


def _target():
    return cdr(
        TRAJECTORY,
        message(TRAJECTORY, header=header(0), joint_names=["elbow", "finger"], points=[]),
    )


def test_what_waited_for_a_take_over_lands_whole_beyond_what_may_wait_for_the_disk(tmp_path):
    ring, rounds = PreRoll(10 * 10**9), 60
    limits = WriterLimits(queue_bytes=100_000)
    rig = Rig(tmp_path, side=100, pre_roll=ring, limits=limits)
    for _ in range(rounds):
        rig.send()
    assert ring.size > 10 * limits.queue_bytes
    ring.follow(intervention_head(active=True), rig.now_ns)
    rig.begin()
    rig.session.end(Ending.SAVE)
    assert rig.finish().lost == 0
    with bag_path(tmp_path / "episode_000000").open("rb") as file:
        summary = make_reader(file).get_summary()
    counts = summary.statistics.channel_message_counts
    written = {channel.topic: counts[number] for number, channel in summary.channels.items()}
    assert {written[topic.name] for topic in rig.topics} == {rounds + 1}


def test_saved_take_holds_what_came_while_it_ran(tmp_path):
    rig = Rig(tmp_path)
    rig.begin()
    for _ in range(10):
        rig.send()
    rig.session.end(Ending.SAVE)
    rig.send()
    result = rig.finish()
    assert (result.saved, result.messages, result.lost) == (True, 50, 0)
    assert rig.session.take.state is TakeState.IDLE
    assert {s.messages for s in read_sidecar(tmp_path / "episode_000000").outcome.streams} == {10}


def test_lost_messages_are_told_live_and_in_the_grade(tmp_path):
    rig = Rig(tmp_path)
    rig.begin()
    rig.send()
    rig.session.lose(rig.topics[0].name, 7)
    assert rig.session.report().lost == 7
    rig.session.end(Ending.SAVE)
    result = rig.finish()
    assert result.lost == 7
    assert result.grade == "fail"


def test_deleting_while_a_take_runs_is_refused(tmp_path):
    rig = Rig(tmp_path)
    rig.begin()
    with pytest.raises(RefusedError, match="save or discard it first"):
        rig.session.delete_last()
    assert rig.session.close().saved


def test_root_that_vanished_is_told_and_the_session_lives(tmp_path):
    rig = Rig(tmp_path / "root")
    (tmp_path / "root").rmdir()
    (tmp_path / "root").write_text("a file in its place")
    rig.session.start("pour")
    rig.send()
    result = rig.session.tick()
    assert not result.saved
    assert "cannot record" in result.reason
    assert rig.session.take.state is TakeState.IDLE
    assert rig.session.take.reason == result.reason


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_keeps_the_take_up_to_there(small_disk):
    rig = Rig(small_disk, side=400)
    rig.begin()
    while rig.session.take.state is TakeState.RECORDING:
        rig.send()
        time.sleep(0.005)
        result = rig.session.tick()
    result = result or rig.finish()
    assert result.saved
    assert "the disk is full; make room or set another root" in result.reason
    folder = small_disk / "episode_000000"
    outcome = read_sidecar(folder).outcome
    assert outcome.grade == "fail"
    with bag_path(folder).open("rb") as file:
        count = sum(1 for _ in make_reader(file, validate_crcs=True).iter_messages())
    assert count == result.messages + 1  # and the facts
    assert count > 10
    with AnyReader([folder]) as reader:
        assert reader.message_count == count
    with contextlib.suppress(OSError), (small_disk / "others").open("wb") as others:
        while True:
            others.write(bytes(1 << 20))
    rig.session.start("pour")  # the next one is refused by name, and leaves nothing behind
    rig.send()
    refused = rig.session.tick()
    assert not refused.saved
    assert refused.reason.startswith(f"cannot record: {small_disk}/episode_000001")
    assert "the disk is full; make room or set another root" in refused.reason
    assert not (small_disk / "episode_000001").exists()
    shutil.rmtree(folder)  # and works once there is room
    rig.begin()
    rig.session.end(Ending.SAVE)
    assert (rig.finish().saved, rig.session.take.reason) == (True, "")


@pytest.fixture
def largest_file():
    """Files of this process end at a size, as on a disk with a quota; gives the way to lift it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9 << 20, before[1]))  # room for the reserve
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_keeps_what_it_has_and_recover_completes_it(
    tmp_path, largest_file
):
    rig = Rig(tmp_path, side=400)
    rig.begin()
    while rig.session.take.state is TakeState.RECORDING:
        rig.send()
        time.sleep(0.005)
        result = rig.session.tick()
    result = result or rig.finish()
    folder = tmp_path / "episode_000000"
    assert (result.saved, result.grade) == (True, "fail")
    assert f"{bag_path(folder)}: File too large" in result.reason
    kept = sum(1 for _ in open_episode(folder).messages())
    assert kept == result.messages + 1 > 10  # and the facts
    largest_file()
    assert recover(folder).messages == kept - 1
    with AnyReader([folder]) as reader:
        assert reader.message_count == kept
    rig.begin()
    rig.session.end(Ending.SAVE)
    assert (rig.finish().saved, rig.session.take.reason) == (True, "")
