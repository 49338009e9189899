"""Lets the tests of every folder import the helper modules of this one; what several need."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def installed_robots(robots_dir, tmp_path, monkeypatch):
    """Robot files and units as evo1_bringup installs them."""
    share = tmp_path / "prefix/share/evo1_bringup"
    share.mkdir(parents=True)
    (share / "robots").symlink_to(robots_dir)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
