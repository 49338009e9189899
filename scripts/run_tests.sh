#!/usr/bin/env bash
# Runs every test of the pip route, or those that the arguments choose:
#
#   scripts/run_tests.sh src/evo1_sim -k grasp
#
# Tests without ROS share the cores. Nodes in a process of the test mostly wait: two at a time, each
# in a domain of its own. Whole systems run one after the other, because a robot that waits for a
# processor looks like one that failed; beside them a part of the tests of arithmetic runs on numpy
# 1.26, at the lowest priority (make test-numpy1 runs all that need no ROS).
set -eo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  exec python -m pytest "$@"
fi
# Hundreds of processes are started: none shall compile the sources again, or rewrite the asserts.
unset PYTHONDONTWRITEBYTECODE
# In the order of the folders: files of one long test, which xdist would leave to the end, come first.
# A busy machine may fail what runs in real time (nodes, emulated serial buses); what fails twice is
# wrong. Reruns are counted in the summary.
python -m pytest -m "not ros and not launch_files" -n auto --maxprocesses 4 --dist loadfile \
  --no-loadscope-reorder --reruns 1
failed=0
python -m pytest -m "ros or launch_files" -n 2 --dist loadfile --reruns 1 \
  src/evo1_policy/test src/evo1_training/test || failed=1
numpy1=$(mktemp)
(
  renice -n 19 "$BASHPID" >/dev/null
  arithmetic=(src/evo1_policy/test/{control,kinematics,perception,replay} src/evo1_sim/test)
  arithmetic+=(src/evo1_policy/test/test_{action_chunk,checkpoint,joint_units,normalization,robot_config}.py)
  arithmetic+=(src/evo1_training/test/datasets/{reader,lerobot/test_lerobot_statistics.py})
  arithmetic+=(src/evo1_training/test/datasets/test_{action_curve,coarse_stamps,conversion,episode_plan}.py)
  arithmetic+=(src/evo1_training/test/datasets/test_{conversion_to_lerobot,norm_stats}.py)
  episodes=(src/evo1_sim/test/test_{closed_loop,experts,rehearsals}.py)
  scripts/test_numpy1.sh -m "not ros and not launch_files and not hypothesis" \
    "${episodes[@]/#/--ignore=}" "${arithmetic[@]}"
) >"$numpy1" 2>&1 &
python -m pytest -m "ros or launch_files" --reruns 1 src/evo1_sim/test src/evo1_bringup/test \
  || failed=1
echo "the arithmetic, on numpy 1.26; neither properties nor whole simulated episodes:"
wait $! || failed=1
cat "$numpy1"
rm "$numpy1"
exit "$failed"
