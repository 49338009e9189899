from bag_writing import intervention_head

from evo1_training.recording.pre_roll import Heard, PreRoll

S = 1_000_000_000


def fill(ring, seconds, *, size=10, rate=10):
    for k in range(int(seconds[0] * rate), int(seconds[1] * rate)):
        at_ns = k * S // rate
        ring.add(Heard(topic="/a", data=bytes(size), received_ns=at_ns, publish_ns=at_ns))


def test_the_seconds_before_a_take_over_wait_for_a_take_while_the_person_drives():
    ring = PreRoll(2 * S)
    fill(ring, (0, 5))
    ring.follow(intervention_head(active=True), 5 * S)
    fill(ring, (5, 9))
    assert ring.first_ns == 3 * S
    messages = ring.take()
    assert [messages[0].received_ns, len(messages)] == [3 * S, 60]
    assert ring.size == 0


def test_an_intervention_that_cannot_be_read_changes_nothing():
    ring = PreRoll(2 * S)
    ring.follow(intervention_head(active=True), S)
    for data in (b"", b"\0\1", bytes(14)):
        ring.follow(data, 2 * S)
    fill(ring, (1, 2))
    assert ring.first_ns == S


def test_nothing_is_kept_for_a_take_that_begins_without_a_person():
    ring = PreRoll(2 * S)
    fill(ring, (0, 5))
    assert ring.first_ns is None
    assert ring.take() == ()
    ring.follow(intervention_head(active=True), 5 * S)
    ring.follow(intervention_head(active=False), 6 * S)
    fill(ring, (5, 9))
    assert ring.take() == ()


def test_memory_is_bounded_and_no_seconds_means_no_memory():
    ring = PreRoll(100 * S, max_bytes=500)
    ring.follow(intervention_head(active=True), 0)
    fill(ring, (0, 50), size=100)
    assert ring.size <= 500
    off = PreRoll(0)
    fill(off, (0, 5))
    assert off.size == 0
