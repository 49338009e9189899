#!/usr/bin/env bash
# Runs every test of the pip route, or those that the arguments choose:
#
#   scripts/run_tests.sh src/evo1_sim -k grasp
#
# Tests without ROS share the cores; those with ROS run one after the other, because a robot that
# waits for a processor looks like one that failed.
set -eo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  exec python -m pytest "$@"
fi
# A busy machine may fail what runs in real time (nodes, emulated serial buses); what fails twice is
# wrong. Reruns are counted in the summary.
python -m pytest -m "not ros and not launch_files" -n auto --maxprocesses 4 --dist loadfile --reruns 1
python -m pytest -m "ros or launch_files" --reruns 1
