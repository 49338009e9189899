"""When the gripper gets a new goal."""

from evo1_bringup.drivers.gripper_gate import GripperGate

MS = 1_000_000


def gate() -> GripperGate:
    return GripperGate(dead_band_rad=0.02, min_interval_ns=100 * MS)


def test_first_target_is_sent():
    assert gate().offer(0.3, 0) == 0.3


def test_small_change_is_not_sent():
    opened = gate()
    opened.offer(0.3, 0)
    assert opened.offer(0.31, 500 * MS) is None


def test_targets_in_quick_succession_wait():
    opened = gate()
    opened.offer(0.0, 0)
    assert opened.offer(0.4, 50 * MS) is None
    assert opened.offer(0.8, 100 * MS) == 0.8


def test_small_steps_add_up_to_a_goal():
    opened = gate()
    sent = [opened.offer(step * 0.005, step * 20 * MS) for step in range(21)]
    assert [goal for goal in sent if goal is not None] == [0.0, 0.025, 0.05, 0.075, 0.1]


def test_failed_goal_may_be_sent_again():
    opened = gate()
    opened.offer(0.3, 0)
    opened.forget()
    assert opened.offer(0.3, 1 * MS) == 0.3
