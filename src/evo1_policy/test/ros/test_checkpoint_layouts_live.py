"""One random policy in each published layout, run by the node: the same chunks."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoint_layouts"))
pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def folders(robots_dir, tmp_path_factory):
    """An official folder with random weights, and what the command makes of it."""
    from tiny import CONFIG, stats_of

    from evo1_policy.checkpoint import save_checkpoint, shipped_checkpoint
    from evo1_policy.cli.convert_checkpoint import main
    from evo1_policy.model.evo1 import new_model
    from evo1_policy.robot_config import load_robot

    robot = load_robot(robots_dir / "xarm6.yaml")
    root = tmp_path_factory.mktemp("layouts")
    horizon = dataclasses.replace(CONFIG, horizon=20)
    save_checkpoint(
        root / "official",
        layout="official",
        model=new_model(horizon, seed=0),
        stats=stats_of(robot),
        interface=robot.interface,
        tokenizer_dir=shipped_checkpoint("xarm6") / "tokenizer",
    )
    for layout in ("own", "lerobot"):
        assert main([str(root / "official"), str(root / layout), "--to", layout]) == 0
    return {layout: root / layout for layout in ("official", "own", "lerobot")}


@pytest.mark.parametrize("layout", ["official", "own", "lerobot"])
def test_node_proposes_what_the_official_folder_gives(layout, folders, start_node, cell, robot):
    from robot_cell import IMAGE_SIZE

    from evo1_policy.observation import Observation
    from evo1_policy.policy import Policy

    # the cell's pictures never change and its arm rests at home, so the first chunk is known
    picture = np.resize(np.arange(256, dtype=np.uint8), (*IMAGE_SIZE, 3))
    seen = Observation(
        images={camera.name: picture for camera in robot.cameras},
        state=np.array(robot.home),
        instruction="put the can into the box",
        stamp_ns=0,
        received_ns=0,
        skew_ns=0,
    )
    expected = Policy.load(folders["official"], robot=robot, seed=3).infer(seen).actions
    start_node(lambda robot: Policy.load(folders[layout], robot=robot, seed=3))
    cell.wait(lambda: len(cell.chunks) >= 3, "three chunks")
    proposed = np.array([point.positions for point in cell.chunks[0].proposed.points])
    np.testing.assert_array_equal(proposed, expected)
