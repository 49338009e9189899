"""Reading bags that the mcap library wrote, whole, compressed, torn and damaged."""

import json
import re
import struct
import time

import lz4.frame
import pytest
import zstandard
from bag_writing import (
    ENV,
    JOINTS,
    ROBOT_TEXT,
    Recording,
    picture,
    position,
    steady,
    write_episode,
)
from hypothesis import given
from hypothesis import strategies as st
from mcap.data_stream import RecordBuilder
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.writer import CompressionType

from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import (
    FACTS_TOPIC,
    SIDECAR,
    EpisodeError,
    EpisodeFacts,
    Outcome,
    RecordedTopic,
    Sidecar,
    bag_path,
    from_json,
    to_json,
)
from evo1_training.recording.mcap_records import Wanted


def expected(folder):
    """What the mcap library reads, in file order."""
    with bag_path(folder).open("rb") as file:
        return [
            (channel.topic, schema.name, message.log_time, message.data)
            for schema, channel, message in make_reader(file).iter_messages(log_time_order=False)
        ]


def found(episode, **wanted):
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return [(m.topic, m.type, m.log_ns, m.data) for m in episode.read(Wanted(**wanted))]


@pytest.mark.parametrize("compression", list(CompressionType))
def test_messages_are_those_that_the_mcap_library_reads(tmp_path, compression):
    folder = write_episode(tmp_path / "episode_000000", steady(0.5), compression=compression)
    episode = open_episode(folder)
    assert found(episode) == expected(folder)
    assert [m.topic for m in episode.messages([FACTS_TOPIC])] == [FACTS_TOPIC]


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.LZ4])
def test_heads_leave_out_the_images_but_nothing_else(tmp_path, compression):
    folder = write_episode(tmp_path / "episode_000000", steady(0.5), compression=compression)
    whole = expected(folder)
    heads = found(open_episode(folder), head_only=frozenset([ENV]), head_bytes=16)
    cut = [(t, n, log, data[:16] if t == ENV else data) for t, n, log, data in whole]
    assert heads == cut


def test_chunks_outside_the_wanted_times_are_passed_over(tmp_path):
    folder = write_episode(tmp_path / "episode_000000", steady(2.0))
    whole = expected(folder)
    first_ns, last_ns = whole[300][2], whole[400][2]
    part = found(open_episode(folder), first_ns=first_ns, last_ns=last_ns)
    inside = [one for one in whole if first_ns <= one[2] <= last_ns]
    assert len(part) < len(whole) // 2
    assert [one for one in part if first_ns <= one[2] <= last_ns] == inside


def test_torn_bag_reads_up_to_the_tear_with_its_label(tmp_path):
    folder = write_episode(tmp_path / "episode_000000", steady(1.0), instruction="stack")
    whole = expected(folder)
    data = bag_path(folder).read_bytes()
    for share in (0.3, 0.7, 0.95):
        bag_path(folder).write_bytes(data[: int(share * len(data))])
        (folder / SIDECAR).unlink(missing_ok=True)
        episode = open_episode(folder)
        messages = found(episode)
        assert episode.torn
        assert episode.sidecar.facts.instruction == "stack"
        assert messages == whole[: len(messages)]
        assert len(messages) >= (share - 0.1) * len(whole) * 0.9


