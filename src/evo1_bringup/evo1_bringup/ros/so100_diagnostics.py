"""What the SO-100 driver knows, as diagnostic_msgs."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from evo1_bringup.drivers.servo_health import HealthReading
from evo1_bringup.drivers.so100_driver import DriverReport, DriverState
from evo1_policy.ros.diagnostics import array, status
from evo1_sim.servo_bus.sts3215 import status_words


def diagnostics_message(
    report: DriverReport, *, node: str, port: str, rate_hz: float, now_ns: int
) -> DiagnosticArray:
    """One status for the arm, one for the bus, one for each servo that was looked at."""
    servos = (_servo(name, reading, report) for name, reading in report.health.items())
    statuses = [_arm(report), _bus(report, rate_hz), *servos]
    return array(statuses, node=node, hardware=port, now_ns=now_ns)


def _arm(report: DriverReport) -> DiagnosticStatus:
    level, text = DiagnosticStatus.OK, report.state.value
    if report.fault is not None:
        level, text = DiagnosticStatus.ERROR, f"{report.fault.code}: {report.fault.text}"
    elif report.warnings:
        level, text = DiagnosticStatus.WARN, "; ".join(item.text for item in report.warnings)
    return status("arm", level, text, {"state": report.state.value})


def _bus(report: DriverReport, rate_hz: float) -> DiagnosticStatus:
    closed = report.state is DriverState.CLOSED
    return status(
        "bus",
        DiagnosticStatus.STALE if closed else DiagnosticStatus.OK,
        "port closed" if closed else f"{rate_hz:.1f} Hz",
        {
            "rate [Hz]": f"{rate_hz:.1f}",
            "requests": str(report.traffic.requests),
            "replies lost": str(report.traffic.lost),
            "replies corrupt": str(report.traffic.corrupt),
            "positions rejected": str(report.rejected),
            "requests repeated": str(report.traffic.retried),
            "stalls": str(report.stalls),
        },
    )


def _servo(name: str, reading: HealthReading, report: DriverReport) -> DiagnosticStatus:
    warnings = [finding.text for finding in report.warnings if finding.text.startswith(name)]
    stopped = report.fault is not None and report.fault.text.startswith(name)
    level = DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
    return status(
        name,
        DiagnosticStatus.ERROR if stopped else level,
        report.fault.text if stopped and report.fault else "; ".join(warnings) or "well",
        {
            "temperature [deg C]": f"{reading.temperature:.0f}",
            "voltage [V]": f"{reading.voltage:.1f}",
            "load": f"{reading.load:.2f}",
            "current [A]": f"{reading.current:.2f}",
            "status": status_words(reading.status) or "ok",
        },
    )
