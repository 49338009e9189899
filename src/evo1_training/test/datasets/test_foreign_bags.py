"""Bags of other recorders become the same rows as those of our own."""

import json

import foreign_bags
import numpy as np
import pyarrow.parquet as pq
import pytest
from bag_writing import ENV, ROBOT_TEXT, at, position, steady, write_episode
from converting import Watcher, lengths, listed
from foreign_bags import BOOL, STRING, VARIANTS, driven, files_of, say, without, write_bag

from evo1_policy.untrusted import UntrustedError
from evo1_training.cli.convert import main
from evo1_training.datasets.conversion import convert
from evo1_training.datasets.conversion_request import ConversionError, Request
from evo1_training.recording.foreign_bag import ForeignBags

PLAIN = {"storage": "png", "min_frames": 5}
LEADER = """
state: {topic: /joint_states, prefix: follower_}
action: {topic: /joint_states, prefix: leader_}
"""
ARRAYS = "action: {topic: /forward_position_controller/commands, joints: [finger, elbow]}"
SECOND = "action: {topic: /leader/joint_states, joints: {elbow: a, finger: b}}"


@pytest.fixture
def bags(tmp_path):
    """Makes a request that converts the bags below a folder."""
    (tmp_path / "two.yaml").write_text(ROBOT_TEXT)

    def make(root, map_text="", *, instruction="pick"):
        path = None
        if map_text:
            path = tmp_path / "topics.yaml"
            path.write_text(map_text)
        foreign = ForeignBags.read(tmp_path / "two.yaml", path, instruction)
        return Request(episodes=[root], dataset=tmp_path / "dataset", foreign=foreign, **PLAIN)

    return make


@pytest.fixture
def ours(tmp_path):
    """The rows that our own recorder's episode gives."""

    def rows(recording):
        write_episode(tmp_path / "ours" / "episode_000000", recording)
        request = Request(episodes=[tmp_path / "ours"], dataset=tmp_path / "own_data", **PLAIN)
        convert(request, Watcher())
        return table(request)

    return rows


def table(request):
    paths = sorted(request.dataset.glob("data/*/*.parquet"))
    assert paths
    return [pq.read_table(path) for path in paths]


