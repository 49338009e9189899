"""A system is found on its own machine only, unless the shell says otherwise."""

from pathlib import Path

import pytest

from evo1_bringup.discovery import PROFILE, RANGE, local_by_default, variables

CONFIG = Path(__file__).parents[1] / "config"
WANTED = {PROFILE: str(CONFIG / "fastdds.xml")}
LOCAL = str(CONFIG / "fastdds_local.xml")


@pytest.mark.parametrize("shell", [{}, {"ROS_DOMAIN_ID": "7"}, {RANGE: ""}])
def test_nothing_said_is_this_machine_and_no_socket_of_the_network(shell):
    assert local_by_default(shell) == {RANGE: "LOCALHOST"}
    assert variables(WANTED, {}) == {RANGE: "LOCALHOST", PROFILE: LOCAL}


@pytest.mark.parametrize(
    "shell",
    [{RANGE: "SUBNET"}, {"ROS_STATIC_PEERS": "10.0.0.2"}, {"ROS_LOCALHOST_ONLY": "0"}],
)
def test_what_the_shell_says_stays(shell):
    assert local_by_default(shell) == {}
    assert variables(WANTED, shell) == WANTED


def test_a_range_that_the_command_set_gets_the_local_profile_and_a_profile_of_a_person_stays():
    assert variables(WANTED, {RANGE: "LOCALHOST"}) == {PROFILE: LOCAL}
    assert variables(WANTED, {RANGE: "LOCALHOST", PROFILE: "mine.xml"}) == {}
    peers = {RANGE: "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.2"}
    assert variables(WANTED, peers) == WANTED


def test_the_profiles_differ_in_the_interfaces_alone():
    network, local = (
        (CONFIG / name).read_text().partition("<dds")[2]
        for name in ("fastdds.xml", "fastdds_local.xml")
    )
    begin, end = (
        local.index("        <interfaceWhiteList>"),
        local.index("</interfaceWhiteList>\n"),
    )
    assert "127.0.0.1" in local[begin:end]
    assert local[:begin] + local[end + len("</interfaceWhiteList>\n") :] == network
