"""Of two publishers on a topic nothing is used: one that joins, a twin, a slow one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo1_policy.perception.sources import SOLE_NS, Sources

MS = 1_000_000
TOPIC = "/env_camera/image_raw"


class Feed:
    def __init__(self):
        self.sources, self.used = Sources(), []

    def message(self, who, number, now_ms, publishers, kind=()):
        refusal = self.sources.refusal(
            TOPIC, publishers=publishers, number=number, now_ns=now_ms * MS, kind=kind
        )
        if not refusal:
            self.used.append((who, now_ms))
        return refusal


def test_one_publisher_is_used_whatever_is_lost_or_begins_anew():
    feed = Feed()
    for now, number in enumerate([1, 2, 500, 3]):
        assert feed.message("a", number, 33 * now, 1) == ""
    assert feed.sources.second_source(200 * MS) is None


@pytest.mark.parametrize("first", [2, 103, 5000], ids=["newer", "as_old", "older"])
def test_of_two_that_speak_in_turn_neither_is_used_and_the_topic_is_named(first):
    feed = Feed()
    for k in range(90):
        feed.message("camera", 100 + k, 33 * k, 1 if k < 10 else 2)
        if k >= 10:
            feed.message("black", first + k, 33 * k + 16, 2)
    assert feed.used == [("camera", 33 * k) for k in range(10)]
    assert feed.sources.second_source(33 * 90 * MS) == TOPIC


def test_what_a_killed_drivers_successor_sends_is_used_a_second_later_and_is_no_second_source():
    feed = Feed()
    for k in range(10):
        feed.message("killed", 100 + k, 33 * k, 1)
    for k in range(60):
        feed.message("new", 1 + k, 1000 + 33 * k, 2)  # DDS knows the killed one for 20 s
    assert ("new", 1000) not in feed.used
    assert ("new", 1000 + 33 * 59) in feed.used
    assert feed.sources.second_source(3000 * MS) is None


def test_parts_of_the_joints_may_come_from_several():
    feed = Feed()
    for k in range(100):
        feed.message("arm", 7 + k, 20 * k, 2, kind=("joint1",))
        feed.message("gripper", 3 + k, 20 * k + 3, 2, kind=("finger",))
    assert ("arm", 20 * 99) in feed.used
    assert ("gripper", 20 * 99 + 3) in feed.used
    assert feed.sources.second_source(2000 * MS) is None


def test_where_the_middleware_gives_no_numbers_two_cameras_are_refused():
    feed = Feed()
    assert feed.message("a", None, 0, 1) == ""
    assert TOPIC in feed.message("a", None, 33, 2)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=60))
def test_no_message_is_used_while_both_have_spoken_within_a_second(turns):
    feed, numbers, now, spoke = Feed(), {"a": 500, "b": 20}, 2000, {"a": 0, "b": 0}
    feed.message("a", 500, 0, 1)
    for is_a, wait in turns:
        now += wait
        who, other = ("a", "b") if is_a else ("b", "a")
        numbers[who] += 1
        refusal = feed.message(who, numbers[who], now, 2)
        if (now - spoke[other]) * MS < SOLE_NS:
            assert refusal
        spoke[who] = now
