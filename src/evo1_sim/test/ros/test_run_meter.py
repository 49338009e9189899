import pytest

pytestmark = pytest.mark.ros
S = 1_000_000_000


def report(ticks, frames, render_ms=10, lost_ns=0):
    from evo1_sim.ros.run_meter import RunMeter

    meter = RunMeter(camera_rate_hz=30.0, now_ns=5 * S)
    for _ in range(ticks):
        meter.ticked(S // 100, lost_ns)
    for _ in range(frames):
        meter.rendered(render_ms * 1_000_000)
    status = meter.report(name="sim", stamp_ns=7 * S, now_ns=6 * S).status[0]
    return status, {value.key: value.value for value in status.values}


def test_a_simulation_that_keeps_up_is_ok():
    status, values = report(100, 30)
    assert status.level == b"\0"
    assert values["real_time_factor"] == "1.000"
    assert values["camera_rate_hz"] == "30.0"
    assert values["render_ms_mean"] == values["render_ms_max"] == "10.0"


def test_lost_real_time_is_a_warning():
    status, values = report(50, 30, lost_ns=S // 2)
    assert status.level == b"\1"
    assert status.message == "slower than real time"
    assert values["lost_real_time_s"] == "0.50"


def test_slow_cameras_are_a_warning():
    status, _ = report(100, 20, render_ms=50)
    assert status.message == "cameras slower than asked"


def test_each_report_counts_afresh():
    from evo1_sim.ros.run_meter import RunMeter

    meter = RunMeter(camera_rate_hz=30.0, now_ns=0)
    meter.rendered(S)
    meter.report(name="sim", stamp_ns=0, now_ns=S)
    status = meter.report(name="sim", stamp_ns=0, now_ns=2 * S).status[0]
    assert {value.key: value.value for value in status.values}["render_ms_max"] == "0.0"
