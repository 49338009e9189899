"""Two simulated xArm6 and one policy for both. `ros2 launch ... --show-args` lists options."""

from functools import partial

from evo1_bringup.launching import launch_description

generate_launch_description = partial(launch_description, "xarm6_bimanual")  # read by ros2 launch
