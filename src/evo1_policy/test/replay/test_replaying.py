"""Bags on disk, replayed: what a run made is made again, and what is wrong is named."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_run import (
    CHUNK_TOPIC,
    CHUNK_TYPE,
    MS,
    ROBOT_TEXT,
    T0,
    FakePolicy,
    at,
    load,
    run,
    stamp_of,
)
from rosbags.rosbag2 import StoragePlugin

from evo1_policy.cli import replay as command
from evo1_policy.replay.bag import ReplayError
from evo1_policy.replay.observations import RecordedChunk
from evo1_policy.replay.replaying import compare, replay
from evo1_policy.replay.report import as_json, summary, table


@pytest.fixture
def robot_file(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(ROBOT_TEXT)
    return path


def replayed(bag, loader=load, **changes):
    return replay(bag, loader, **changes)


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("guided", [False, True])
def test_what_a_run_made_is_made_again_bit_for_bit(tmp_path, storage, guided):
    told = run(guided=guided)
    report = replayed(told.write(tmp_path / "bag", storage=storage))
    assert len(report.compared) == len(told.made) == len(report.results) >= 5
    assert report.is_test
    assert report.passed
    for made, again in zip(told.made, report.compared, strict=True):
        np.testing.assert_array_equal(again.actions, made.actions)
        assert again.worst_rad == 0.0
        assert again.state_difference_rad == 0.0
    assert {one.recorded.instruction for one in report.results} == {"pick", "put it down"}


def test_bag_of_ros2_bag_record_in_a_namespace_needs_only_a_robot_file(tmp_path, robot_file):
    bag = run(namespace="/left").write(tmp_path / "bag", notes=False)
    with pytest.raises(ReplayError, match="give it with --robot"):
        replayed(bag)
    assert replayed(bag, robot_file=robot_file).passed


def test_single_file_of_a_bag_is_a_bag(tmp_path):
    bag = run().write(tmp_path / "bag")
    (file,) = bag.glob("*.mcap")
    assert replayed(file).passed


def test_difference_is_told_by_chunk_action_and_joint(tmp_path):
    bag = run().write(tmp_path / "bag")
    report = replayed(bag, lambda robot, seed, steps: FakePolicy(seed, steps, (3, 1, 0.25)))
    assert not report.passed
    assert len(report.differing) == len(report.results)
    for one in report.differing:
        assert one.first == (3, 1)
        np.testing.assert_allclose(one.joint_difference_rad, [0.0, 0.25], atol=1e-12)
    text = table(report)
    assert "action 3 (+0.13 s), finger" in text
    assert text.count("differs") == len(report.results)
    assert "0 of 5 within 0.0001 rad; largest difference 0.25 rad" in summary(report)
    assert replayed(
        bag, lambda robot, seed, steps: FakePolicy(seed, steps, (3, 1, 0.25)), tolerance_rad=0.3
    ).passed
    broken = replayed(bag, lambda robot, seed, steps: FakePolicy(seed, steps, (0, 0, np.nan)))
    assert broken.compared[0].first == (0, 0)
    assert as_json(broken)["largest_difference_rad"] is None


def test_every_chunk_gets_its_own_noise(tmp_path):
    bag = run(seeds=lambda number: 3 if number < 3 else 8).write(tmp_path / "bag")
    asked = []

    def loader(robot, seed, steps):
        asked.append(seed)
        return FakePolicy(seed, steps)

    assert replayed(bag, loader).passed
    assert asked == [3, 8]
    assert not replayed(bag, seed=4).passed


def test_lost_frame_makes_a_chunk_incomparable_and_is_named(tmp_path):
    told = run()
    used = next(
        stamp_of(data)
        for received, topic, _, data in told.messages
        if topic == "/wrist/image_raw" and received > at(1000)
    )
    near = [stamp_of(data) for _, topic, _, data in told.messages if topic == "/wrist/image_raw"]
    for stamp in near:
        if abs(stamp - used) < 200 * MS:
            told.drop("wrist/image_raw", stamp)
    report = replayed(told.write(tmp_path / "bag"))
    assert report.passed
    assert len(report.incomparable) == 1
    assert "image_2" in report.incomparable[0].reason or "wrist" in report.incomparable[0].reason
    assert "1 not comparable" in summary(report)


def test_chunks_from_before_the_recording_are_incomparable(tmp_path):
    told = run()
    told.messages = [
        one for one in told.messages if one[0] > at(1200) or one[1] == f"/{CHUNK_TOPIC}"
    ]
    report = replayed(told.write(tmp_path / "bag"))
    assert report.passed
    assert [one.recorded.chunk_id for one in report.incomparable] == [1, 2]
    assert "is stamped" in report.incomparable[0].reason


def test_joint_sample_that_came_late_is_as_late_in_the_replay(tmp_path):
    told = run()
    used_ms = (told.made[3].observation_stamp_ns - T0) / MS
    late = 10 * int(used_ms // 10)  # the newest sample before that frame
    late_run = run(late_joint_ms=late)
    report = replayed(late_run.write(tmp_path / "bag"))
    assert report.passed
    assert len(report.compared) == len(late_run.made)


def test_state_of_the_chunk_counts_where_the_bag_lost_a_joint_sample(tmp_path):
    told = run()
    chunk = told.made[3]
    stamps = [stamp_of(data) for _, topic, _, data in told.messages if topic == "/joint_states"]
    newest = max(stamp for stamp in stamps if stamp <= chunk.observation_stamp_ns)
    told.drop("joint_states", newest)
    report = replayed(told.write(tmp_path / "bag"))
    assert report.passed
    assert report.compared[3].state_difference_rad > 0.0
    assert "for 1 chunks the bag gives another joint state" in summary(report)


def test_chunks_of_an_older_node_need_a_seed_and_cannot_tell_their_beginning(tmp_path):
    bag = run(old=True).write(tmp_path / "bag")
    with pytest.raises(ReplayError, match="give it with --seed"):
        replayed(bag)
    assert replayed(bag, seed=3).passed
    guided = run(old=True, guided=True).write(tmp_path / "guided")
    report = replayed(guided, seed=3)
    assert not report.compared
    assert not report.passed
    assert "mode rtc" in report.incomparable[0].reason


def test_other_model_is_refused_unless_it_is_asked_for(tmp_path):
    bag = run(model_hash="feedfeedfeed").write(tmp_path / "bag")
    with pytest.raises(ReplayError, match="made by model feedfeedfeed, this one is 0123456789ab"):
        replayed(bag)
    report = replayed(bag, other_model=True)
    assert not report.is_test
    assert len(report.compared) == len(report.results)
    assert "comparison with another model" in summary(report)


def no_chunks(told):
    told.drop(CHUNK_TOPIC)


def no_camera(told):
    told.drop("wrist/image_raw")


def wrong_type(told):
    told.messages = [
        (received, topic, "std_msgs/msg/String" if "wrist" in topic else kind, data)
        for received, topic, kind, data in told.messages
    ]


def two_policies(told):
    received, _, kind, data = next(one for one in told.messages if one[2] == CHUNK_TYPE)
    told.messages.append((received, "/other/policy/action_chunk", kind, data))


def clock_set_back(told):
    chunks = [one for one in told.messages if one[2] == CHUNK_TYPE]
    _, topic, kind, data = chunks[0]
    told.messages.append((chunks[2][0] + 1, topic, kind, data))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_chunks, "no message of type evo1_msgs/msg/ActionChunk"),
        (no_camera, "camera 'image_2': no message on /wrist/image_raw"),
        (wrong_type, "carries std_msgs/msg/String, the robot file says sensor_msgs/msg/Image"),
        (two_policies, "/other/policy/action_chunk, /policy/action_chunk; choose with --chunks"),
        (clock_set_back, "the clock was set back by 1.0 s between chunk 3 and chunk 1"),
    ],
)
def test_bag_that_cannot_be_replayed_says_why(tmp_path, spoil, said):
    told = run()
    spoil(told)
    with pytest.raises(ReplayError, match=said):
        replayed(told.write(tmp_path / "bag"))


def test_other_robot_is_refused(tmp_path, robot_file):
    bag = run(embodiment="three").write(tmp_path / "bag")
    with pytest.raises(ReplayError, match="is for 'three' with the joints elbow, finger"):
        replayed(bag)
    other = ROBOT_TEXT.replace("elbow", "wrist_joint")
    robot_file.write_text(other)
    with pytest.raises(ReplayError, match="with wrist_joint, finger; give the robot file"):
        replayed(run().write(tmp_path / "other"), robot_file=robot_file)
    robot_file.write_text("name: two\n")
    with pytest.raises(ReplayError, match=r"robot\.yaml"):
        replayed(bag, robot_file=robot_file)


def test_what_is_no_bag_is_named(tmp_path):
    with pytest.raises(ReplayError, match="no such file or folder"):
        replayed(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReplayError, match=r"no bag: metadata\.yaml is missing"):
        replayed(tmp_path / "empty")
    bag = run(1.0).write(tmp_path / "bags" / "one")
    with pytest.raises(ReplayError, match="holds 1 bags; give one, such as one"):
        replayed(bag.parent)
    (bag / "metadata.yaml").unlink()
    with pytest.raises(ReplayError, match="the recording was cut off; mend it with 'evo1 recover"):
        replayed(bag)
    (tmp_path / "torn.mcap").write_bytes(b"\x89MCAP0\r\n and no more")
    with pytest.raises(ReplayError, match="cannot be opened"):
        replayed(tmp_path / "torn.mcap")


def answer(monkeypatch, tmp_path, *words, spoil=None):
    """Exit status of the command with a policy of the test, and the JSON that it wrote."""

    def loader(options):
        return lambda robot, seed, steps: FakePolicy(seed, steps, spoil)

    monkeypatch.setattr(command, "_loader", loader)
    file: Path = tmp_path / "replay.json"
    status = command.main([*map(str, words), "--json", str(file)])
    return status, json.loads(file.read_text())


def test_command_tells_by_its_status_and_writes_what_it_found(monkeypatch, tmp_path, capsys):
    bag = run().write(tmp_path / "bag")
    status, data = answer(monkeypatch, tmp_path, bag, "--plot", tmp_path / "replay.png")
    assert status == 0
    assert (data["passed"], data["compared"], data["differing"]) == (True, 5, 0)
    assert (tmp_path / "replay.png").read_bytes()[:4] == b"\x89PNG"
    status, data = answer(monkeypatch, tmp_path, bag, spoil=(5, 0, 1.0))
    assert status == 1
    assert data["results"][0]["first_action"] == 5
    assert data["results"][0]["first_joint"] == "elbow"
    assert command.main([str(tmp_path / "nowhere")]) == 2
    assert "replay: " in capsys.readouterr().err


def test_comparison_with_another_model_is_no_failure(monkeypatch, tmp_path):
    bag = run(model_hash="feedfeedfeed").write(tmp_path / "bag")
    words = (bag, "--checkpoint", tmp_path)
    status, data = answer(monkeypatch, tmp_path, *words, spoil=(5, 0, 1.0))
    assert status == 0
    assert (data["is_test"], data["passed"]) == (False, False)


def test_long_bag_is_listed_in_part(tmp_path):
    report = replayed(run().write(tmp_path / "bag"))
    long = replace(report, results=report.results * 20)
    assert len(table(long).splitlines()) < 5
    assert "100 chunks, all equal; --json FILE has every one" in table(long)


@given(
    st.lists(
        st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 6),
)
def test_first_difference_is_the_first_beyond_the_tolerance(offsets, horizon):
    recorded = RecordedChunk(
        chunk_id=1,
        stamp_ns=0,
        instruction="",
        mode="replace",
        embodiment="two",
        model_hash="",
        joint_names=("a", "b"),
        actions=np.zeros((horizon, 2)),
        seed=0,
        denoising_steps=0,
        device="",
        source_stamps_ns=(),
        state=None,
        guidance=None,
    )
    actions = np.array(offsets)
    found = compare(recorded, actions, tolerance_rad=0.5)
    both = np.abs(actions[:horizon])
    assert found.worst_rad == both.max()
    if found.first is None:
        assert both.max() <= 0.5
    else:
        action, joint = found.first
        assert both[action, joint] > 0.5
        assert both[action, joint] == both[action].max()
        assert (both[:action] <= 0.5).all()


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_pipe_in_place_of_the_recording_is_not_waited_for(tmp_path, capsys, storage):
    bag = run(0.1).write(tmp_path / "bag", storage=storage)
    (data,) = [path for path in bag.iterdir() if path.name != "metadata.yaml"]
    data.unlink()
    os.mkfifo(data)
    for path in (bag, data):
        assert command.main([str(path)]) == 2
        assert f"{data}: it is no regular file" in capsys.readouterr().err


def test_metadata_that_is_nested_without_end_is_one_line(tmp_path, capsys):
    bag = run(0.1).write(tmp_path / "bag")
    (bag / "metadata.yaml").write_text("[" * 5000 + "]" * 5000)
    assert command.main([str(bag)]) == 2
    told = capsys.readouterr().err
    assert f"{bag / 'metadata.yaml'}: " in told
    assert told.count("\n") == 1
