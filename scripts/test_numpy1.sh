#!/usr/bin/env bash
# Runs the tests that need no ROS on numpy 1.26, the numpy of Ubuntu 24.04 and of apt's Jazzy,
# in a venv of their own. Arguments go to pytest:
#
#   scripts/test_numpy1.sh -k alignment
set -euo pipefail
cd "$(dirname "$0")/.."
constraints=requirements/constraints-numpy1.txt
venv=.venv-numpy1

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.12 python3.11 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys, ensurepip, venv
sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
}

make_venv() {
  local python=$1 stamp
  stamp=$(cat "$constraints" requirements/run.txt "$0" | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$venv/.evo1_stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
  echo "[numpy1] installing Python packages into $venv (a few minutes the first time)"
  "$python" -m venv --clear "$venv"
  if ! "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
      -c "$constraints" -r requirements/run.txt pytest pytest-xdist hypothesis \
      >"$venv/pip.log" 2>&1; then
    grep -v '^WARNING' "$venv/pip.log" | tail -n 20 >&2
    echo "[numpy1] pip failed; the whole log is in $venv/pip.log" >&2
    exit 1
  fi
  printf '%s' "$stamp" > "$venv/.evo1_stamp"
}

python=$(find_python)
if [ -z "$python" ]; then
  echo "[numpy1] skipped: numpy 1.26 has wheels for Python 3.11 and 3.12 only, none is here"
  exit 0
fi
make_venv "$python"
# A sourced ROS workspace holds extension modules that are built for numpy 2.
unset AMENT_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH
export PYTHONPATH=src/evo1_policy:src/evo1_sim:src/evo1_training:src/evo1_bringup
export OMP_NUM_THREADS=1
"$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile \
  -m "not ros and not launch" "$@"
