"""An emulated SO-100 for whoever needs one; makes so100_rig and described importable."""

import sys
from pathlib import Path

import pytest

from evo1_policy.robot_config import load_robot

sys.path[:0] = [str(Path(__file__).parent / "drivers"), str(Path(__file__).parent)]


@pytest.fixture
def so100(robots_dir):
    """The SO-100's robot file."""
    return load_robot(robots_dir / "so100.yaml")


@pytest.fixture
def rig(so100, tmp_path):
    """An emulated SO-100 on a pseudo-terminal."""
    from so100_rig import Rig

    rig = Rig(so100, tmp_path / "ttyEMULATED")
    yield rig
    rig.close()
