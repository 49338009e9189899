"""One episode, encoded: what is written, and what is refused."""

from dataclasses import replace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_episodes import ROBOT, encoded, frames, joints, picture, schema

from evo1_training.datasets.lerobot.encoding import encode_episode, load_encoded
from evo1_training.datasets.lerobot.schema import SchemaError
from evo1_training.recording.episode import EpisodeError


def encode(given, folder, like=None):
    return encode_episode(
        given, schema=like or schema(), instruction="pour", source="bag_7#0", folder=folder
    )


def test_table_holds_vectors_stamps_and_marks(tmp_path):
    episode = encoded(tmp_path, count=7)
    rows = pq.read_table(episode.table).to_pylist()
    assert len(rows) == 7
    np.testing.assert_allclose(rows[2]["observation.state"], joints(0, 2), atol=1e-6)
    np.testing.assert_allclose(rows[2]["action"], joints(0, 3), atol=1e-6)
    assert rows[1]["evo1.tick_ns"] == 1_700_000_000_033_333_333
    assert rows[1]["evo1.image_2.stamp_ns"] == 1_700_000_000_031_333_333
    assert rows[1]["evo1.joint_states.stamp_ns"] == 1_700_000_000_032_333_333
    assert rows[1]["evo1.skew_ms"] == 2.0
    assert [row["evo1.held"] for row in rows] == [False] * 3 + [True] + [False] * 3
    assert [row["evo1.intervention"] for row in rows] == [False] * 6 + [True]


def test_what_was_encoded_can_be_loaded(tmp_path):
    episode = encoded(tmp_path, count=7)
    again = load_encoded(episode.folder)
    assert (again.length, again.source, again.instruction) == (
        7,
        "episode_000000#0",
        "put the can into the box",
    )
    assert again.features == episode.features
    assert again.statistics["action"].to_dict() == episode.statistics["action"].to_dict()
    assert again.video("observation.images.image_1").is_file()


def test_png_pictures_are_bit_equal(tmp_path):
    episode = encoded(tmp_path, count=5, storage="png")
    rows = pq.read_table(episode.table).to_pylist()
    stored = rows[4]["observation.images.image_2"]
    image = cv2.imdecode(np.frombuffer(stored["bytes"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(image, picture(0, 4, 1))
    assert stored["path"] == "frame-000004.png"


def test_long_png_episode_is_written_in_small_groups(tmp_path):
    episode = encoded(tmp_path, count=130, storage="png")
    assert pq.ParquetFile(episode.table).num_row_groups == 17


def test_folder_without_summary_is_not_complete(tmp_path):
    episode = encoded(tmp_path)
    (episode.folder / "encoded.json").unlink()
    with pytest.raises(EpisodeError, match="not encoded completely"):
        load_encoded(episode.folder)


def test_failed_attempt_leaves_no_complete_folder(tmp_path):
    def broken():
        yield from frames(0, 3)
        raise RuntimeError("bag ended")

    encode(frames(0, 4), tmp_path / "e")
    with pytest.raises(RuntimeError, match="bag ended"):
        encode(broken(), tmp_path / "e")
    with pytest.raises(EpisodeError):
        load_encoded(tmp_path / "e")


def test_no_frames_are_refused(tmp_path):
    with pytest.raises(EpisodeError, match="bag_7#0: no frames"):
        encode([], tmp_path / "e")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.array([0, 0, np.nan, 0, 0, 0, 0.0])}, "observation.state: joint3 is nan"),
        ({"action": np.array([0, np.inf, 0, 0, 0, 0, 0.0])}, "action: joint2 is inf"),
        ({"state": np.zeros(6)}, "expected 7 numbers"),
        ({"images": {"image_1": np.zeros((48, 64, 3), np.uint8)}}, "no image of 'image_2'"),
        ({"source_stamps_ns": {"image_1": 1, "image_2": 1}}, "no stamp of 'joint_states'"),
    ],
)
def test_frame_that_does_not_fit_is_refused_with_source_and_tick(tmp_path, change, message):
    given = list(frames(0, 3))
    given[2] = replace(given[2], **change)
    with pytest.raises(EpisodeError, match=message) as error:
        encode(given, tmp_path / "e")
    assert "bag_7#0: frame 2 (tick 1700000000066666666 ns)" in str(error.value)


@pytest.mark.parametrize(
    "image", [np.zeros((24, 32, 3), np.uint8), np.zeros((48, 64, 3), np.float32)]
)
def test_camera_that_changes_size_or_dtype_is_refused(tmp_path, image):
    given = list(frames(0, 2))
    given[1] = replace(given[1], images={"image_1": image, "image_2": image})
    with pytest.raises(EpisodeError, match="camera 'image_1': expected 64x48 RGB uint8"):
        encode(given, tmp_path / "e")


def test_odd_sizes_need_png(tmp_path):
    with pytest.raises(SchemaError, match="store it as png"):
        encode([], tmp_path / "e", schema(size=(47, 64)))
    odd = schema("png", size=(47, 64))
    image = np.zeros((47, 64, 3), np.uint8)
    frame = replace(next(frames(0, 1)), images={"image_1": image, "image_2": image})
    assert encode([frame], tmp_path / "e", odd).length == 1


def test_camera_with_a_slash_is_refused(tmp_path):
    like = replace(schema(), image_sizes={"a/b": (48, 64)}, interface=ROBOT.interface)
    with pytest.raises(SchemaError, match=r"observation.images.a/b': LeRobot allows no '/'"):
        encode([], tmp_path / "e", like)
