#!/usr/bin/env bash
# Runs every test of the pip route, or those that the arguments choose:
#
#   scripts/run_tests.sh src/evo1_sim -k grasp
#
# Tests without ROS share the cores. Those with ROS run one after the other, because a robot that
# waits for a processor looks like one that failed; they mostly wait, so the tests on numpy 1.26
# take what they leave of the processor, at the lowest priority.
set -eo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  exec python -m pytest "$@"
fi
# A busy machine may fail what runs in real time (nodes, emulated serial buses); what fails twice is
# wrong. Reruns are counted in the summary.
python -m pytest -m "not ros and not launch_files" -n auto --maxprocesses 4 --dist loadfile --reruns 1
numpy1=$(mktemp)
nice -n 19 scripts/test_numpy1.sh >"$numpy1" 2>&1 &
failed=0
python -m pytest -m "ros or launch_files" --reruns 1 || failed=1
echo "the same without ROS, on numpy 1.26:"
wait $! || failed=1
cat "$numpy1"
rm "$numpy1"
exit "$failed"
