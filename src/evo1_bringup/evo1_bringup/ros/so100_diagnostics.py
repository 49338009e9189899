"""What the SO-100 driver knows, as diagnostic_msgs."""

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from evo1_bringup.drivers.servo_health import HealthReading
from evo1_bringup.drivers.so100_driver import DriverReport, DriverState
from evo1_sim.servo_bus.sts3215 import status_words


def diagnostics_message(
    report: DriverReport, *, node: str, port: str, rate_hz: float, stamp: Time
) -> DiagnosticArray:
    """One status for the arm, one for the bus, one for each servo that was looked at."""
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status = [_arm(report), _bus(report, rate_hz)]
    for name, reading in report.health.items():
        message.status.append(_servo(name, reading, report))
    for status in message.status:
        status.name = f"{node}: {status.name}"
        status.hardware_id = port
    return message


def _arm(report: DriverReport) -> DiagnosticStatus:
    level, text = DiagnosticStatus.OK, report.state.value
    if report.fault is not None:
        level, text = DiagnosticStatus.ERROR, f"{report.fault.code}: {report.fault.text}"
    elif report.warnings:
        level, text = DiagnosticStatus.WARN, "; ".join(item.text for item in report.warnings)
    return _status("arm", level, text, {"state": report.state.value})


def _bus(report: DriverReport, rate_hz: float) -> DiagnosticStatus:
    closed = report.state is DriverState.CLOSED
    return _status(
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
    return _status(
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


def _status(name: str, level: bytes, text: str, values: dict[str, str]) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=name,
        level=level,
        message=text,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
