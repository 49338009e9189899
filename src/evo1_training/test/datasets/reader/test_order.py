"""The shuffled order: complete, weighted, sharded and resumable."""

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_training.datasets.reader.order import (
    OrderConfig,
    Position,
    SampleOrder,
    permutation,
)

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=4)
few = settings(max_examples=30)


def config(sizes, weights=None, **options):
    given_weights = tuple(weights) if weights else (1.0,) * len(sizes)
    return OrderConfig(lengths=tuple(sizes), weights=given_weights, **options)


@given(st.integers(1, 3000), st.integers(0, 2**70))
def test_permutation_hits_every_number_once(count, key):
    assert sorted(permutation(count, key).tolist()) == list(range(count))


def test_permutation_stays_the_same_for_ever():
    # A saved position is worth nothing once these numbers change.
    assert permutation(10, 7).tolist() == [6, 3, 4, 9, 0, 2, 8, 7, 5, 1]


def test_permutations_of_different_keys_look_independent():
    first, second = (permutation(10_000, 3, key) for key in (1, 2))
    assert abs(np.corrcoef(first, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert (np.abs(np.diff(first)) < 100).mean() < 0.05  # neighbours do not stay together


@few
@given(lengths, st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_sees_every_frame_once(sizes, seed, epoch):
    order = SampleOrder(config(sizes, seed=seed), position=Position(epoch=epoch))
    expected = [(d, frame) for d, size in enumerate(sizes) for frame in range(size)]
    assert sorted(order.epoch()) == expected
    assert order.position == Position(epoch=epoch + 1)


@few
@given(lengths, st.data())
def test_weights_say_how_often_a_frame_is_seen(sizes, data):
    weights = data.draw(
        st.lists(st.floats(0.1, 4), min_size=len(sizes), max_size=len(sizes)), label="weights"
    )
    order = SampleOrder(config(sizes, weights))
    epochs = 3
    seen = Counter(islice(iter(order), epochs * order.config.epoch_length))
    for dataset, (size, count) in enumerate(zip(sizes, order.config.counts, strict=True)):
        visits = epochs * count
        times = [seen[dataset, frame] for frame in range(size)]
        assert sum(times) == visits
        assert max(times) - min(times) <= 1


def test_epochs_and_seeds_are_shuffled_differently():
    orders = {
        (seed, epoch): tuple(
            SampleOrder(config([50], seed=seed), position=Position(epoch=epoch)).epoch()
        )
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4


@few
@given(lengths, st.integers(1, 5), st.integers(0, 4))
def test_ranks_share_an_epoch_without_overlap(sizes, ranks, seed):
    shared = config(sizes, seed=seed)
    if shared.epoch_length < ranks:
        return
    parts = [list(SampleOrder(shared, rank=rank, ranks=ranks).epoch()) for rank in range(ranks)]
    assert {len(part) for part in parts} == {shared.epoch_length // ranks}
    assert len(set().union(*parts)) == sum(map(len, parts))


@few
@given(lengths, st.integers(0, 60), st.integers(1, 3), st.data())
def test_resuming_gives_exactly_the_rest(sizes, stop, ranks, data):
    weights = [data.draw(st.floats(0.5, 2.5)) for _ in sizes]
    shared = config(sizes, weights, seed=3)
    if shared.epoch_length < ranks:
        return
    rank = data.draw(st.integers(0, ranks - 1), label="rank")
    order = SampleOrder(shared, rank=rank, ranks=ranks)
    stream = iter(order)
    list(islice(stream, stop))
    state = json.loads(json.dumps(order.state_dict()))
    fresh = SampleOrder(shared, rank=rank, ranks=ranks)
    assert fresh.state_dict(fresh.after(stop)) in (state, _next_epoch(state, shared, ranks))
    resumed = SampleOrder(shared, rank=rank, ranks=ranks)
    resumed.load_state_dict(state)
    assert list(islice(iter(resumed), 30)) == list(islice(stream, 30))


def _next_epoch(state, shared, ranks):
    """At the very end of an epoch both say the same: all of this one, or none of the next."""
    if state["seen"] + ranks > shared.epoch_length:
        return {**state, "epoch": state["epoch"] + 1, "seen": 0}
    return state


def test_another_number_of_ranks_goes_on_with_what_is_left():
    shared = config([40])
    first = [SampleOrder(shared, rank=rank, ranks=4) for rank in range(4)]
    seen = [pair for order in first for pair in islice(order.epoch(), 5)]
    position = first[0].position
    rest = [
        pair
        for rank in range(2)
        for pair in SampleOrder(shared, rank=rank, ranks=2, position=position).epoch()
    ]
    assert sorted(seen + rest) == [(0, frame) for frame in range(40)]


def test_position_of_other_datasets_is_refused():
    state = SampleOrder(config([10, 20])).state_dict()
    with pytest.raises(ValueError, match=r"lengths = \[10, 20\], here it is \[10, 21\]"):
        SampleOrder(config([10, 21])).load_state_dict(state)


def test_weight_of_nothing_is_refused():
    with pytest.raises(ValueError, match="dataset 1: expected at least one frame"):
        config([3, 4], [1.0, 0.0])
