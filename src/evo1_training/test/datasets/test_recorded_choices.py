"""What the recorder was told to do with images and labels reaches the dataset."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from bag_writing import (
    ENV,
    IMAGE,
    MS,
    ROBOT_TEXT,
    ROLES,
    T0,
    WRIST,
    Recording,
    cdr,
    image_cdr,
    message,
    picture,
    steady,
)
from converting import Watcher, listed
from mcap.reader import make_reader
from PIL import Image
from rosbags.highlevel import AnyReader

from evo1_policy.robot_config import parse_robot
from evo1_training.cli.recover import main as recover
from evo1_training.datasets.conversion import convert
from evo1_training.datasets.reader.folder import open_folder
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.bag_writer import WriterLimits
from evo1_training.recording.cdr import definition
from evo1_training.recording.episode import SIDECAR, Label, RecordedTopic, bag_path, read_sidecar
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.mcap_writer import TopicSpec
from evo1_training.recording.packing import Packing, read_packings
from evo1_training.recording.session import Session, SessionInput
from evo1_training.recording.take import Ending, RefusedError, TakeState

BEGIN_NS = T0 + 200 * MS
STRING, SAID = "std_msgs/msg/String", "/instruction"


def record(root, recording: Recording, *, between=lambda session, now_ns: None, lost=0, **choices):
    """Send everything to a recorder's session, whose take begins after 0.2 s; gives its folder."""
    now = [T0 - 10**9]
    session = Session(
        parse_robot(ROBOT_TEXT),
        EpisodeStore(root),
        now_ns=lambda: now[0],
        min_free_gb=0.0,
        **choices,
    )
    roles = {**ROLES, SAID: "instruction"}
    session.set_inputs(
        [
            SessionInput(
                topic=RecordedTopic(name=name, type=kind, role=roles.get(name, "extra")),
                spec=TopicSpec(name=name, type=kind, definition=definition(kind)),
            )
            for name, kind in recording.types.items()
        ]
    )
    end_ns = max(at_ns for at_ns, topic, _ in recording.messages if topic == ENV) + 20 * MS
    for received_ns, topic, data in sorted(recording.messages, key=lambda one: one[0]):
        if received_ns > end_ns:
            break
        now[0] = received_ns
        if received_ns >= BEGIN_NS and session.take.state is TakeState.IDLE:
            session.start("pick the can")
            assert session.tick() is None
            assert session.take.state is TakeState.RECORDING, session.take
        between(session, received_ns)
        session.receive(topic, data, received_ns=received_ns, publish_ns=received_ns)
    session.end(Ending.SAVE)
    result = session.close()
    assert (result.saved, result.reason, result.lost) == (True, "", lost)
    return root / "episode_000000"


def pictures(dataset, camera):
    table = pq.read_table(next(dataset.glob("data/*/*.parquet")))
    column = table[f"observation.images.{camera}"].to_pylist()
    return [np.asarray(Image.open(io.BytesIO(one["bytes"]))) for one in column]


def tasks(dataset):
    """The instruction of each row, by the reader of both formats."""
    folder = open_folder(dataset)
    table = pq.read_table(folder.episodes[0].data_path)
    return [folder.tasks[number] for number in table["task_index"].to_pylist()]


def test_png_gives_the_very_pixels_and_jpeg_nearly_them(tmp_path, request_for):
    packings = read_packings("/env/*=png, */image_raw=jpeg:90")
    folder = record(tmp_path / "demos", steady(1.5, size=(48, 64)), packings=packings)
    facts, outcome = (read_sidecar(folder).facts, read_sidecar(folder).outcome)
    assert (outcome.grade, outcome.reasons) == ("pass", ())
    kept = {topic.role: (topic.name, topic.packed) for topic in facts.topics}
    assert kept["camera:image_1"] == ("/env/image_raw/compressed", "png")
    assert kept["camera:image_2"] == ("/wrist/image_raw/compressed", "jpeg 90")
    assert kept["state"] == ("/joint_states", "")
    request = request_for(tmp_path / "demos")
    summary = convert(request, Watcher())
    assert "image_2: images were compressed while recorded: jpeg 90" in summary.results[0].notes
    (source,) = (request.dataset / "meta" / "evo1" / "sources.jsonl").read_text().splitlines()
    told = json.loads(source)["images_compressed_while_recorded"]
    assert told == {"image_1": "png", "image_2": "jpeg 90"}
    first = pictures(request.dataset, "image_1")
    number = next(k for k in range(45) if np.array_equal(first[0], picture(k, (48, 64))))
    for k, image in enumerate(first):
        np.testing.assert_array_equal(image, picture(number + k, (48, 64)))
    assert len(first) > 30
    assert all(image.shape == (48, 64, 3) for image in pictures(request.dataset, "image_2"))


