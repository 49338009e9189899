"""Make a venv with ROS 2 wheels usable as a colcon underlay. Run with that venv's Python.

The wheels carry include directories of the machine that built them, and a venv has no
local_setup files. Both are rewritten; running it again changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

LOCAL_SETUP = """\
# Written by scripts/fix_ros_wheels.py: this venv as a ROS 2 underlay.
_evo1_prepend() {{
  eval "_evo1_old=\\"\\${{$1:-}}\\""
  case ":$_evo1_old:" in
    *":$2:"*) ;;
    *) eval "export $1=\\"$2\\${{_evo1_old:+:}}\\$_evo1_old\\"" ;;
  esac
}}
_evo1_prepend AMENT_PREFIX_PATH "{prefix}"
_evo1_prepend CMAKE_PREFIX_PATH "{prefix}"
_evo1_prepend PATH "{prefix}/bin"
{libraries}
unset -f _evo1_prepend
unset _evo1_old
export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
"""

STALE_INCLUDE = re.compile(
    r"/opt/python/[^;\"]*?/(?:site-packages/numpy/[^;\"]*include|include/python[0-9.]+)"
)


def fix_includes(prefix: Path) -> int:
    """Point generated CMake exports at this venv's Python and numpy headers."""
    python_include = sysconfig.get_paths()["include"]
    numpy_include = np.get_include()
    fixed = 0
    for path in sorted(prefix.glob("share/*/cmake/export_*__rosidl_generator_pyExport.cmake")):
        text = path.read_text()
        new = STALE_INCLUDE.sub(
            lambda match: numpy_include if "numpy" in match[0] else python_include, text
        )
        if new != text:
            path.write_text(new)
            fixed += 1
    return fixed


def write_local_setup(prefix: Path) -> None:
    """Write local_setup.sh and .bash so that colcon chains the venv."""
    site = Path(sysconfig.get_paths()["purelib"])
    folders = [prefix / "lib", *sorted(site.glob("ros_*.libs"))]
    libraries = "\n".join(f'_evo1_prepend LD_LIBRARY_PATH "{folder}"' for folder in folders)
    text = LOCAL_SETUP.format(prefix=prefix, libraries=libraries)
    for suffix in ("sh", "bash"):
        (prefix / f"local_setup.{suffix}").write_text(text)


if __name__ == "__main__":
    venv = Path(sys.prefix)
    count = fix_includes(venv)
    write_local_setup(venv)
    print(f"{venv}: {count} stale include files rewritten, local_setup written")