def test_flipped_byte_in_a_closed_bag_is_damage_and_in_a_torn_one_the_tear(tmp_path):
    folder = write_episode(tmp_path / "episode_000000", steady(1.0))
    count = len(expected(folder))
    data = bytearray(bag_path(folder).read_bytes())
    data[len(data) // 2] ^= 1
    bag_path(folder).write_bytes(data)
    with pytest.raises(EpisodeError, match=r"_0\.mcap: damaged at byte \d+: .*'recover' keeps"):
        found(open_episode(folder))
    bag_path(folder).write_bytes(data[:-40])
    assert 0 < len(found(open_episode(folder))) < count


def test_folder_without_a_bag_names_the_file(tmp_path):
    with pytest.raises(EpisodeError, match=r"no bag; expected episode_000000_0\.mcap"):
        open_episode(tmp_path / "episode_000000")


def test_file_that_is_no_mcap_is_named(tmp_path):
    folder = tmp_path / "episode_000000"
    folder.mkdir()
    bag_path(folder).write_bytes(b"not a bag at all")
    with pytest.raises(EpisodeError, match="no MCAP file"):
        open_episode(folder)


def test_bag_without_facts_is_refused(tmp_path):
    folder = write_episode(tmp_path / "episode_000000", steady(0.2), sidecar=False)
    data = bag_path(folder).read_bytes().replace(b"/evo1/episode", b"/evo1/nothing")
    bag_path(folder).write_bytes(data)
    with pytest.raises(EpisodeError, match=r"damaged|neither"):
        open_episode(folder)


def test_robot_file_that_cannot_be_used_names_the_key(tmp_path):
    folder = write_episode(tmp_path / "episode_000000", steady(0.2), robot_text="name: two\n")
    with pytest.raises(EpisodeError, match=r"episode_000000: robot file"):
        open_episode(folder)


def test_roles_name_the_topics(tmp_path):
    recording = Recording()
    recording.image(ENV, 0, picture(0))
    recording.joints(0, position(0))
    episode = open_episode(write_episode(tmp_path / "episode_000000", recording))
    assert episode.topic("camera:image_1").name == ENV
    assert episode.topic("state").name == JOINTS
    assert [topic.name for topic in episode.topics("camera")] == [ENV, "/wrist/image_raw"]
    assert episode.topic("camera:image_9") is None


def chunk(compression: str, data: bytes, size: int) -> bytes:
    """A chunk record that says it unpacks to `size` bytes."""
    builder = RecordBuilder()
    Chunk(
        compression=compression,
        data=data,
        message_start_time=0,
        message_end_time=1,
        uncompressed_crc=0,
        uncompressed_size=size,
    ).write(builder)
    return bytes(builder.end())


ZEROS = bytes(200 * 2**20)
FILLED = struct.pack("<BQ", 0x80, 10**8) + ZEROS[: 10**8]  # a record that nobody knows
LARGE = struct.pack("<BQ", 0x06, 2**62)  # a chunk's beginning
BOMBS = {
    "lz4 that grows": (lambda: chunk("lz4", lz4.frame.compress(ZEROS), 1000), "does not unpack"),
    "zstd that grows": (lambda: chunk("zstd", zstandard.compress(ZEROS), 1000), "does not unpack"),
    "lz4 that says so": (
        lambda: chunk("lz4", lz4.frame.compress(ZEROS), len(ZEROS)),
        "a chunk of 209,715,200 bytes; at most 134,217,728",
    ),
    "a size of exabytes": (lambda: chunk("zstd", b"", 2**63), "a chunk of 9,223,372"),
    "many that grow together": (
        lambda: 9 * chunk("zstd", zstandard.compress(FILLED), len(FILLED)),
        "unpack to more than 1000 times the file",
    ),
    "no lz4 at all": (lambda: chunk("lz4", b"nonsense", 10), "cannot be unpacked"),
    "unknown packing": (lambda: chunk("x" * 999, b"", 10), "packed with 'xxx"),
    "a record of exabytes": (lambda: LARGE + bytes(100), "it ends within a record"),
    "a name of gigabytes": (
        lambda: chunk("", struct.pack("<BQHI", 0x03, 6, 1, 2**31), 15),
        "damaged",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bag_that_would_grow_without_end_is_named(tmp_path, kind):
    folder = write_episode(tmp_path / "episode_000000", steady(0.1))
    make, expected = BOMBS[kind]
    data = bag_path(folder).read_bytes()
    bag_path(folder).write_bytes(data[:8] + make() + data[8:])
    began_s = time.process_time()
    with pytest.raises(EpisodeError, match=expected) as caught:
        found(open_episode(folder))
    assert str(bag_path(folder)) in str(caught.value)
    assert len(str(caught.value)) < 600
    assert time.process_time() - began_s < 10


FACTS = json.loads(
    to_json(
        Sidecar(
            facts=EpisodeFacts(
                episode_id="episode_000000",
                instruction="pick",
                operator="",
                robot_text=ROBOT_TEXT,
                topics=(RecordedTopic(name="/a", type="b/msg/C", role="extra"),),
                started_ns=1,
                started_utc="",
            ),
            outcome=Outcome(ended_ns=2, grade="pass", reasons=("a",), streams=()),
        )
    )
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@pytest.mark.fuzz
@given(data=st.data())
def test_any_label_is_read_or_named(data):
    label = json.loads(json.dumps(FACTS))
    part = data.draw(st.sampled_from([label, label["facts"], label["facts"]["topics"][0]]))
    for key in data.draw(st.lists(st.sampled_from([*part, "more"]), max_size=2)):
        part[key] = data.draw(VALUES)
    text = json.dumps(label)
    try:
        facts = from_json(text, source="label").facts
    except EpisodeError as error:
        assert str(error).startswith("label: ")  # noqa: PT017
        return
    assert re.fullmatch(r"[\w.-]{1,100}", facts.episode_id, re.ASCII)
    assert not facts.episode_id.startswith(".")
    to_json(Sidecar(facts=facts)).encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 10**6,
        '{"a":' * 10**5,
        '{"schema": 1, "facts": {}, "outcome": null}',
        "1" * 5000,
    ],
)
def test_a_label_that_is_no_label_is_named(tmp_path, text):
    folder = write_episode(tmp_path / "episode_000000", steady(0.1))
    (folder / SIDECAR).write_text(text)
    with pytest.raises(EpisodeError, match=r"episode\.json: ") as caught:
        open_episode(folder)
    assert len(str(caught.value)) < 700
