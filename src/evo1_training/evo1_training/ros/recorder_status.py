"""What the recorder does, as a RecorderStatus message, as diagnostics and in the log."""

import math

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from evo1_msgs.msg import RecorderStatus, StreamStatus

from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.status import diagnostic_array, status
from evo1_training.recording.stream_watch import StreamCondition
from evo1_training.recording.take import SessionReport, TakeState

_LEVELS = {TakeState.WAITING: DiagnosticStatus.WARN, TakeState.FAULT: DiagnosticStatus.ERROR}


def status_message(report: SessionReport, *, now_ns: int, instruction: str) -> RecorderStatus:
    """Return the report as a message; while idle the instruction is that of the next take."""
    take = report.take
    message = RecorderStatus(
        state=take.state.value,
        reason=take.reason,
        episode_id=take.episode_id,
        instruction=take.instruction or instruction,
        duration_s=report.duration_s,
        messages=report.messages,
        lost=report.lost,
        skew_ms=report.skew_ms,
        disk_free_gb=report.disk_free_gb,
        disk_left_s=report.disk_left_s if report.disk_left_s >= 0 else math.inf,
        episodes_saved=report.episodes_saved,
        streams=[_stream_message(stream) for stream in report.streams],
    )
    message.header.stamp = time_message(now_ns)
    return message


def diagnostics_message(report: SessionReport, *, now_ns: int, node_name: str) -> DiagnosticArray:
    """Return one status for the take, one for the disk, and one a stream."""
    take = report.take
    level = _LEVELS.get(take.state, DiagnosticStatus.OK)
    if level == DiagnosticStatus.OK and report.lost:
        level = DiagnosticStatus.WARN
    statuses = [
        status(
            "take",
            level,
            take.describe(),
            {
                "instruction": take.instruction,
                "duration [s]": f"{report.duration_s:.1f}",
                "messages": str(report.messages),
                "lost": str(report.lost),
                "skew [ms]": f"{report.skew_ms:.1f}",
                "waiting for the disk [MB]": f"{report.queued_bytes / 1e6:.1f}",
                "episodes saved": str(report.episodes_saved),
            },
        ),
        _disk_status(report),
        *(_stream_status(stream) for stream in report.streams),
    ]
    return diagnostic_array(statuses, node=node_name, now_ns=now_ns)


class StreamLog:
    """Tells in words when a stream of a take begins to have a problem, and when it ends."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}

    def lines(self, report: SessionReport) -> list[str]:
        """Return what is new and worth a warning."""
        if report.take.state is not TakeState.RECORDING:
            self._problems.clear()
            return []
        lines = []
        for stream in report.streams:
            before = self._problems.get(stream.topic, "")
            if stream.problem and not before:
                lines.append(f"{stream.name}: {stream.problem}")
            if before and not stream.problem:
                lines.append(f"{stream.name}: back on {stream.topic}")
            self._problems[stream.topic] = stream.problem
            lost = f"{stream.topic} lost"
            if stream.lost and lost not in self._problems:
                self._problems[lost] = "told"
                lines.append(f"{stream.name}: messages are being lost on {stream.topic}")
        return lines


def _stream_message(stream: StreamCondition) -> StreamStatus:
    names = StreamStatus.get_fields_and_field_types()
    return StreamStatus(**{name: getattr(stream, name) for name in names})


def _disk_status(report: SessionReport) -> DiagnosticStatus:
    short = 0 <= report.disk_left_s < 600
    text = f"{report.disk_free_gb:.1f} GB left"
    if report.disk_left_s >= 0:
        text += f", for {report.disk_left_s / 60:.0f} minutes at the present rate"
    return status("disk", DiagnosticStatus.WARN if short else DiagnosticStatus.OK, text)


def _stream_status(stream: StreamCondition) -> DiagnosticStatus:
    level = DiagnosticStatus.OK
    if stream.problem:
        level = DiagnosticStatus.ERROR if stream.max_age_ms else DiagnosticStatus.WARN
    elif stream.lost:
        level = DiagnosticStatus.WARN
    return status(
        stream.name,
        level,
        stream.problem or f"{stream.rate_hz:.1f} Hz",
        {
            "topic": stream.topic,
            "rate [Hz]": f"{stream.rate_hz:.1f}",
            "age [ms]": f"{stream.age_ms:.1f}",
            "arrival minus stamp [ms]": f"{stream.offset_ms:.1f}",
            "max age [ms]": f"{stream.max_age_ms:.0f}",
            "longest gap [ms]": f"{stream.max_gap_ms:.1f}",
            "received": str(stream.received),
            "lost": str(stream.lost),
            "rejected": str(stream.rejected),
        },
    )
