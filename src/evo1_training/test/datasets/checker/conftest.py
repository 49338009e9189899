"""Sound datasets, written once and copied for each test that breaks one."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sound_dataset import Kind, write


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    written = {}

    def get(kind: Kind) -> Path:
        if kind not in written:
            written[kind] = write(folder / str(len(written)), kind)
        return written[kind]

    return get


@pytest.fixture
def sound(originals, tmp_path):
    """Gives a copy of a sound dataset."""

    def make(kind: Kind) -> Path:
        root = tmp_path / "dataset"
        shutil.copytree(originals(kind), root)
        return root

    return make
