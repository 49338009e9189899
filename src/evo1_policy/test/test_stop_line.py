"""A stop by datagram on this machine: addresses in the kernel, words and answers."""

import os
import socket
import threading

import pytest

from evo1_policy import stop_line

DOMAIN = 1_000_000 + os.getpid()  # nobody else's


@pytest.fixture
def claim():
    """Claim addresses that answer with a text, or say nothing."""
    lines, threads = [], []

    def make(namespace, part="mover", answer=None, domain=DOMAIN):
        line = stop_line.claim(stop_line.address_of(domain, namespace, part))
        lines.append(line)

        def serve():
            word, asker = line.recvfrom(64)
            if asker:
                line.sendto(f"{answer} {word.decode()}".encode(), asker)

        threads.append(threading.Thread(target=serve if answer else lambda: None))
        threads[-1].start()
        return line

    yield make
    for line, thread in zip(lines, threads, strict=True):
        if line.fileno() >= 0:
            line.shutdown(socket.SHUT_RDWR)
        thread.join()
        line.close()


def test_each_part_of_a_namespace_answers_and_a_silent_one_is_told(claim):
    claim("/left", answer="policy")
    claim("/left", part="driver")
    claim("/right", answer="relay")
    claim("/left", domain=DOMAIN + 1)
    here = stop_line.claimed(DOMAIN, "/left")
    assert stop_line.tell(stop_line.STOP, here, 0.3) == {
        stop_line.address_of(DOMAIN, "/left"): "policy stop",
        stop_line.address_of(DOMAIN, "/left", "driver"): None,
    }
    assert len(stop_line.claimed(DOMAIN)) == 3


def test_an_address_has_one_owner_and_goes_with_it(claim):
    line = claim("/")
    with pytest.raises(OSError, match="in use"):
        claim("/")
    line.close()
    assert stop_line.claimed(DOMAIN) == []
    claim("/")


def test_who_does_not_read_does_not_hold_up_the_others(claim):
    deaf = stop_line.address_of(DOMAIN, "/")
    claim("/")
    for _ in range(30):  # its queue is full after ten or so
        stop_line.tell(stop_line.WHO, [deaf], 0.0)
    claim("/z", answer="policy")
    answers = stop_line.tell(stop_line.STOP, stop_line.claimed(DOMAIN), 0.5)
    assert answers == {deaf: None, stop_line.address_of(DOMAIN, "/z"): "policy stop"}
