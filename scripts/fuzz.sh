#!/usr/bin/env bash
# Runs what is marked `fuzz` with many examples, again and again with other seeds, and then every
# command on a home full of hostile files: ten minutes in all, or the seconds that are given.
#
#   scripts/fuzz.sh 3600
set -eo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
export EVO1_HYPOTHESIS=fuzz
while [ "$SECONDS" -lt "$((seconds * 2 / 3))" ]; do
  python -m pytest -m "fuzz and not ros" --deselect scripts/test/test_sweep.py -q -n auto \
    --maxprocesses 4 --hypothesis-seed "$RANDOM"
done
exec python scripts/test/sweep.py --ros --seconds "$((seconds - SECONDS))"
