"""Reading bags that the mcap library wrote, whole, compressed, torn and damaged."""

import pytest
from bag_writing import ENV, JOINTS, Recording, picture, position, steady, write_episode
from mcap.reader import make_reader
from mcap.writer import CompressionType

from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import FACTS_TOPIC, SIDECAR, EpisodeError, bag_path
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
