"""MuJoCo cells of the xArm6 and the SO-100 with the topics of the real arms."""

from evo1_sim import gl

# mujoco picks its GL backend when it is first imported, and every module here comes after this.
gl.problem = gl.choose_backend()
