"""What the tests of conversion begin with."""

from pathlib import Path

import pytest

from evo1_training.datasets.conversion_request import Request


@pytest.fixture
def request_for(tmp_path):
    def make(*roots: Path, **options) -> Request:
        options.setdefault("gaps", "split")
        options.setdefault("storage", "png")
        return Request(episodes=roots, dataset=tmp_path / "dataset", **options)

    return make
