"""Two arms, each with its own policy. `ros2 launch ... --show-args` lists options."""

from functools import partial

from evo1_bringup.launching import launch_description

generate_launch_description = partial(launch_description, "two_arms")  # read by ros2 launch
