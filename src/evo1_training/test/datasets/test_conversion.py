"""Many episodes to one dataset: order, shards, appending, bad episodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from bag_writing import ENV, ROBOT_TEXT, TYPES, WRIST, picture, steady, write_episode
from converting import Watcher, episodes, lengths, listed

from evo1_training.datasets import conversion_job
from evo1_training.datasets.conversion import convert
from evo1_training.datasets.conversion_request import ConversionError
from evo1_training.recording.episode import bag_path


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
