import json
import threading

import hypothesis.strategies as st
import pytest
from bag_writing import ROBOT_TEXT, T0
from hypothesis import given, settings
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from evo1_training.recording.bag_writer import BagWriter, WriterLimits, string_cdr
from evo1_training.recording.cdr import definition
from evo1_training.recording.episode import (
    FACTS_TOPIC,
    EpisodeError,
    EpisodeFacts,
    Sidecar,
    bag_path,
    read_sidecar,
    to_json,
)
from evo1_training.recording.mcap_writer import TopicQos, TopicSpec

STRING = "std_msgs/msg/String"
FACTS = EpisodeFacts(
    episode_id="episode_000000",
    instruction="put the cube into the box",
    operator="",
    robot_text=ROBOT_TEXT,
    topics=(),
    started_ns=T0,
    started_utc="",
)
WORDS = TopicSpec(
    name="/words", type=STRING, definition=definition(STRING), qos=TopicQos(latched=True)
)
MORE = TopicSpec(name="/more", type=STRING, definition=definition(STRING))


def write(folder, texts, **limits):
    writer = BagWriter(folder, Sidecar(facts=FACTS), [WORDS], limits=WriterLimits(**limits))
    for number, text in enumerate(texts):
        stamp = T0 + number * 1000
        writer.put("/words", string_cdr(text), log_ns=stamp, publish_ns=stamp - 5)
    writer.close()
    return writer


def heard(folder, topic="/words"):
    with AnyReader([folder]) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        return [
            (stamp, reader.deserialize(raw, c.msgtype).data)
            for c, stamp, raw in reader.messages(connections)
        ]


def test_bag_is_what_was_put_for_both_readers(tmp_path):
    folder = tmp_path / "episode_000000"
    writer = write(folder, ["one", "two", "three"])
    assert (writer.error, writer.lost, writer.written()) == (None, {}, {"/words": 3})
    assert heard(folder) == [(T0, "one"), (T0 + 1000, "two"), (T0 + 2000, "three")]
    with bag_path(folder).open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        messages = list(reader.iter_messages(topics=["/words"]))
        assert [m.publish_time for _, _, m in messages] == [T0 - 5, T0 + 995, T0 + 1995]
        assert [m.sequence for _, _, m in messages] == [0, 1, 2]
        assert messages[0][0].encoding == "ros2msg"
        (record,) = reader.iter_metadata()
        assert record.metadata["instruction"] == "put the cube into the box"


def test_facts_come_first_and_stand_beside_the_bag(tmp_path):
    folder = tmp_path / "episode_000000"
    write(folder, [])
    assert read_sidecar(folder) == Sidecar(facts=FACTS)
    assert heard(folder, FACTS_TOPIC) == [(T0, to_json(Sidecar(facts=FACTS)))]
    assert json.loads(to_json(Sidecar(facts=FACTS)))["outcome"] is None


def test_latched_topic_stays_latched_in_the_bag(tmp_path):
    folder = tmp_path / "episode_000000"
    write(folder, ["one"])
    with AnyReader([folder]) as reader:
        (words,) = [c for c in reader.connections if c.topic == "/words"]
        assert words.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"


def test_topic_that_appears_later_is_written(tmp_path):
    folder = tmp_path / "episode_000000"
    writer = BagWriter(folder, Sidecar(facts=FACTS), [WORDS])
    writer.add_topic(MORE)
    writer.put("/more", string_cdr("late"), log_ns=T0 + 1, publish_ns=T0)
    writer.close()
    assert heard(folder, "/more") == [(T0 + 1, "late")]


def test_what_finds_no_room_is_counted_and_the_rest_is_written(tmp_path):
    folder = tmp_path / "episode_000000"
    writer = write(folder, ["x" * 900, "y" * 2000, "z" * 10], queue_bytes=1000)
    assert writer.lost["/words"] >= 1
    assert writer.written()["/words"] + writer.lost["/words"] == 3
    assert len(heard(folder)) == writer.written()["/words"]


def test_folder_that_exists_is_never_written_over(tmp_path):
    folder = tmp_path / "episode_000000"
    write(folder, ["one"])
    before = bag_path(folder).read_bytes()
    with pytest.raises(FileExistsError):
        write(folder, ["two"])
    assert bag_path(folder).read_bytes() == before


def test_put_after_the_end_is_lost_and_counted(tmp_path):
    writer = write(tmp_path / "episode_000000", [])
    assert not writer.put("/words", string_cdr("late"), log_ns=T0, publish_ns=T0)
    assert writer.lost == {"/words": 1}


def test_end_is_told(tmp_path):
    told = threading.Event()
    writer = BagWriter(tmp_path / "episode_000000", Sidecar(facts=FACTS), [WORDS], on_end=told.set)
    writer.close()
    assert told.is_set()


def test_type_that_is_not_installed_is_named():
    with pytest.raises(EpisodeError, match="foreign_msgs/msg/Thing"):
        definition("foreign_msgs/msg/Thing")


def test_definition_holds_the_types_within():
    files = {
        "own_msgs/msg/Outer": "std_msgs/Header header\nInner[] inner\nuint8 A=1\n",
        "own_msgs/msg/Inner": "float64 x  # [m]\n",
    }
    text = definition("own_msgs/msg/Outer", files.get)
    assert text.count("MSG: ") == 3
    assert "MSG: own_msgs/Inner\nfloat64 x" in text
    assert "MSG: builtin_interfaces/Time" in text


@settings(max_examples=15)
@given(
    texts=st.lists(st.text(alphabet="abc", max_size=3000), max_size=40),
    chunk=st.sampled_from([1, 500, 4096]),
)
def test_any_messages_come_back(tmp_path_factory, texts, chunk):
    folder = tmp_path_factory.mktemp("bag") / "episode_000000"
    write(folder, texts, chunk_bytes=chunk, reserve_bytes=0)
    assert [text for _, text in heard(folder)] == texts
