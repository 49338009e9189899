"""The SO-101 and the policy, simulated or real. `ros2 launch ... --show-args` lists options."""

from launch import LaunchDescription

from evo1_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Read by ros2 launch."""
    return launch_description("so101")
