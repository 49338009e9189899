#!/bin/bash
set -e
. /opt/evo1/install/setup.bash
export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-/opt/evo1/src/evo1_bringup/config/fastdds.xml}
exec "$@"
