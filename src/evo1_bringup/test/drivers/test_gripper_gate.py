"""When the gripper gets a new goal."""

from evo1_bringup.drivers.pacing import GripperGate

MS = 1_000_000
STROKE = 0.85  # an xArm's, from open to closed


def stream(gate, targets, period_ns, duration_ns):
    """Offer targets at 50 Hz, each wanted for `period_ns`; a goal takes `duration_ns`."""
    sent, ends = [], None
    for now_ns in range(0, len(targets) * period_ns, 20 * MS):
        if ends is not None and now_ns >= ends:
            gate.ended()
            ends = None
        goal = gate.offer(targets[now_ns // period_ns], now_ns)
        if goal is not None:
            assert ends is None, "a goal was sent while the last one ran"
            sent.append(goal)
            ends = now_ns + duration_ns
    return sent


def ramp(start, end, steps):
    return [start + (end - start) * (step + 1) / steps for step in range(steps)]


def demonstration():
    """At 30 Hz: 1 s open, closed within 0.5 s, held for 3 s with noise, opened, 2.5 s open."""
    noise = [0.004, -0.006, 0.002, 0.005, -0.003]
    hold = [0.6 + noise[k % 5] for k in range(90)]
    return [0.0] * 30 + ramp(0.0, 0.6, 15) + hold + ramp(0.6, 0.0, 15) + [0.0] * 75


def test_a_demonstration_that_closes_holds_and_opens_makes_a_handful_of_goals():
    for duration_ns, most in ((60 * MS, 9), (400 * MS, 5), (1500 * MS, 4)):
        sent = stream(GripperGate(STROKE), demonstration(), 33_333_333, duration_ns)
        assert 3 <= len(sent) <= most, (duration_ns, sent)
        assert abs(max(sent) - 0.6) < 0.02
        assert abs(sent[-1]) < 0.02


def test_the_first_target_is_sent():
    assert GripperGate(STROKE).offer(0.3, 0) == 0.3


def test_noise_around_the_last_goal_is_no_goal():
    assert stream(GripperGate(STROKE), [0.3, 0.31, 0.295, 0.305] * 20, 100 * MS, 10 * MS) == [0.3]


def test_a_small_change_is_sent_once_it_has_settled():
    gate = GripperGate(STROKE)
    gate.offer(0.3, 0)
    gate.ended()
    assert gate.offer(0.35, 100 * MS) is None
    assert gate.offer(0.36, 200 * MS) is None
    assert gate.offer(0.36, 260 * MS) == 0.36


def test_while_a_goal_runs_nothing_is_sent_and_then_the_newest_target():
    gate = GripperGate(STROKE)
    gate.offer(0.0, 0)
    assert [gate.offer(target, 10 * MS) for target in (0.2, 0.5, 0.85)] == [None] * 3
    gate.ended()
    assert gate.offer(0.7, 30 * MS) == 0.7


def test_a_refused_goal_is_sent_again_but_not_at_once():
    gate = GripperGate(STROKE)
    gate.offer(0.3, 0)
    gate.refused(10 * MS)
    assert gate.offer(0.3, 500 * MS) is None
    assert gate.offer(0.3, 1100 * MS) == 0.3


def test_a_goal_without_a_result_does_not_block_the_gripper_for_ever():
    gate = GripperGate(STROKE)
    gate.offer(0.3, 0)
    assert gate.offer(0.8, 4900 * MS) is None
    assert gate.offer(0.8, 5100 * MS) == 0.8


def test_the_dead_band_is_in_the_grippers_own_unit():
    gate = GripperGate(0.08)  # a finger that slides, in metres
    gate.offer(0.0, 0)
    gate.ended()
    assert gate.offer(0.02, 20 * MS) == 0.02
