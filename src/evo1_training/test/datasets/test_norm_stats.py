"""Norm stats of a dataset, and the authors' layout of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evo1_policy.checkpoint_layouts.official import choose_stats
from evo1_training.datasets.lerobot.statistics import (
    exact_statistics,
    of_values,
    with_sound_quantiles,
)
from evo1_training.datasets.lerobot.writing import NORM_STATS, open_dataset

sys.path.insert(0, str(Path(__file__).parent / "lerobot"))
from made_episodes import encoded, joints, schema

COUNTS = (4, 40, 9)
STATES = np.concatenate([[joints(e, i) for i in range(n)] for e, n in enumerate(COUNTS)])
ACTIONS = np.concatenate([[joints(e, i + 1) for i in range(n)] for e, n in enumerate(COUNTS)])


@pytest.fixture(scope="module", params=["v2.1", "v3.0"])
def root(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("norm")
    writer = open_dataset(folder / "cans", schema(), version=request.param, append=False)
    for episode, count in enumerate(COUNTS):
        writer.add(encoded(folder / "work", episode, count))
    writer.close()
    return folder / "cans"


def test_the_authors_layout_holds_the_statistics_of_every_frame(root):
    data = json.loads((root / NORM_STATS).read_text())
    stats = choose_stats(data, key=None, embodiment="xarm6", mode="quantiles", source=NORM_STATS)
    assert stats.mode == "quantiles"
    for found, values in ((stats.state, STATES), (stats.action, ACTIONS)):
        np.testing.assert_allclose(found.min, values.min(0), atol=1e-6)
        np.testing.assert_allclose(found.max, values.max(0), atol=1e-6)
        np.testing.assert_allclose(found.mean, values.mean(0), atol=1e-6)
        np.testing.assert_allclose(found.std, values.std(0), atol=1e-6)
        np.testing.assert_allclose(found.q01, np.quantile(values, 0.01, axis=0), atol=1e-6)
        np.testing.assert_allclose(found.q99, np.quantile(values, 0.99, axis=0), atol=1e-6)


def test_closed_dataset_has_the_authors_layout(root):
    data = json.loads((root / NORM_STATS).read_text())
    assert list(data) == ["xarm6"]
    assert list(data["xarm6"]) == ["cans"]
    assert set(data["xarm6"]["cans"]["action"]) == {"min", "max", "mean", "std", "q01", "q99"}


def test_closed_dataset_has_exact_quantiles_in_lerobots_file(root):
    data = json.loads((root / "meta/stats.json").read_text())
    np.testing.assert_allclose(data["action"]["q10"], np.quantile(ACTIONS, 0.1, axis=0), atol=1e-6)
    assert data["action"]["count"] == [53]


def test_lists_of_any_length_can_be_read(tmp_path):
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    table = pa.table(
        {
            "observation.state": pa.array([[0.0, 1.0], [2.0, 3.0]], pa.list_(pa.float64())),
            "action": pa.array([[0.0], [1.0]], pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, tmp_path / "data/chunk-000/episode_000000.parquet")
    found = exact_statistics([tmp_path / "data/chunk-000/episode_000000.parquet"])
    assert found["observation.state"].mean.tolist() == [1.0, 2.0]
    assert found["action"].max.tolist() == [1.0]


def test_quantiles_that_coincide_become_the_bounds():
    gripper = np.zeros(1000)
    gripper[:5] = 0.85  # closed in five frames of a thousand
    moving = np.linspace(-1, 1, 1000)
    found = with_sound_quantiles(of_values(np.stack([gripper, moving], axis=1))).quantiles
    assert (found["q01"][0], found["q99"][0]) == (0.0, 0.85)
    assert (found["q01"][1], found["q99"][1]) == pytest.approx((-0.98, 0.98))
