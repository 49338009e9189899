import hypothesis.strategies as st
import pytest
from hypothesis import given

from evo1_training.recording.take import Ending, RefusedError, Take, TakeState


def recording():
    return Take().start("pour", "Ada").opened("episode_000003", 5)


def test_take_waits_then_records_then_saves():
    take = Take().start(" pour ", "Ada")
    assert (take.state, take.instruction) == (TakeState.WAITING, "pour")
    take = take.waiting("waiting for image_1")
    assert take.describe() == "WAITING: waiting for image_1"
    take = take.opened("episode_000003", 5)
    assert take.describe() == "RECORDING episode_000003"
    take = take.end(Ending.SAVE)
    assert (take.state, take.ending) == (TakeState.SAVING, Ending.SAVE)
    assert take.closed() == Take()


def test_second_start_is_refused_and_says_what_runs():
    with pytest.raises(RefusedError, match="RECORDING episode_000003; save or discard it first"):
        recording().start("pour", "")


def test_empty_label_is_refused():
    with pytest.raises(RefusedError, match="no instruction"):
        Take().start("  ", "")


def test_waiting_take_can_be_cancelled_but_not_saved():
    waiting = Take().start("pour", "")
    assert waiting.end(Ending.DISCARD) == Take()
    with pytest.raises(RefusedError, match="discard cancels"):
        waiting.end(Ending.SAVE)


def test_fault_is_told_until_the_next_start():
    take = recording().fail("the disk is full")
    assert take.state is TakeState.FAULT
    take = take.closed()
    assert (take.state, take.reason) == (TakeState.IDLE, "the disk is full")
    assert take.start("pour", "").reason == ""


EVENTS = {
    "start": lambda take: take.start("pour", ""),
    "open": lambda take: take.opened("episode_000000", 1),
    "save": lambda take: take.end(Ending.SAVE),
    "discard": lambda take: take.end(Ending.DISCARD),
    "fail": lambda take: take.fail("the disk is full"),
    "close": lambda take: take.closed(),
}


@given(st.lists(st.sampled_from(sorted(EVENTS))))
def test_any_order_of_events_keeps_the_rules(names):
    take = Take()
    for name in names:
        before = take
        try:
            take = EVENTS[name](take)
        except (RefusedError, ValueError):
            assert take == before
        has_episode = take.episode_id != ""
        assert (take.state in (TakeState.RECORDING, TakeState.SAVING)) <= has_episode
        assert (take.state is TakeState.IDLE) <= (not has_episode)
        if before.state is TakeState.RECORDING:
            assert take.state is not TakeState.IDLE  # never without ending the file
