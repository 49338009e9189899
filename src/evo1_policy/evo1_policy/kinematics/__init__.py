"""Where an arm's links and its tool are, and what they would touch. No ROS, no torch."""

from evo1_policy.kinematics import gl

# mujoco picks its GL backend when it is first imported, and every module here comes after this.
gl.problem = gl.choose_backend()
