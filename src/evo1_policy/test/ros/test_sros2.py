"""The SROS2 policy file names what the policy node really publishes, hears and offers."""

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


def test_the_file_allows_what_the_node_does_and_nothing_else(start_node):
    node = start_node(dead_man="joy").node
    profile = ElementTree.parse(FILE).find("enclaves/enclave/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "policy")

    def true(found):
        return {name for name, _ in found if ACTION not in name}

    published = node.get_publisher_names_and_types_by_node("policy", "/")
    heard = node.get_subscriber_names_and_types_by_node("policy", "/")
    offered = node.get_service_names_and_types_by_node("policy", "/")
    assert named(profile, "topic", "publish") == true(published)
    assert named(profile, "topic", "subscribe") == true(heard)
    assert named(profile, "service", "reply") == true(offered)
    actions = {name.partition(ACTION)[0] for name, _ in offered if ACTION in name}
    assert named(profile, "action", "execute") == actions
