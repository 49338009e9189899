"""Who can find the arm: this machine, unless somebody said otherwise. Standard library only."""

from collections.abc import Mapping

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_SAYS_OTHERWISE = (RANGE, "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY")
NOTE = (
    f"ROS 2 is found on this machine only ({RANGE}=LOCALHOST). For other machines set it to "
    "SUBNET in every shell; whoever is in the network can move the arm then (docs/safety.md)."
)


def variables(wanted: Mapping[str, str], shell: Mapping[str, str]) -> dict[str, str]:
    """What to set for the programs of a system: what it wants, and who may find it.

    Args:
        wanted: by the system; the profile is that for a network.
        shell: whose variables stay as they are.
    """
    local = local_by_default(shell)
    found = {**shell, **local}
    added = {**wanted, **local}
    if found.get(RANGE) == "LOCALHOST" and not found.get("ROS_STATIC_PEERS"):
        profile = added.get(PROFILE, "")
        added[PROFILE] = profile.replace("fastdds.xml", "fastdds_local.xml")
    return {name: value for name, value in added.items() if value and name not in shell}


def local_by_default(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to a shell's variables; nothing where it says who may find whom."""
    if any(environment.get(name) for name in _SAYS_OTHERWISE):
        return {}
    return {RANGE: "LOCALHOST"}
