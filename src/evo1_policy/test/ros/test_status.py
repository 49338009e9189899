"""The state log and the percentiles."""

import pytest

from evo1_policy.control.meters import ChunkTimes, LatencyLog
from evo1_policy.control.signals import LoopState, LoopStatus, StopCode, StopReason
from evo1_policy.ros.status import StateLog

pytestmark = pytest.mark.ros

S = 10**9
RUNNING = LoopStatus(state=LoopState.RUNNING, reason=None, lead_ms=0.0)
STALE = LoopStatus(
    state=LoopState.HOLDING,
    reason=StopReason(code=StopCode.CAMERA_STALE, message="/camera is old"),
    lead_ms=0.0,
)


def test_each_change_is_logged_once_with_its_reason():
    log = StateLog()
    assert log.line(RUNNING, 0) == "RUNNING"
    assert log.line(RUNNING, 1 * S) is None
    assert log.line(STALE, 2 * S) == "RUNNING -> HOLDING: /camera is old [camera_stale]"
    assert log.line(STALE, 3 * S) is None
    assert log.line(RUNNING, 4 * S) == "HOLDING -> RUNNING"


def test_flapping_state_is_logged_three_times_in_ten_seconds():
    log = StateLog()
    lines = [log.line(status, k * S // 10) for k in range(10) for status in (RUNNING, STALE)]
    assert len([line for line in lines if line and "camera_stale" in line]) == 3
    assert log.line(RUNNING, 20 * S) == "HOLDING -> RUNNING"
    assert log.line(STALE, 21 * S) == "RUNNING -> HOLDING: /camera is old [camera_stale]"


def test_percentiles_are_of_the_last_200_chunks():
    log = LatencyLog()
    assert log.percentiles()["overhead_ms_p95"] == 0.0
    for k in range(1, 301):
        log.add(
            ChunkTimes(
                stamp_ns=0,
                received_ns=0,
                started_ns=0,
                finished_ns=50_000_000,
                planned_ns=0,
                published_ns=50_000_000 + k * 1_000_000,
            )
        )
    percentiles = log.percentiles()
    assert percentiles["inference_ms_p50"] == 50.0
    assert percentiles["overhead_ms_p50"] == 200.0
    assert percentiles["overhead_ms_p95"] == 290.0
