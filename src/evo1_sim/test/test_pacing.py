from evo1_sim.pacing import Pacer


def test_ticks_are_one_period_apart():
    pacer = Pacer(period_ns=10, max_lag_ns=100, now_ns=1000)
    assert pacer.wait_ns(1000) == 10
    assert pacer.wait_ns(1007) == 3
    assert pacer.wait_ns(1010) == 0
    assert pacer.tick() == 1010
    assert pacer.wait_ns(1012) == 8


def test_missed_ticks_are_caught_up_with_the_instants_they_were_due():
    pacer = Pacer(period_ns=10, max_lag_ns=100, now_ns=1000)
    instants = []
    while pacer.wait_ns(1045) == 0:
        instants.append(pacer.tick())
    assert instants == [1010, 1020, 1030, 1040]
    assert pacer.lost_ns == 0


def test_a_stall_beyond_the_bound_is_counted_as_lost():
    pacer = Pacer(period_ns=10, max_lag_ns=100, now_ns=1000)
    assert pacer.wait_ns(1510) == 0
    assert pacer.tick() == 1510
    assert pacer.lost_ns == 500
    assert pacer.wait_ns(1511) == 9


def test_a_clock_that_jumps_back_starts_afresh():
    pacer = Pacer(period_ns=10, max_lag_ns=100, now_ns=1000)
    assert pacer.wait_ns(500) == 10
    assert pacer.wait_ns(510) == 0
    assert pacer.tick() == 510
