"""What 'recover' mends, what it keeps, and what it leaves alone."""

import json
import os
from pathlib import Path

import pytest
import yaml
import zstandard
from bag_writing import Recording, at, picture, position, steady, write_episode
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer

from evo1_training.cli.recover import main
from evo1_training.recording.bag_reader import open_episode
from evo1_training.recording.episode import SIDECAR, EpisodeError, bag_path, read_sidecar
from evo1_training.recording.mcap_records import Wanted
from evo1_training.recording.recovery import needs_recovery, recover

METADATA = {"relative_file_paths": ["episode_000000_0.mcap"], "compression_mode": ""}


def make(folder: Path, seconds: float = 1.0, **options) -> Path:
    """An episode that is in order."""
    write_episode(folder, steady(seconds), **options)
    write_metadata(folder, METADATA)
    return folder


def write_metadata(folder: Path, facts: dict) -> None:
    text = yaml.safe_dump({"rosbag2_bagfile_information": facts})
    (folder / "metadata.yaml").write_text(text)


def contents(root: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def times(folder: Path) -> list[int]:
    with bag_path(folder).open("rb") as file:
        return [message.log_time for _, _, message in make_reader(file).iter_messages()]


def flip(path: Path, place: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    return bytes(data)


@pytest.fixture
def episode(tmp_path):
    return make(tmp_path / "episode_000000")


def refused(folder: Path, capsys, expected: str) -> None:
    """'recover' names the problem, and changes nothing of what stands there."""
    before = contents(folder.parent)
    assert main([str(folder)]) == 1
    assert main(["--dry-run", str(folder)]) == 1
    told = capsys.readouterr().err
    assert expected in told
    assert str(folder) in told
    assert contents(folder.parent) == before


def test_an_episode_in_order_is_left_alone(episode, capsys):
    before = contents(episode)
    assert main([str(episode)]) == 0
    assert capsys.readouterr().out == f"{episode}: in order\n"
    assert contents(episode) == before


def test_a_flipped_byte_costs_its_chunk_and_the_original_is_kept(episode, capsys):
    whole, bag = times(episode), bag_path(episode)
    damaged = flip(bag, bag.read_bytes().find(picture(15).tobytes()) + 10)
    sidecar = (episode / SIDECAR).read_bytes()
    with pytest.raises(EpisodeError, match=r"damaged at byte \d+: .*'recover' keeps"):
        list(open_episode(episode).messages())
    assert main(["--dry-run", str(episode)]) == 0
    assert "a chunk's checksum is wrong; would be recovered" in capsys.readouterr().out
    assert bag.read_bytes() == damaged
    assert main([str(episode)]) == 0
    told = capsys.readouterr().out
    assert "left out, damaged at byte" in told
    assert f"{bag.name}.before_recover" in told
    kept = times(episode)
    assert 0.9 * len(whole) < len(kept) < len(whole)
    assert (kept[0], kept[-1]) == (whole[0], whole[-1])
    assert bag.with_name(f"{bag.name}.before_recover").read_bytes() == damaged
    assert (episode / f"{SIDECAR}.before_recover").read_bytes() == sidecar
    assert read_sidecar(episode).outcome.recovered
    assert len(list(open_episode(episode).messages())) == len(kept)
    assert main([str(episode)]) == 0
    assert "in order" in capsys.readouterr().out


def test_channels_that_only_the_summary_tells_are_enough(episode):
    bag = bag_path(episode)
    flip(bag, bag.read_bytes().find(b"ros2msg"))  # in the first chunk
    recovery = recover(episode)
    assert len(recovery.damage) == 1
    assert recovery.messages > 100
    assert read_sidecar(episode).facts.instruction == "pick"


def test_what_an_earlier_recovery_kept_is_not_overwritten(episode):
    bag = bag_path(episode)
    first = flip(bag, len(bag.read_bytes()) // 3)
    recover(episode)
    second = flip(bag, len(bag.read_bytes()) // 2)
    assert needs_recovery(episode)
    recover(episode)
    assert bag.with_name(f"{bag.name}.before_recover").read_bytes() == first
    assert bag.with_name(f"{bag.name}.before_recover.2").read_bytes() == second


def test_an_episode_that_was_packed_afterwards_is_not_changed(episode, capsys):
    bag = bag_path(episode)
    bag.with_suffix(".mcap.zstd").write_bytes(zstandard.compress(bag.read_bytes()))
    bag.unlink()
    refused(episode, capsys, "'episode_000000_0.mcap.zstd' beside or in place of")
    assert main([str(episode)]) == 1
    assert "decompress it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({**METADATA, "compression_mode": "MESSAGE"}, "a bag packed by MESSAGE"),
        ({**METADATA, "relative_file_paths": ["../x.mcap"]}, "['../x.mcap']"),
        (
            {**METADATA, "relative_file_paths": ["episode_000000_0.mcap", "\n/etc/passwd"]},
            r"['episode_000000_0.mcap', '\n/etc/passwd']",
        ),
    ],
)
def test_a_bag_of_another_recorder_is_not_changed(episode, capsys, facts, expected):
    write_metadata(episode, facts)
    flip(bag_path(episode), 5000)
    refused(episode, capsys, expected)


def test_files_of_a_split_bag_are_not_joined(episode, capsys):
    bag_path(episode).with_name("episode_000000_1.mcap").write_bytes(b"more")
    flip(bag_path(episode), 5000)
    refused(episode, capsys, "'episode_000000_1.mcap' beside or in place of")


def test_a_bag_that_is_gone_is_not_made_up(episode, capsys):
    bag_path(episode).unlink()
    refused(episode, capsys, "it was moved or removed")
    (episode / "metadata.yaml").unlink()
    refused(episode, capsys, "it was moved or removed")


def test_facts_of_a_later_version_are_not_replaced(episode, capsys):
    text = (episode / SIDECAR).read_text().replace('"schema": 1', '"schema": 2')
    (episode / SIDECAR).write_text(text)
    refused(episode, capsys, "schema 2, expected 1")


def test_a_git_lfs_pointer_is_called_one(episode, capsys):
    bag_path(episode).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1551234567\n"
    )
    refused(episode, capsys, "a Git LFS pointer to a file of 1,551,234,567 bytes")
    with pytest.raises(EpisodeError, match="git lfs pull"):
        open_episode(episode)


def test_a_bag_that_is_a_link_to_elsewhere_is_read_and_not_replaced(episode, tmp_path, capsys):
    elsewhere = tmp_path / "store" / "object"
    elsewhere.parent.mkdir()
    flip(bag_path(episode), 5000)
    bag_path(episode).rename(elsewhere)
    bag_path(episode).symlink_to(elsewhere)
    refused(episode, capsys, "is not in the folder")
    assert open_episode(episode).sidecar.facts.instruction == "pick"


def test_a_pipe_in_place_of_the_bag_is_not_waited_for(episode, capsys):
    bag_path(episode).unlink()
    os.mkfifo(bag_path(episode))
    refused(episode, capsys, "no bag")
    with pytest.raises(EpisodeError, match="no regular file"):
        open_episode(episode)


@pytest.mark.parametrize("writes", ["replace", "write_sidecar", "write_metadata"])
def test_a_recovery_that_was_cut_off_is_done_again_and_the_original_is_kept(
    episode, monkeypatch, writes
):
    class KilledError(BaseException):
        pass

    def killed(*_, **__):
        raise KilledError

    bag = bag_path(episode)
    damaged = flip(bag, 3000)
    with monkeypatch.context() as patch:
        if writes == "replace":
            patch.setattr(Path, "replace", killed)
        else:
            patch.setattr(f"evo1_training.recording.recovery.{writes}", killed)
        with pytest.raises(KilledError):
            recover(episode)
    assert needs_recovery(episode)
    kept = len(recover(episode).kept)
    assert kept >= 2
    assert needs_recovery(episode) == ""
    assert damaged in [path.read_bytes() for path in episode.glob(f"{bag.name}.before_recover*")]
    assert read_sidecar(episode).outcome.recovered


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"topics": [{"name": "/a", "type": "b", "role": "camera:evil"}]}, "no robot file names"),
        ({"robot_text": "name: x"}, "robot file"),
    ],
)
def test_facts_that_cannot_be_used_leave_everything_as_it_is(episode, capsys, change, expected):
    data = json.loads((episode / SIDECAR).read_text())
    data["facts"] |= change
    (episode / SIDECAR).write_text(json.dumps(data))
    bag_path(episode).write_bytes(bag_path(episode).read_bytes()[:-100])
    before = contents(episode)
    assert main([str(episode)]) == 1
    assert expected in capsys.readouterr().err
    assert contents(episode) == before


