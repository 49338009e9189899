#!/usr/bin/env bash
# Runs the tests that need no ROS on numpy 1.26, the numpy of Ubuntu 24.04 and of apt's Jazzy.
# The packages that are built for one numpy alone go into a venv of their own; all others are the
# same versions in both constraints files, so they are taken from .venv. Arguments go to pytest:
#
#   scripts/test_numpy1.sh -k alignment
set -euo pipefail
cd "$(dirname "$0")/.."
constraints=requirements/constraints-numpy1.txt
venv=.venv-numpy1
packages=(numpy opencv-python-headless pyarrow)

make_venv() {
  local stamp
  stamp=$(cat "$constraints" .venv/.evo1_stamp "$0" | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$venv/.evo1_stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
  echo "[numpy1] installing ${packages[*]} into $venv"
  .venv/bin/python -m venv --clear "$venv"
  if ! "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-deps \
      -c "$constraints" "${packages[@]}" >"$venv/pip.log" 2>&1; then
    grep -v '^WARNING' "$venv/pip.log" | tail -n 20 >&2
    echo "[numpy1] pip failed; the whole log is in $venv/pip.log" >&2
    exit 1
  fi
  "$venv/bin/python" - <<'PY'
import sysconfig
from pathlib import Path
ours = Path(sysconfig.get_paths()["purelib"])
theirs = Path(".venv").resolve() / ours.relative_to(Path(".venv-numpy1").resolve())
(ours / "shared.pth").write_text(f"{theirs}\n")  # looked at after ours
PY
  printf '%s' "$stamp" > "$venv/.evo1_stamp"
}

if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info[:2] > (3, 12))'; then
  echo "[numpy1] skipped: numpy 1.26 has wheels for Python 3.11 and 3.12 only"
  exit 0
fi
make_venv
# A sourced ROS workspace holds extension modules that are built for numpy 2.
unset AMENT_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH
export PYTHONPATH=src/evo1_policy:src/evo1_sim:src/evo1_training:src/evo1_bringup
export OMP_NUM_THREADS=1
"$venv/bin/python" -c 'import numpy; assert numpy.__version__.startswith("1.26"), numpy.__version__'
# Left out: tests that run against the clock, which this run at low priority would make fail, and
# those of whole commands and of processes that train together, which say nothing of numpy.
others=(src/evo1_bringup/test/test_supervisor.py scripts/test)
others+=(src/evo1_bringup/test/drivers/test_{so100_driver,calibrate}.py)
others+=(src/evo1_training/test/training/test_devices.py)
"$venv/bin/python" -m pytest "${others[@]/#/--ignore=}" --no-loadscope-reorder -n auto --maxprocesses 4 --dist loadfile \
  --reruns 1 -m "not ros and not launch_files" "$@"
