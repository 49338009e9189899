#!/usr/bin/env bash
# Runs what is marked `fuzz` with many examples, again and again with other seeds, and then every
# command on a home full of hostile files: ten minutes in all, or the seconds that are given.
#
#   scripts/fuzz.sh 3600
set -eo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
export EVO1_HYPOTHESIS=fuzz
mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.fuzz' src)
while left=$((seconds * 2 / 3 - SECONDS)) && [ "$left" -gt 0 ]; do
  status=0
  # A failure ends it with 1; the end of its time, with SIGINT, by 2.
  timeout --preserve-status -s INT "$left" python -m pytest -x -m "fuzz and not ros" -q -n auto \
    --maxprocesses 4 --hypothesis-seed "$RANDOM" "${files[@]}" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status"
done
exec python scripts/test/sweep.py --ros --seconds "$((seconds > SECONDS ? seconds - SECONDS : 1))"
