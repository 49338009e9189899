"""MuJoCo cells of the xArm6, the SO-100 and the SO-101 with the topics of the real arms."""

import evo1_policy.kinematics  # noqa: F401  picks the GL backend before mujoco is imported here
