"""Files that a person looks at."""

from recordings import good

from evo1_policy.robot_config import load_robot
from evo1_training.live_run.plot import plot_joints


def test_plot_is_written(tmp_path, robots_dir):
    path = plot_joints(tmp_path / "p.png", good(), load_robot(robots_dir / "xarm6.yaml"))
    assert path.read_bytes().startswith(b"\x89PNG")
