"""From a bag to both LeRobot formats and back: what was recorded is what is in the dataset."""

import io
import json

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from bag_writing import at, picture, position, steady, write_episode
from PIL import Image

from evo1_policy.checkpoint_layouts.training_facts import read_training
from evo1_training.cli import convert as command

STEP_MS = 1000 / 30
OFFSETS_MS = {"image_1": 12.0, "image_2": 11.0, "joint_states": 1.0}  # as steady() has them


SCENE = '{"seed": 3}'


@pytest.fixture
def demos(tmp_path):
    """Two takes, one with three frames missing."""
    write_episode(
        tmp_path / "demos" / "episode_000000", steady(2.0, lost={20, 21, 22}), scene=SCENE
    )
    write_episode(tmp_path / "demos" / "episode_000001", steady(1.5), instruction="place")
    return tmp_path / "demos"


def run(*arguments) -> int:
    return command.main([*map(str, arguments), "--min-frames", "10"])


def table(dataset):
    """All rows of a dataset, in order."""
    paths = sorted(dataset.glob("data/*/*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: row["index"])


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_png_dataset_holds_the_recorded_frames_bit_for_bit(tmp_path, demos, version):
    out = tmp_path / "dataset"
    arguments = [demos, "--to", out, "--format", version, "--storage", "png", "--workers", "1"]
    arguments += ["--gaps", "split"]
    assert run(*arguments) == 0
    rows = table(out)
    assert len(rows) == 20 + 37 + 45
    assert [row["index"] for row in rows] == list(range(102))
    numbers = [*range(20), *range(23, 60), *range(45)]
    for row, k in zip(rows, numbers, strict=True):
        for camera, name in enumerate(("image_1", "image_2")):
            packed = row[f"observation.images.{name}"]["bytes"]
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(packed))), picture(k, camera=camera)
            )
        assert row["evo1.tick_ns"] == at(k * STEP_MS)
        assert row["evo1.image_2.stamp_ns"] == at(k * STEP_MS + 4)
        np.testing.assert_allclose(row["observation.state"], position(k * STEP_MS), atol=1e-3)
        np.testing.assert_allclose(row["action"], position((k + 1) * STEP_MS + 50), atol=1e-3)
    assert [row["episode_index"] for row in rows] == [0] * 20 + [1] * 37 + [2] * 45
    info = json.loads((out / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["fps"]) == (version, 3, 30)
    sources = (out / "meta" / "evo1" / "sources.jsonl").read_text().splitlines()
    assert json.loads(sources[0])["offsets_ms"] == OFFSETS_MS
    assert [json.loads(line).get("scene") for line in sources] == [{"seed": 3}, {"seed": 3}, None]


def test_video_dataset_has_a_picture_for_each_row_and_marks_held_ones(tmp_path, demos):
    out = tmp_path / "dataset"
    assert run(demos, "--to", out, "--gaps", "hold", "--workers", "2") == 0
    rows = table(out)
    assert len(rows) == 60 + 45
    assert [row["index"] for row in rows if row["evo1.held"]] == [20, 21, 22]
    for path in sorted(out.glob("videos/*/*/episode_000000.mp4")):
        with av.open(str(path)) as video:
            assert sum(1 for _ in video.decode(video=0)) == 60


def test_second_run_into_a_finished_dataset_is_refused_and_append_adds(tmp_path, demos, capsys):
    out = tmp_path / "dataset"
    first = demos / "episode_000000"
    split = ("--gaps", "split", "--storage", "png", "--workers", "1")
    assert run(first, "--to", out, *split) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run(demos, "--to", out, *split) == 1
    assert "exists already; give another folder, or --append" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert run(demos, "--to", out, *split, "--append") == 0
    assert len(table(out)) == 102
    assert run(demos, "--to", out, "--storage", "h264", "--append", "--workers", "1") == 1
    assert "observation.images.image_1" in capsys.readouterr().err
    assert len(table(out)) == 102
    assert not (out / ".work").exists()


def test_a_dataset_says_that_it_is_from_simulation_until_something_else_is_added(tmp_path):
    root, out = tmp_path / "demos", tmp_path / "dataset"
    for number, operator in enumerate(("scripted expert", "somebody in simulation", "Ada")):
        folder = root / f"episode_00000{number}"
        write_episode(folder, steady(1.0), operator=operator)
    simulated = [root / "episode_000000", root / "episode_000001"]
    given = ["--to", out, "--storage", "png", "--workers", "1"]
    assert run(*simulated, *given) == 0
    assert read_training(out / "meta" / "evo1").trained_in == "simulation"
    assert run(root / "episode_000002", *given, "--append") == 0
    assert read_training(out / "meta" / "evo1").trained_in == "unknown"