def test_a_compressed_take_is_recovered_as_it_was_recorded(tmp_path, request_for):
    packings = read_packings("*=jpeg")
    folder = record(tmp_path / "demos", steady(1.5, size=(48, 64)), packings=packings)
    whole = [(one.topic, one.log_ns, one.data) for one in open_episode(folder).messages()]
    bag_path(folder).write_bytes(bag_path(folder).read_bytes()[:-40])
    (folder / SIDECAR).unlink()
    assert recover([str(folder)]) == 0
    sidecar = read_sidecar(folder)
    assert {topic.packed for topic in sidecar.facts.topics if "camera" in topic.role} == {
        "jpeg 95"
    }
    assert [(one.topic, one.log_ns, one.data) for one in open_episode(folder).messages()] == whole
    convert(request_for(tmp_path / "demos"), Watcher())


def test_other_readers_find_ordinary_compressed_images(tmp_path):
    folder = record(tmp_path, steady(1.0, size=(48, 64)), packings=read_packings("*=png"))
    with AnyReader([folder]) as reader:
        kinds = {one.topic: (one.msgtype, one.msgcount) for one in reader.connections}
    assert kinds["/env/image_raw/compressed"] == ("sensor_msgs/msg/CompressedImage", 24)
    assert "/env/image_raw" not in kinds


def test_what_cannot_be_compressed_stays_raw_and_is_told(tmp_path):
    """A depth stream beside the cameras, and one damaged frame of a camera."""
    recording = steady(1.5, size=(48, 64))
    recording.types["/depth"] = IMAGE
    for k in range(30):
        depth = np.zeros((4, 4, 2), np.uint8)
        recording.image("/depth", 50 * k, depth, encoding="16UC1", received_ms=50 * k + 2)
    damaged = image_cdr(T0 + 1001 * MS, picture(3, (48, 64)))[:400]
    recording.add(ENV, T0 + 1002 * MS, damaged)
    folder = record(tmp_path, recording, packings=read_packings("*=jpeg"))
    outcome = read_sidecar(folder).outcome
    assert outcome.grade == "warn"
    reasons = "; ".join(outcome.reasons)
    assert "/depth: 26 images could not be compressed and stay raw: " in reasons
    assert "16UC1" in reasons
    assert "/env/image_raw: 1 images could not be compressed and stay raw: " in reasons
    with bag_path(folder).open("rb") as file:
        kept = [m.data for _, c, m in make_reader(file).iter_messages() if c.topic == ENV]
    assert kept == [damaged]


def test_a_camera_that_cannot_be_compressed_stays_raw_from_the_first_frame(tmp_path):
    recording = steady(1.0, size=(48, 64))
    recording.types[f"{ENV}/compressed"] = "sensor_msgs/msg/CompressedImage"
    folder = record(tmp_path, recording, packings=read_packings("*=jpeg"))
    sidecar = read_sidecar(folder)
    assert f"{ENV} stays raw: its compressed topic is recorded, too" in sidecar.outcome.reasons
    names = {topic.role: topic.name for topic in sidecar.facts.topics if "camera" in topic.role}
    assert names == {"camera:image_1": ENV, "camera:image_2": f"{WRIST}/compressed"}