def test_our_own_bag_as_somebody_elses_gives_the_same_rows(tmp_path, bags, ours):
    expected = ours(steady(4.0, lost={40, 41, 42, 43, 44}))
    request = bags(tmp_path / "ours")
    convert(request, Watcher())
    assert len(expected) == 2
    assert all(one.equals(two) for one, two in zip(table(request), expected, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_bag_gives_the_rows_of_our_own(tmp_path, bags, ours, variant):
    (expected,) = ours(steady(1.2))
    folder = VARIANTS[variant](tmp_path / "bags" / "take", steady(1.2))
    before = files_of(folder)
    request = bags(tmp_path / "bags")
    summary = convert(request, Watcher())
    (found,) = table(request)
    assert summary.failed == []
    assert found.equals(expected.slice(0, len(found)))
    assert len(found) == len(expected) or variant == "torn"
    assert listed(request)[0]["tasks"] == ["pick"]
    assert files_of(folder) == before


@pytest.mark.parametrize(
    ("kind", "map_text"), [("leader", LEADER), ("array", ARRAYS), ("joint state", SECOND)]
)
def test_actions_of_every_form_are_those_of_a_trajectory(tmp_path, bags, ours, kind, map_text):
    (expected,) = ours(driven("own"))
    write_bag(tmp_path / "bags" / "take", driven(kind))
    request = bags(tmp_path / "bags", map_text)
    convert(request, Watcher())
    (found,) = table(request)
    assert found.equals(expected)


def test_what_the_map_lacks_is_named_with_the_line_to_write(tmp_path, bags):
    write_bag(tmp_path / "bags" / "take", without(driven("array"), ENV))
    with pytest.raises(ConversionError) as told:
        convert(bags(tmp_path / "bags"), Watcher())
    for words in (
        "camera 'image_1' (env/image_raw)",
        "the action (teleop/joint_trajectory or arm/joint_trajectory)",
        "/wrist/image_raw (sensor_msgs/msg/Image)",
        "'cameras: {image_1: TOPIC}'",
        "'action: {topic: /forward_position_controller/commands, joints: [elbow, finger]}'",
    ):
        assert words in str(told.value)
    with pytest.raises(ConversionError, match=r"numbers without names; write into the map"):
        convert(
            bags(
                tmp_path / "bags",
                "cameras: {image_1: /wrist/image_raw}\n"
                "action: /forward_position_controller/commands",
            ),
            Watcher(),
        )


def test_joints_under_other_names_are_told_with_the_line_to_write(tmp_path, bags):
    write_bag(tmp_path / "bags" / "take", driven("leader"))
    only = "action: {topic: /joint_states, prefix: leader_}"
    line = r"'state: \{topic: /joint_states, prefix: follower_\}'"
    with pytest.raises(ConversionError, match=line):
        convert(bags(tmp_path / "bags", only), Watcher())


def in_degrees(kind, monkeypatch):
    """The same motion, its joints in degrees."""
    turned = position
    with monkeypatch.context() as patch:
        patch.setattr(foreign_bags, "position", lambda ms: np.degrees(turned(ms)).tolist())
        return driven(kind)


DEGREES = {
    "leader": (
        LEADER.replace("_}", "_, units: deg}"),
        "state: {topic: /joint_states, prefix: follower_, units: deg}",
    ),
    "array": (
        "state: {topic: /joint_states, units: {elbow: deg, finger: deg}}\n"
        + ARRAYS.replace("]}", "], units: {elbow: deg, finger: {scale: 0.017453292, offset: 0}}}"),
        "state: {topic: /joint_states, units: deg}",
    ),
    "own": (
        "state: {topic: joint_states, units: deg}\n"
        "action: {topic: teleop/joint_trajectory, units: deg}",
        "state: {topic: /joint_states, units: deg}",
    ),
}


@pytest.mark.parametrize("kind", DEGREES)
def test_degrees_are_refused_with_their_numbers_or_said_in_the_map_and_turned(
    tmp_path, bags, ours, monkeypatch, kind
):
    (expected,) = ours(driven("own"))
    write_bag(tmp_path / "bags" / "take", in_degrees(kind, monkeypatch))
    said, line = DEGREES[kind]
    plain = {"leader": LEADER, "array": ARRAYS, "own": ""}[kind]
    with pytest.raises(
        ConversionError, match=r"elbow -?[\d.]+ \.\. [\d.]+, limits -10 \.\. 10"
    ) as e:
        convert(bags(tmp_path / "bags", plain), Watcher())
    assert f"Write into the map (--map) '{line}'" in str(e.value)
    request = bags(tmp_path / "bags", said)
    convert(request, Watcher())
    (found,) = table(request)
    for key in ("observation.state", "action"):
        ours_, theirs = (np.array(one[key].to_pylist()) for one in (expected, found))
        np.testing.assert_allclose(theirs, ours_, atol=1e-5)


def test_a_unit_that_nobody_knows_is_refused_by_its_key(bags, tmp_path):
    with pytest.raises(UntrustedError, match=r"state.units: expected rad, deg, a file .*'inch'"):
        bags(tmp_path, "state: {topic: /joint_states, units: inch}")
    with pytest.raises(UntrustedError, match=r"state\.units\.wrist: unknown key; .* elbow"):
        bags(tmp_path, "state: {topic: /joint_states, units: {wrist: deg}}")


def test_a_bag_without_a_task_asks_for_one(tmp_path, bags):
    write_bag(tmp_path / "bags" / "take", steady(1.2))
    with pytest.raises(ConversionError, match=r"'take' has no instruction .* --instruction TEXT"):
        convert(bags(tmp_path / "bags", instruction=""), Watcher())


def test_episodes_begin_and_end_by_a_topic_and_take_their_task_from_another(tmp_path, bags):
    recording = steady(5.0)
    for ms, running in ((500, True), (2000, False), (3000, True), (4500, False)):
        say(recording, "/recording", BOOL, ms, running)
    for ms, words in ((0, "pick"), (2500, "place")):
        say(recording, "/task", STRING, ms, words)
    write_bag(tmp_path / "bags" / "take", recording)
    request = bags(
        tmp_path / "bags",
        "instruction: {topic: /task}\nepisodes: {topic: /recording}",
        instruction="",
    )
    convert(request, Watcher())
    assert [one["tasks"] for one in listed(request)] == [["pick"], ["place"]]
    assert all(43 <= length <= 45 for length in lengths(request))


def test_a_task_that_changes_within_an_episode_is_that_of_its_frames(tmp_path, bags):
    recording = steady(3.0)
    for ms, words in ((0, "pick"), (1500, "place"), (1600, " ")):
        say(recording, "/task", STRING, ms, words)
    write_bag(tmp_path / "bags" / "take", recording)
    request = bags(tmp_path / "bags", "instruction: {topic: /task}", instruction="")
    convert(request, Watcher())
    assert [one["tasks"] for one in listed(request)] == [["pick", "place"]]
    (rows,) = table(request)
    tasks = rows["task_index"].to_pylist()
    assert tasks == sorted(tasks)
    assert 40 <= tasks.count(0) <= 46
    assert tasks.count(1) >= 40


def test_episodes_by_times_and_tasks_from_a_file(tmp_path, bags):
    write_bag(tmp_path / "bags" / "take", steady(5.0))
    (tmp_path / "tasks.yaml").write_text("take/0: pick\ntake: place\n")
    request = bags(
        tmp_path / "bags",
        "instruction: {file: tasks.yaml}\nepisodes: {times: [[0.5, 2], [3, 4.5]]}",
        instruction="",
    )
    convert(request, Watcher())
    assert [one["tasks"] for one in listed(request)] == [["pick"], ["place"]]
    assert all(43 <= length <= 45 for length in lengths(request))


def test_types_that_nobody_knows_stop_no_other_topic(tmp_path, bags):
    recording = steady(1.2)
    recording.types["/odd"] = "other_msgs/msg/Odd"
    recording.add("/odd", at(100), b"\0\1\0\0what is this")
    write_episode(tmp_path / "bags" / "take", recording, sidecar=False)
    summary = convert(bags(tmp_path / "bags"), Watcher())
    assert summary.failed == []


def test_a_camera_that_stopped_makes_the_grade_fail(tmp_path, bags):
    recording = steady(4.0)
    recording.messages = [
        one for one in recording.messages if one[1] != ENV or one[0] < recording.messages[90][0]
    ]
    write_bag(tmp_path / "bags" / "take", recording)
    with pytest.raises(ConversionError, match=r"graded fail: image_1: .*--include-failed"):
        convert(bags(tmp_path / "bags"), Watcher())


def test_the_command_takes_robot_map_and_instruction(tmp_path, capsys):
    write_bag(tmp_path / "bags" / "take", driven("leader"))
    (tmp_path / "two.yaml").write_text(ROBOT_TEXT)
    (tmp_path / "map.yaml").write_text(LEADER)
    given = [str(tmp_path / "bags"), "--to", str(tmp_path / "out"), "--workers", "2"]
    given += ["--storage", "png"]
    assert main([*given, "--instruction", "pick"]) == 1
    assert "with --robot ROBOT" in capsys.readouterr().err
    given += ["--robot", str(tmp_path / "two.yaml"), "--map", str(tmp_path / "map.yaml")]
    assert main([*given, "--instruction", "pick"]) == 0
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["total_frames"] > 40
