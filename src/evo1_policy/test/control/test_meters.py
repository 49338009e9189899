from evo1_policy.control.meters import KEPT, SeamLog
from evo1_policy.control.signals import SeamReport


def test_the_worst_is_told_of_each_value_over_the_last_seams():
    log = SeamLog()
    assert log.worst() == (0, SeamReport())
    log.add(SeamReport(position_jump_rad=0.9))
    for _ in range(KEPT - 1):
        log.add(SeamReport(position_jump_rad=0.1, stretch=1.5))
    assert log.worst() == (KEPT, SeamReport(position_jump_rad=0.9, stretch=1.5))
    log.add(SeamReport(jerk_rad_s3=3.0, smoothed_rad=0.02))
    worst = SeamReport(position_jump_rad=0.1, stretch=1.5, jerk_rad_s3=3.0, smoothed_rad=0.02)
    assert log.worst() == (KEPT, worst)
