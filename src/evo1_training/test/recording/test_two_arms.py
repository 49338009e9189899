"""Two simulated arms as one robot through the recorder's session and the converter."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.rehearsals import Demonstration, Rehearsal
from evo1_sim.world import World
from evo1_training.datasets.conversion import convert
from evo1_training.datasets.conversion_request import Request
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.simulated_takes import SimulatedTakes

pytestmark = pytest.mark.gl


class Quiet:
    def expect(self, frames):
        pass

    def advance(self, frames):
        pass

    def note(self, text):
        pass


@pytest.fixture
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6_bimanual.yaml")


def waving(world):
    """Both arms turn a little, the left one first, over cans that are in the box already."""
    x, y, _ = world.cell.position("box")
    for can, side in (("can", 0.04), ("blue_can", -0.04)):
        world.cell.place(can, (x, y + side, 0.056))
    wave = 0.15 * np.sin(np.linspace(0.0, np.pi, 61))
    path = np.tile(world.targets, (91, 1))
    path[:61, 0] += wave
    path[30:, 7] -= wave
    return Rehearsal(
        demonstration=Demonstration(
            task=world.task.name,
            seed=0,
            instruction=world.task.instruction,
            joint_names=world.joint_names,
            path=path,
        ),
        sway=np.zeros_like(path),
        pushed=False,
    )


def test_an_episode_of_both_arms_becomes_14_wide_rows_and_three_videos(robot, tmp_path):
    world = World(robot.name)
    store = EpisodeStore(tmp_path / "episodes")
    takes = SimulatedTakes(robot, world, store, width=64, height=48)
    attempt = takes.record(waving(world))
    takes.close()
    assert attempt.detail == ""
    assert attempt.take.grade == "pass", attempt.take.grade_reasons

    dataset = tmp_path / "dataset"
    summary = convert(Request(episodes=[tmp_path / "episodes"], dataset=dataset), Quiet())
    assert (summary.failed, summary.added) == ([], 1)
    features = json.loads((dataset / "meta" / "info.json").read_text())["features"]
    for name in ("observation.state", "action"):
        assert features[name]["shape"] == [14]
        assert tuple(features[name]["names"]) == robot.joint_names
    cameras = [name for name in features if name.startswith("observation.images.")]
    assert [name.rpartition(".")[2] for name in cameras] == ["image_1", "image_2", "image_3"]

    rows = pq.read_table(next((dataset / "data").rglob("*.parquet")))
    moved = np.ptp(np.stack(rows["action"].to_numpy(zero_copy_only=False)), axis=0)
    assert np.flatnonzero(moved > 0.1).tolist() == [0, 7]
    lag = np.ptp(np.stack(rows["observation.state"].to_numpy(zero_copy_only=False)), axis=0)
    np.testing.assert_allclose(lag[[0, 7]], moved[[0, 7]], atol=0.01)
