"""Small datasets in every layout and storage."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_dataset import SmallDataset, write

from evo1_training.datasets.reader import DatasetSpec, SampleOptions, TrainingSamples

KINDS = [
    pytest.param(SmallDataset(layout=layout, dtype=dtype), id=f"{layout}-{dtype}")
    for layout in ("v2.1", "v3.0")
    for dtype in ("video", "image")
]


@pytest.fixture(params=KINDS)
def any_dataset(request, tmp_path):
    """A dataset of three episodes in each layout and storage."""
    return write(tmp_path / "dataset", request.param)


@pytest.fixture
def v21(tmp_path):
    return write(tmp_path / "v21", SmallDataset())


@pytest.fixture
def v30(tmp_path):
    return write(tmp_path / "v30", SmallDataset(layout="v3.0"))


@pytest.fixture
def open_samples():
    """Opens samples of a folder; options as keywords."""

    def make(root, *, spec=None, robot=None, **options):
        given = {"name": root.name, "path": root, "embodiment": "xarm6", **(spec or {})}
        return TrainingSamples(
            DatasetSpec(**given), SampleOptions(**{"horizon": 3, **options}), robot=robot
        )

    return make
