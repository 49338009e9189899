#!/usr/bin/env bash
# Runs a command inside the built workspace of the pip route:
#
#   scripts/in_workspace.sh evo1 launch xarm6
set -eo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ -f "$root/install/setup.bash" ] || { echo "run 'make setup' first" >&2; exit 1; }
unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH
# shellcheck disable=SC1091
. "$root/install/setup.bash"
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
profile=fastdds.xml
[ "$ROS_AUTOMATIC_DISCOVERY_RANGE${ROS_STATIC_PEERS:-}" != LOCALHOST ] || profile=fastdds_local.xml
export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-$root/src/evo1_bringup/config/$profile}
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
exec "$@"
