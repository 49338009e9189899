#!/usr/bin/env bash
# Makes two venvs with LeRobot, to check that it loads our datasets and to compare speeds:
#
#   .venv-lerobot21    lerobot 0.3.3, the last that writes dataset format v2.1
#   .venv-lerobot30    lerobot 0.4.4, which writes v3.0
#
# Nothing else needs them. Each takes about a minute and 1.5 GB; torch is the CPU build wherever
# pip is pointed to one. Safe to run again. Afterwards:
#
#   export EVO1_LEROBOT21_PYTHON=$PWD/.venv-lerobot21/bin/python
#   export EVO1_LEROBOT30_PYTHON=$PWD/.venv-lerobot30/bin/python
#   .venv/bin/python -m pytest src/evo1_training/test -k lerobot
#
#   PYTHON=python3.12 scripts/setup_lerobot.sh 21 30    choose the interpreter and the venvs
#
# lerobot pins older torch and torchvision than it needs, hence --no-deps for those two; `pip
# check` complains about that.
set -euo pipefail
cd "$(dirname "$0")/.."

shared=(torch==2.13.0 jsonlines pillow draccus==0.10.0)
needs_21=('datasets==3.6.0' 'huggingface-hub>=0.34.2,<1' 'av>=14.2,<16')
needs_30=('datasets>=4,<5' 'huggingface-hub>=0.34.2,<0.36' 'av>=15,<16' pandas 'accelerate>=1.10,<2')
lerobot_21=0.3.3
lerobot_30=0.4.4

make_venv() {
  local venv=.venv-lerobot$1 version=$2
  shift 2
  if [ "$(cat "$venv/.evo1_stamp" 2>/dev/null)" = "$version" ]; then
    echo "[lerobot] $venv is there: lerobot $version"
    return
  fi
  echo "[lerobot] installing lerobot $version into $venv"
  "${PYTHON:-python3}" -m venv --clear "$venv"
  local pip=("$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off)
  if ! { "${pip[@]}" "${shared[@]}" "$@" \
      && "${pip[@]}" --no-deps torchvision==0.22.1 "lerobot==$version"; } >"$venv/pip.log" 2>&1
  then
    grep -v '^WARNING' "$venv/pip.log" | tail -n 20 >&2
    echo "[lerobot] pip failed; the whole log is in $venv/pip.log" >&2
    exit 1
  fi
  printf '%s' "$version" > "$venv/.evo1_stamp"
}

unset PYTHONPATH  # a sourced workspace must not leak into the venvs
for which in "${@:-21 30}"; do
  for one in $which; do
    case $one in
      21) make_venv 21 "$lerobot_21" "${needs_21[@]}" ;;
      30) make_venv 30 "$lerobot_30" "${needs_30[@]}" ;;
      *) echo "usage: scripts/setup_lerobot.sh [21] [30]" >&2; exit 2 ;;
    esac
  done
done
