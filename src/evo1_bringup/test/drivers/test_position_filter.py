"""Which positions are believed."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from evo1_bringup.drivers.so100_arm import MAX_SPEED, RANGE, SLACK, PositionFilter

CYCLE_NS = 10_000_000


def test_the_first_position_needs_a_second_that_agrees():
    positions = PositionFilter()
    assert not positions.believe(1, 3000, 0)  # alone it may be forged
    assert not positions.believe(1, 2000, CYCLE_NS)
    assert positions.believe(1, 2003, 2 * CYCLE_NS)
    assert positions.position(1) == 2003
    assert positions.knows([1])
    assert not positions.knows([1, 2])


def test_a_jump_is_rejected_and_the_truth_believed_again():
    positions = PositionFilter()
    for cycle in range(2):
        positions.believe(1, 2000, cycle * CYCLE_NS)
    assert not positions.believe(1, 2400, 2 * CYCLE_NS)
    assert positions.believe(1, 2010, 3 * CYCLE_NS)
    assert positions.rejected == 1


@given(silent_cycles=st.integers(0, 300), forged=st.integers(*RANGE))
def test_one_forged_position_after_a_silence_costs_five_cycles_at_most(silent_cycles, forged):
    positions = PositionFilter()
    for cycle in range(2):
        positions.believe(1, 2000, cycle * CYCLE_NS)
    back = (1 + silent_cycles) * CYCLE_NS
    positions.believe(1, forged, back)
    heard = [positions.believe(1, 2000, back + cycle * CYCLE_NS) for cycle in range(1, 6)]
    assert any(heard)


@given(st.lists(st.integers(-10000, 10000), max_size=60))
def test_believed_positions_never_move_faster_than_a_servo_can(ticks):
    positions, believed = PositionFilter(), []
    for cycle, value in enumerate(ticks):
        if positions.believe(1, value, cycle * CYCLE_NS):
            believed.append((cycle, value))
    for (earlier, before), (later, after) in itertools.pairwise(believed):
        way = abs((after - before + 2048) % 4096 - 2048)
        assert way <= MAX_SPEED * 0.01 * (later - earlier) + SLACK


def test_a_servo_that_wraps_moves_on_over_its_seam():
    positions = PositionFilter()
    heard = [
        positions.believe(1, ticks, cycle * CYCLE_NS)
        for cycle, ticks in enumerate((4080, 4081, 4090, 3, 12, -4, 4090))
    ]
    assert heard == [False, *[True] * 6]
    assert positions.position(1) == 4090
