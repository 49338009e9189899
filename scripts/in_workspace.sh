#!/usr/bin/env bash
# Runs a command inside the built workspace, on the pip route and as the container's entry point:
#
#   scripts/in_workspace.sh evo1 launch xarm6
#
# Who may find it is what evo1_bringup/discovery.py gives a launch: this machine, on sockets of this
# machine alone, unless the shell says otherwise.
set -eo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ -f "$root/install/setup.bash" ] || { echo "run 'make setup' first" >&2; exit 1; }
unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH
# shellcheck disable=SC1091
. "$root/install/setup.bash"
if [ -z "$ROS_AUTOMATIC_DISCOVERY_RANGE$ROS_STATIC_PEERS$ROS_LOCALHOST_ONLY" ]; then
  export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
fi
profile=fastdds.xml
[ "$ROS_AUTOMATIC_DISCOVERY_RANGE$ROS_STATIC_PEERS" != LOCALHOST ] || profile=fastdds_local.xml
export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-$root/src/evo1_bringup/config/$profile}
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
exec "$@"
