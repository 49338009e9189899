"""The same facts as diagnostic_msgs, for the monitors that every ROS system has."""

import math
from collections.abc import Iterable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from evo1_policy.control.signals import LoopState
from evo1_policy.perception.streams import StreamReport
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.status import StatusFacts, describe
from evo1_policy.untrusted import printable


def status(
    name: str, level: bytes, text: str, values: Mapping[str, str] | None = None
) -> DiagnosticStatus:
    """One status of a node, under its part's name; its words as a screen may show them."""
    pairs = [KeyValue(key=key, value=printable(value)) for key, value in (values or {}).items()]
    return DiagnosticStatus(name=name, level=level, message=printable(text), values=pairs)


def array(
    statuses: Iterable[DiagnosticStatus], *, node: str, hardware: str = "", now_ns: int
) -> DiagnosticArray:
    """The statuses as one message.

    Args:
        statuses: each takes the node's name before its own.
        node: its full name.
        hardware: what they are about.
        now_ns: the node's clock [ns].
    """
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = time_message(now_ns)
    for each in message.status:
        each.name = f"{node}: {each.name}"
        each.hardware_id = hardware
    return message


def diagnostics_message(facts: StatusFacts, node_name: str) -> DiagnosticArray:
    """Return one status for the loop, one a stream, for inference, seams, controllers."""
    statuses = [
        _loop_status(facts),
        *(_stream_status(report) for report in facts.streams),
        _inference_status(facts),
        _seam_status(facts),
        _controller_status(facts),
    ]
    return array(statuses, node=node_name, hardware=facts.robot, now_ns=facts.now_ns)


def _loop_status(facts: StatusFacts) -> DiagnosticStatus:
    level = {LoopState.HOLDING: DiagnosticStatus.WARN, LoopState.STOPPED: DiagnosticStatus.ERROR}
    return status(
        "loop",
        level.get(facts.loop.state, DiagnosticStatus.OK),
        describe(facts.loop),
        {
            "instruction": facts.instruction,
            "execution mode": facts.loop.mode.value,
            "idle fraction": f"{facts.loop.idle_fraction:.3f}",
            "dry run": str(facts.dry_run),
            "chunks published": str(facts.chunks_published),
            "chunks rejected": str(facts.loop.chunks_rejected),
            "safety interventions": str(facts.loop.interventions),
            "holds": str(facts.loop.holds),
            "take-overs": str(facts.loop.takeovers),
        },
    )


def _stream_status(report: StreamReport) -> DiagnosticStatus:
    if math.isnan(report.age_ms):
        level, text = DiagnosticStatus.STALE, f"nothing received on {report.topic}"
    elif report.age_ms > report.max_age_ms:
        level = DiagnosticStatus.ERROR
        text = f"{report.age_ms:.0f} ms old, allowed are {report.max_age_ms:.0f} ms"
    elif report.problem:
        level, text = DiagnosticStatus.WARN, report.problem
    else:
        level, text = DiagnosticStatus.OK, f"{report.rate_hz:.1f} Hz"
    return status(
        report.name,
        level,
        report.problem or text,
        {
            "topic": report.topic,
            "rate [Hz]": f"{report.rate_hz:.1f}",
            "age [ms]": f"{report.age_ms:.1f}",
            "arrival minus stamp [ms]": f"{report.offset_ms:.1f}",
            "max age [ms]": f"{report.max_age_ms:.0f}",
            "received": str(report.received),
            "rejected": str(report.rejected),
        },
    )


def _inference_status(facts: StatusFacts) -> DiagnosticStatus:
    latency = facts.latency
    return status(
        "inference",
        DiagnosticStatus.OK,
        f"{latency.inference_p50_ms:.0f} ms",
        {
            "model": facts.model_hash,
            "p50 [ms]": f"{latency.inference_p50_ms:.1f}",
            "p95 [ms]": f"{latency.inference_p95_ms:.1f}",
            "overhead p95 [ms]": f"{latency.overhead_p95_ms:.1f}",
            "lead [ms]": f"{facts.loop.lead_ms:.0f}",
            "duty": f"{facts.duty:.2f}",
        },
    )


def _seam_status(facts: StatusFacts) -> DiagnosticStatus:
    worst = facts.seams
    return status(
        "seams",
        DiagnosticStatus.OK,
        f"worst of the last {worst.seams} chunks",
        {
            "position jump [rad]": f"{worst.position_jump_rad:.2e}",
            "velocity jump [rad/s]": f"{worst.velocity_jump_rad_s:.2e}",
            "acceleration jump [rad/s^2]": f"{worst.acceleration_jump_rad_s2:.2f}",
            "jerk [rad/s^3]": f"{worst.jerk_rad_s3:.1f}",
            "hidden offset [rad]": f"{worst.chunk_offset_rad:.3f}",
            "smoothed by [rad]": f"{worst.smoothed_rad:.4f}",
            "slowed [-]": f"{worst.stretch:.2f}",
        },
    )


def _controller_status(facts: StatusFacts) -> DiagnosticStatus:
    if facts.controller_problem:
        return status("controllers", DiagnosticStatus.ERROR, facts.controller_problem)
    text = "dry run: no command is sent" if facts.dry_run else "listening"
    return status("controllers", DiagnosticStatus.OK, text)