def test_images_that_wait_for_compression_are_bounded_and_counted(tmp_path):
    """An image that finds no room is lost by name; nothing waits, and memory stays as it is."""
    limits = WriterLimits(queue_bytes=3 * 48 * 64 * 3)
    recording = steady(1.0, size=(480, 640))
    root = tmp_path / "demos"
    record(root, recording, packings=read_packings("*=png"), limits=limits, lost=48)
    outcome = read_sidecar(root / "episode_000000").outcome
    assert outcome.grade == "fail"
    lost = {stream.topic: stream.lost for stream in outcome.streams}
    assert lost[ENV] == lost[WRIST] == 24


@pytest.mark.parametrize("text", ["*", "=png", "*=png:3", "*=jpeg:0", "*=jpeg:101", "*=webp"])
def test_a_choice_that_cannot_be_meant_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"such as /\*/image_raw=jpeg:95"):
        read_packings(text)


def test_choices_are_read_in_order():
    assert read_packings("") == ()
    assert read_packings("/a=jpeg, /b=jpeg:80,/c=png") == (
        Packing(pattern="/a", quality=95),
        Packing(pattern="/b", quality=80),
        Packing(pattern="/c", quality=0),
    )


def said(recording, *words):
    recording.types[SAID] = STRING
    for at_ms, text in words:
        data = cdr(STRING, message(STRING, data=text))
        recording.add(SAID, T0 + round(at_ms * MS), data)
    return recording


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_what_is_said_during_a_take_becomes_the_task_of_its_frames(tmp_path, request_for, version):
    words = (100, "tidy up"), (210, "tidy up"), (705, "put it down"), (900, " put it down ")
    folder = record(tmp_path / "demos", said(steady(1.5), *words))
    outcome = read_sidecar(folder).outcome
    assert outcome.labels == (Label(from_ns=T0 + 705 * MS, instruction="put it down"),)
    request = request_for(tmp_path / "demos", version=version)
    convert(request, Watcher())
    table = pq.read_table(open_folder(request.dataset).episodes[0].data_path)
    ticks = np.array(
        table["observation.tick_ns"]
        if "observation.tick_ns" in table.column_names
        else table["evo1.tick_ns"]
    )
    early = ticks < T0 + 705 * MS
    assert 10 < early.sum() < len(ticks) - 10
    assert tasks(request.dataset) == [
        "pick the can" if one else "put it down" for one in early.tolist()
    ]
    if version == "v2.1":
        assert listed(request)[0]["tasks"] == ["pick the can", "put it down"]


def test_a_person_changes_the_label_of_the_running_take(tmp_path):
    def between(session, now_ns):
        if now_ns >= T0 + 500 * MS and session.report().take.instruction == "pick the can":
            session.relabel("hand it over")
            assert session.report().take.instruction == "hand it over"

    folder = record(tmp_path, steady(1.0), between=between)
    (label,) = read_sidecar(folder).outcome.labels
    assert label.instruction == "hand it over"


def test_labels_survive_a_take_that_was_cut_off(tmp_path):
    folder = record(tmp_path, said(steady(1.0), (700, "put it down"), (800, "rest")))
    before = read_sidecar(folder).outcome.labels
    (folder / SIDECAR).unlink()
    bag_path(folder).write_bytes(bag_path(folder).read_bytes()[:-40])
    assert recover([str(folder)]) == 0
    assert read_sidecar(folder).outcome.labels == before
    assert len(before) == 2


def test_a_text_that_can_be_no_label_is_told_and_changes_nothing(tmp_path):
    folder = record(tmp_path, said(steady(1.0), (400, "a"), (500, "b"), (600, "\x1b[2J")))
    outcome = read_sidecar(folder).outcome
    assert [label.instruction for label in outcome.labels] == ["a", "b"]
    assert outcome.grade == "warn"
    assert any("1 of 3 messages on /instruction unusable" in one for one in outcome.reasons)


def test_without_a_running_take_there_is_no_label_to_change(tmp_path):
    session = Session(parse_robot(ROBOT_TEXT), EpisodeStore(tmp_path), now_ns=lambda: T0)
    with pytest.raises(RefusedError, match="no take is being recorded"):
        session.relabel("pick")