def hostile_bag(path: Path, *, qos: str = "", log_ns: int | None = None) -> None:
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"\xff\xfe")
        channel = writer.register_channel("/x", "cdr", schema, {"offered_qos_profiles": qos})
        for number in range(2):
            writer.add_message(channel, at(number) if log_ns is None else log_ns, b"", at(number))
        writer.finish()


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("qos", [BOMB, "- 1", "[" * 5000, "- {reliability: x}", "\0"])
def test_qos_that_is_no_qos_is_taken_as_unknown(episode, qos):
    hostile_bag(bag_path(episode), qos=qos)
    (episode / "metadata.yaml").unlink()
    assert recover(episode).messages == 2


def test_a_message_of_a_time_beyond_all_clocks_is_damage(episode):
    hostile_bag(bag_path(episode), log_ns=2**64 - 1)
    assert "a message of the time" in needs_recovery(episode)
    with pytest.raises(EpisodeError, match="a message of the time"):
        list(open_episode(episode).read(Wanted()))


FEWER = settings(max_examples=max(10, settings.default.max_examples // 5))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The parts of a short episode."""
    recording = Recording()
    for k in range(4):
        recording.image("/env/image_raw", k * 33, picture(k))
        recording.joints(k * 33, position(k))
    folder = tmp_path_factory.mktemp("small") / "episode_000000"
    write_episode(folder, recording, chunk_size=900)
    return bag_path(folder).read_bytes(), (folder / SIDECAR).read_bytes()


@pytest.mark.fuzz
@FEWER
@given(data=st.data())
def test_any_damaged_bag_is_read_or_named_and_never_lost(small, tmp_path_factory, data):
    bag, sidecar = bytearray(small[0]), small[1]
    for place in data.draw(st.lists(st.integers(0, len(bag) - 1), max_size=4)):
        bag[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del bag[data.draw(st.integers(0, len(bag))) :]
    folder = tmp_path_factory.mktemp("fuzz") / "episode_000000"
    folder.mkdir()
    bag_path(folder).write_bytes(bag)
    if data.draw(st.booleans()):
        (folder / SIDECAR).write_bytes(sidecar)
    for use in (lambda: list(open_episode(folder).messages()), lambda: recover(folder)):
        try:
            use()
        except EpisodeError as error:
            assert str(folder) in str(error)  # noqa: PT017
    assert bytes(bag) in [path.read_bytes() for path in folder.iterdir()]
