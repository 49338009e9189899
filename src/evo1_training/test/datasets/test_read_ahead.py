"""Items of a thread that works ahead: order, errors, and an end in between."""

import itertools
import threading

import pytest

from evo1_training.datasets.conversion_job import read_ahead


def test_items_come_in_order_and_end():
    assert list(read_ahead(iter(range(100)), items=3)) == list(range(100))


def test_error_comes_after_the_items_before_it():
    def source():
        yield 1
        raise ValueError("torn")

    found = read_ahead(source(), items=3)
    assert next(found) == 1
    with pytest.raises(ValueError, match="torn"):
        next(found)


def test_thread_ends_where_nobody_wants_more():
    found = read_ahead(itertools.count(), items=2)
    assert next(found) == 0
    found.close()
    assert not [one.name for one in threading.enumerate() if "read_ahead" in one.name]


def test_no_more_items_wait_than_allowed():
    taken = []

    def source():
        for k in range(50):
            taken.append(k)
            yield k

    found = read_ahead(source(), items=2)
    for k in found:
        assert len(taken) <= k + 4
