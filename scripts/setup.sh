#!/usr/bin/env bash
# Sets up the pip route: system packages, a venv with pinned wheels, the built workspace.
# Safe to run again: each part is skipped while its inputs are unchanged.
#
#   PYTHON=python3.12 scripts/setup.sh    choose the interpreter (3.11 to 3.13)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
fail() { printf '[setup] %s\n' "$*" >&2; exit 1; }

# A sourced ROS installation must not leak into the venv.
unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH ROS_DISTRO || true

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  fail "no Python 3.11 to 3.13 found; install one, or name it with PYTHON=/path/to/python"
}

missing_system_packages() {
  local python=$1 packages=()
  command -v cmake >/dev/null || packages+=(cmake)
  command -v g++ >/dev/null && command -v make >/dev/null || packages+=(build-essential)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
  "$python" - <<'PY' || packages+=(python3-dev)
import sys, sysconfig
from pathlib import Path
sys.exit(not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists())
PY
  # Rendering without a display: EGL from Mesa.
  "$python" -c 'import ctypes; ctypes.CDLL("libEGL.so.1"); ctypes.CDLL("libOpenGL.so.0")' \
    2>/dev/null || packages+=(libegl1 libgl1 libgl1-mesa-dri libopengl0)
  printf '%s ' "${packages[@]:-}"
}

install_system_packages() {
  local packages
  packages=$(missing_system_packages "$1")
  [ -n "${packages// /}" ] || return 0
  local line="apt-get install -y --no-install-recommends $packages"
  local root=()
  if [ "$(id -u)" != 0 ]; then
    root=(sudo -n)
    sudo -n true 2>/dev/null || fail "system packages are missing; run: sudo $line"
  fi
  command -v apt-get >/dev/null || fail "system packages are missing: $packages"
  say "installing system packages: $packages"
  "${root[@]}" apt-get update -qq
  # shellcheck disable=SC2086  # one word a package
  "${root[@]}" apt-get install -y -qq --no-install-recommends $packages >/dev/null \
    || fail "could not install them; run: sudo $line"
}

digest() { cat "$@" | sha256sum | cut -d' ' -f1; }

make_venv() {
  local python=$1 stamp
  stamp="$("$python" -c 'import sys; print(sys.version)') $(pwd) \
$(digest requirements/{constraints,ros,run,dev}.txt scripts/setup.sh scripts/fix_ros_wheels.py)"
  if [ "$(cat .venv/.evo1_stamp 2>/dev/null)" = "$stamp" ]; then return 0; fi
  say "installing Python packages into .venv (a few minutes the first time)"
  "$python" -m venv .venv
  local log=.venv/pip.log
  if ! .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off \
      -c requirements/constraints.txt -r requirements/ros.txt -r requirements/run.txt \
      -r requirements/dev.txt >"$log" 2>&1; then
    grep -v '^WARNING' "$log" | tail -n 20 >&2
    fail "pip failed; the whole log is in $log"
  fi
  .venv/bin/python scripts/fix_ros_wheels.py
  printf '%s' "$stamp" > .venv/.evo1_stamp
  rm -rf build install
}

build_workspace() {
  local stamp
  # Python sources are linked, so only what the build itself reads makes it stale.
  stamp=$(find src -type f \( -path 'src/evo1_msgs/*' -o -name setup.py -o -name setup.cfg \
      -o -name package.xml -o -path '*/launch/*' -o -path '*/robots/*' -o -path '*/config/*' \
      -o -path '*/checkpoints/*' \) -not -path '*/__pycache__/*' -not -path '*.egg-info/*' \
      -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
  stamp="$stamp $(cat .venv/.evo1_stamp)"
  if [ "$(cat install/.evo1_stamp 2>/dev/null)" = "$stamp" ]; then return 0; fi
  say "building the workspace with colcon"
  # shellcheck disable=SC1091
  (. .venv/local_setup.sh
   MAKEFLAGS=-j2 .venv/bin/colcon --log-base log build --symlink-install --metas colcon.meta \
     --event-handlers console_direct- console_stderr- --cmake-args \
     -DPython3_EXECUTABLE="$PWD/.venv/bin/python" -DPYTHON_EXECUTABLE="$PWD/.venv/bin/python") \
    || fail "colcon build failed; its logs are in log/latest_build"
  printf '%s' "$stamp" > install/.evo1_stamp
}

[ "$(uname -m)" = x86_64 ] || fail "the ROS 2 wheels exist for x86_64 only; use Docker or Ubuntu's ROS 2"
python=$(find_python)
install_system_packages "$python"
make_venv "$python"
build_workspace
