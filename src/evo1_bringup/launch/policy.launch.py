"""Any robot that runs already, and the policy. `ros2 launch ... --show-args` lists options."""

from launch import LaunchDescription

from evo1_bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Read by ros2 launch."""
    return launch_description("policy")
