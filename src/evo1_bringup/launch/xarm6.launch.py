"""The xArm6 and the policy, simulated or real. `ros2 launch ... --show-args` lists options."""

from functools import partial

from evo1_bringup.launching import launch_description

generate_launch_description = partial(launch_description, "xarm6")  # read by ros2 launch
