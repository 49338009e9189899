"""Commanded against measured joint positions, with the chunk boundaries. Must not import ROS."""

from pathlib import Path

from evo1_policy.robot_config import RobotConfig
from evo1_training.live_run.recording import Recording
from evo1_training.live_run.seams import commanded_positions
from evo1_training.viewing.drawing import draw_joints
from evo1_training.viewing.episode_view import Curve, EpisodeView


def plot_joints(path: Path, recording: Recording, robot: RobotConfig) -> Path:
    """Write a PNG with one panel a joint; time counts from the start of the run."""
    times_ns = recording.streams["joint_states"].stamps_ns
    times_s = (times_ns - recording.start_ns) * 1e-9
    commanded = commanded_positions(recording.commands, robot, times_ns)
    view = EpisodeView(
        name=robot.name,
        title="commanded and measured",
        remarks=(f"{len(recording.chunks)} chunks",),
        duration_s=recording.duration_s,
        joints=robot.joint_names,
        state=Curve(times_s=times_s, values=recording.joint_positions),
        action=Curve(times_s=times_s, values=commanded),
        cameras=(),
        pictures=(),
        gaps=(),
    )
    seams_s = [(arrived - recording.start_ns) * 1e-9 for arrived in recording.chunks_received_ns]
    draw_joints(
        view, path, labels=("measured", "commanded"), marks_s=seams_s, mark="a chunk arrives"
    )
    return path
