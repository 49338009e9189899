"""The SROS2 policy file names what the policy node really publishes, hears and offers."""

import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.ros

FILE = Path(__file__).parents[4] / "docs" / "sros2_policy.xml"
ACTION = "/_action/"


def named(profile, kind, right):
    return {
        item.text.strip()
        for group in profile.findall(f"{kind}s")
        if group.get(right) == "ALLOW"
        for item in group.findall(kind)
    }


def true(node):
    """Topics published, topics heard, services offered: as the graph knows them now."""
    graph = (
        node.get_publisher_names_and_types_by_node("policy", "/"),
        node.get_subscriber_names_and_types_by_node("policy", "/"),
        node.get_service_names_and_types_by_node("policy", "/"),
    )
    return [{name for name, _ in found if ACTION not in name} for found in graph]


def test_the_file_allows_what_the_node_does_and_nothing_else(start_node):
    node = start_node(dead_man="joy").node
    profile = ElementTree.parse(FILE).find("enclaves/enclave/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "policy")
    wanted = [
        named(profile, "topic", "publish"),
        named(profile, "topic", "subscribe"),
        named(profile, "service", "reply"),
    ]
    end_s = time.monotonic() + 10.0  # for the graph to know all of the node
    while true(node) != wanted and time.monotonic() < end_s:
        time.sleep(0.1)
    assert true(node) == wanted
    offered = node.get_service_names_and_types_by_node("policy", "/")
    actions = {name.partition(ACTION)[0] for name, _ in offered if ACTION in name}
    assert named(profile, "action", "execute") == actions
