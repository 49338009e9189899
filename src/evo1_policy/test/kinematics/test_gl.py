"""Which GL backend is chosen, and that it is before mujoco is imported."""

import os
import subprocess
import sys

import pytest

from evo1_policy.kinematics.gl import choose_backend


@pytest.mark.parametrize(
    ("asked", "libraries", "chosen"),
    [
        (None, {"libEGL.so.1", "libOSMesa.so.8"}, "egl"),
        (None, {"libOSMesa.so.8"}, "osmesa"),
        ("osmesa", {"libEGL.so.1", "libOSMesa.so.8"}, "osmesa"),
        ("glfw", set(), "glfw"),
    ],
)
def test_a_backend_that_is_there_is_chosen(asked, libraries, chosen):
    environ = {} if asked is None else {"MUJOCO_GL": asked}
    assert choose_backend(environ, libraries.__contains__) is None
    assert environ["MUJOCO_GL"] == chosen


@pytest.mark.parametrize("asked", [None, "egl", "osmesa", "vulkan"])
def test_without_libraries_the_problem_names_the_packages(asked):
    environ = {} if asked is None else {"MUJOCO_GL": asked}
    problem = choose_backend(environ, lambda library: False)
    assert problem is not None
    assert "libegl1" in problem
    assert "libosmesa6" in problem
    assert environ["MUJOCO_GL"] == "disable"


def test_without_gl_physics_runs_and_rendering_says_what_to_install():
    code = (
        "from evo1_sim.world import World\n"
        "from evo1_sim.rendering import CameraRenderer, RenderingError\n"
        "world = World('xarm6')\n"
        "world.step(10_000_000)\n"
        "try:\n"
        "    CameraRenderer(world, width=64, height=48)\n"
        "except RenderingError as error:\n"
        "    print(error)\n"
    )
    environ = {**os.environ, "MUJOCO_GL": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert "MUJOCO_GL=nonsense" in done.stdout
    assert "libegl1" in done.stdout
