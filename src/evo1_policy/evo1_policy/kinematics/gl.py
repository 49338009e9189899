"""Which GL backend MuJoCo renders with. Must not import mujoco: it decides before that import."""

import ctypes
import os
from collections.abc import Callable, MutableMapping

LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}
NO_LIBRARY_NEEDED = ("glfw", "disable", "disabled", "off", "false", "0")
PACKAGES = "libegl1 libgl1 libgl1-mesa-dri libopengl0 (EGL) or libosmesa6 (OSMesa)"
ADVICE = f"install the Debian/Ubuntu packages {PACKAGES}, and leave MUJOCO_GL unset"

problem: str | None = None
"""Why there is no rendering in this process, found at import; None if there is."""


def choose_backend(
    environ: MutableMapping[str, str] = os.environ,
    can_load: Callable[[str], bool] | None = None,
) -> str | None:
    """Set MUJOCO_GL to a backend that is there: the one asked for, else EGL, else OSMesa.

    Where none is there, MUJOCO_GL becomes 'disable', so that physics still runs.

    Args:
        environ: where MUJOCO_GL is read and written.
        can_load: whether a shared library loads; for tests.

    Returns:
        Why there is no rendering, and what to install; None if there is.
    """
    can_load = can_load or _loads
    asked = environ.get("MUJOCO_GL", "").strip().lower()
    if asked in NO_LIBRARY_NEEDED:
        return None if asked == "glfw" else f"rendering is switched off by MUJOCO_GL={asked}"
    problem = None
    if asked and asked not in LIBRARIES:
        problem = f"MUJOCO_GL={asked} is none of egl, osmesa, glfw, disable: {ADVICE}"
    elif asked:
        if not can_load(LIBRARIES[asked]):
            problem = f"MUJOCO_GL={asked}, but {LIBRARIES[asked]} does not load: {ADVICE}"
    else:
        found = [name for name, library in LIBRARIES.items() if can_load(library)]
        if found:
            asked = found[0]
        else:
            problem = f"neither {' nor '.join(LIBRARIES.values())} loads: {ADVICE}"
    environ["MUJOCO_GL"] = "disable" if problem else asked
    if environ["MUJOCO_GL"] == "osmesa":
        environ.setdefault("PYOPENGL_PLATFORM", "osmesa")
    return problem


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
