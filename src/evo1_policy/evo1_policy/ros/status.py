"""What the node does and why: as a PolicyStatus, as diagnostics, and its changes in the log.

The same facts go out as diagnostic_msgs for the monitors that every ROS system has.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from evo1_msgs.msg import PolicyStatus, StreamStatus
from rclpy.impl.rcutils_logger import RcutilsLogger

from evo1_policy.command_line import printable
from evo1_policy.control.signals import (
    LoopState,
    LoopStatus,
    Request,
    SeamReport,
    StopCode,
    StopReason,
)
from evo1_policy.kinematics.config import CollisionConfig, collisions_text
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.perception.streams import clocks_text
from evo1_policy.ros.publishing import time_message

FLAPS = 3
HEARD_ENOUGH = 20  # messages of a stream, for the median of its offsets
FLAP_WINDOW_NS = 10_000_000_000


class StateLog:
    """What of the loop is worth a line: each change of state, a flapping one 3 times in 10 s."""

    def __init__(self) -> None:
        self._current: tuple[LoopState, str] | None = None
        self._logged_ns: dict[tuple[LoopState, str], deque[int]] = {}
        self._clocks_told = False

    def line(self, status: LoopStatus, now_ns: int) -> str | None:
        """Return the text for a change that should be logged now, else None."""
        key = (status.state, status.reason.code.value if status.reason else "")
        if key == self._current:
            return None
        before, self._current = self._current, key
        logged_ns = self._logged_ns.setdefault(key, deque(maxlen=FLAPS))
        if len(logged_ns) == FLAPS and 0 <= now_ns - logged_ns[0] < FLAP_WINDOW_NS:
            return None
        logged_ns.append(now_ns)
        origin = f"{before[0].name} -> " if before is not None and before[0] != key[0] else ""
        return f"{origin}{describe(status)}"

    def tell(self, status: LoopStatus, now_ns: int, log: RcutilsLogger) -> None:
        """Log a change that is worth it, by how much it matters."""
        text = self.line(status, now_ns)
        if text is not None:
            _log_state(log, status, text)

    def tell_clocks(self, streams: Sequence[StreamStatus], log: RcutilsLogger) -> None:
        """Log once, when enough came of every stream, how far its clock is from this node's."""
        if self._clocks_told or not all(each.received >= HEARD_ENOUGH for each in streams):
            return
        self._clocks_told = True
        good, text = clocks_text(streams)
        if good:
            log.info(text)
        else:
            log.warning(text)


def describe(status: LoopStatus) -> str:
    """Return the state and its reason in words."""
    return f"{status.state.name}{_because(status.reason)}"


def log_collisions(logger: RcutilsLogger, config: CollisionConfig | None) -> None:
    """Say whether collisions are checked; louder where they are not."""
    text = f"collisions: {collisions_text(config)}"
    if config is None:
        logger.warning(text)
    else:
        logger.info(text)


def _log_state(log: RcutilsLogger, status: LoopStatus, text: str) -> None:
    # streams that are not there yet, before anything has moved, are a healthy start
    starting = status.chunks_accepted == 0 and status.recovers
    # rclpy refuses another severity from the same line of code
    if status.state is LoopState.STOPPED:
        log.error(text)
    elif status.state is LoopState.HOLDING and not starting:
        log.warning(text)
    else:
        log.info(text)


def took_effect(request: Request, status: LoopStatus) -> bool:
    """Whether the loop stands where a request wanted it."""
    wanted = {
        Request.STOP: LoopState.STOPPED,
        Request.CLEAR_STOP: LoopState.IDLE,
        Request.PAUSE: LoopState.HOLDING,
        Request.TAKE_OVER: LoopState.TAKEOVER,
        Request.PARK: LoopState.HOLDING,
        Request.HOME: LoopState.HOLDING,
    }
    if request is Request.HAND_BACK:
        return status.state is not LoopState.TAKEOVER
    code = status.reason.code if status.reason else None
    if request is Request.RESUME and code is StopCode.HANDING_BACK:
        return True
    return status.state is wanted.get(request, LoopState.RUNNING)


def _because(reason: StopReason | None) -> str:
    return f": {reason.message} [{reason.code.value}]" if reason else ""


def status(
    name: str, level: bytes, text: str, values: Mapping[str, str] | None = None
) -> DiagnosticStatus:
    """One status of a node, under its part's name; its words as a screen may show them."""
    pairs = [KeyValue(key=key, value=printable(value)) for key, value in (values or {}).items()]
    return DiagnosticStatus(name=name, level=level, message=printable(text), values=pairs)


def diagnostic_array(
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


def diagnostics_message(
    told: PolicyStatus,
    worst: tuple[int, SeamReport],
    controller_problem: str,
    node_name: str,
) -> DiagnosticArray:
    """Return one status for the loop, one a stream, for inference, seams, controllers."""
    statuses = [
        _loop_status(told),
        *map(_stream_status, told.streams),
        _inference_status(told),
        _seam_status(*worst),
        _controller_status(controller_problem, dry_run=told.dry_run),
    ]
    now_ns = stamp_ns(told.header.stamp)
    return diagnostic_array(statuses, node=node_name, hardware=told.robot, now_ns=now_ns)


def _loop_status(told: PolicyStatus) -> DiagnosticStatus:
    state = LoopState(told.state)
    because = f": {told.reason} [{told.reason_code}]" if told.reason_code else ""
    level = {LoopState.HOLDING: DiagnosticStatus.WARN, LoopState.STOPPED: DiagnosticStatus.ERROR}
    return status(
        "loop",
        level.get(state, DiagnosticStatus.OK),
        f"{state.name}{because}",
        {
            "instruction": told.instruction,
            "execution mode": told.mode,
            "idle fraction": f"{told.idle_fraction:.3f}",
            "dry run": str(told.dry_run),
            "chunks published": str(told.chunks_published),
            "chunks rejected": str(told.chunks_rejected),
            "safety interventions": str(told.safety_interventions),
            "holds": str(told.holds),
            "take-overs": str(told.takeovers),
            "collisions": told.collisions,
        },
    )


def _stream_status(report: StreamStatus) -> DiagnosticStatus:
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


def _inference_status(told: PolicyStatus) -> DiagnosticStatus:
    return status(
        "inference",
        DiagnosticStatus.OK,
        f"{told.inference_ms_p50:.0f} ms",
        {
            "model": told.model_hash,
            "p50 [ms]": f"{told.inference_ms_p50:.1f}",
            "p95 [ms]": f"{told.inference_ms_p95:.1f}",
            "overhead p95 [ms]": f"{told.overhead_ms_p95:.1f}",
            "lead [ms]": f"{told.lead_ms:.0f}",
            "duty": f"{told.duty:.2f}",
            "tool error [mm]": f"{told.tool_error_mm:.2f}",
            "tool error [mrad]": f"{told.tool_error_mrad:.1f}",
        },
    )


def _seam_status(seams: int, worst: SeamReport) -> DiagnosticStatus:
    return status(
        "seams",
        DiagnosticStatus.OK,
        f"worst of the last {seams} chunks",
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


def _controller_status(problem: str, *, dry_run: bool) -> DiagnosticStatus:
    if problem:
        return status("controllers", DiagnosticStatus.ERROR, problem)
    text = "dry run: no command is sent" if dry_run else "listening"
    return status("controllers", DiagnosticStatus.OK, text)
