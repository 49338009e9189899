"""Statistics, of vectors and of pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evo1_training.datasets.lerobot.statistics import (
    PictureStatistics,
    Statistics,
    merged,
    of_values,
)

rows = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 20), st.just(3)),
    elements=st.floats(-10, 10, allow_subnormal=False),
)


def test_of_values_literals():
    found = of_values([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    assert found.min.tolist() == [0.0, 1.0]
    assert found.max.tolist() == [4.0, 1.0]
    assert found.mean.tolist() == [2.0, 1.0]
    assert found.std == pytest.approx([np.sqrt(8 / 3), 0.0])  # of the population
    assert found.count == 3
    assert found.quantiles["q50"].tolist() == [2.0, 1.0]
    assert list(found.quantiles) == ["q01", "q10", "q50", "q90", "q99"]


def test_scalars_become_lists_of_one():
    assert of_values(np.arange(3)).to_dict(quantiles=False) == {
        "min": [0.0],
        "max": [2.0],
        "mean": [1.0],
        "std": [pytest.approx(0.816496, abs=1e-6)],
        "count": [3],
    }


@given(rows, rows)
def test_merging_parts_gives_the_statistics_of_the_whole(first, second):
    whole = of_values(np.concatenate([first, second]))
    parts = merged([of_values(first), of_values(second)])
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-9)
    assert parts.count == whole.count


def test_merged_quantiles_are_weighted_by_count():
    one, three = of_values([[0.0]]), of_values([[4.0], [4.0], [4.0]])
    assert merged([one, three]).quantiles["q50"].tolist() == [3.0]


def test_statistics_survive_json():
    found = of_values([[0.0, 1.0], [2.0, 5.0]])
    assert Statistics.from_dict(found.to_dict()).to_dict() == found.to_dict()


def test_merging_without_quantiles_has_none():
    old = Statistics.from_dict(of_values([[1.0]]).to_dict(quantiles=False))
    assert merged([old, of_values([[2.0]])]).quantiles == {}


def test_picture_statistics_are_those_of_the_pixels():
    images = np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3), dtype=np.uint8)
    found = PictureStatistics()
    for image in images:
        found.add(image)
    pixels = of_values(images.reshape(-1, 3) / 255.0)
    result = found.statistics()
    for name in ("min", "max", "mean", "std"):
        value = getattr(result, name)
        assert value.shape == (3, 1, 1)
        np.testing.assert_allclose(value.ravel(), getattr(pixels, name), atol=1e-9)
    for name, value in result.quantiles.items():
        np.testing.assert_allclose(value.ravel(), pixels.quantiles[name], atol=1.01 / 255)
    assert result.count == 4


def test_large_pictures_are_thinned_as_lerobot_does():
    image = np.zeros((480, 640, 3), np.uint8)
    image[::4, ::4] = 255  # 640 // 150 = 4: only these are looked at
    found = PictureStatistics()
    found.add(image)
    assert found.statistics().mean.ravel().tolist() == [1.0, 1.0, 1.0]
