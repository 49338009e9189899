"""The table at the end of a run. Must not import ROS."""

from evo1_training.live_run.summary import Summary


def table(summary: Summary) -> str:
    """The run as text, one fact a line."""
    rows = [("run", f"{summary.robot}, {summary.duration_s:.1f} s, '{summary.instruction}'")]
    rows += [(f"stream {name}", _stream(summary, name)) for name in summary.streams]
    rows += [
        (
            "observation age",
            f"p50 {summary.observation_age_ms_p50:.1f} ms, "
            f"p95 {summary.observation_age_ms_p95:.1f} ms",
        ),
        ("observation skew", f"largest {summary.observation_skew_ms_max:.1f} ms"),
        ("camera frames", f"{summary.lost_frames} lost, {summary.rejected_frames} rejected"),
        (
            "inference",
            f"p50 {summary.inference_ms_p50:.1f} ms, p95 {summary.inference_ms_p95:.1f} ms",
        ),
        (
            "overhead",
            f"p50 {summary.overhead_ms_p50:.1f} ms, p95 {summary.overhead_ms_p95:.1f} ms "
            "(camera stamp to published chunk, inference taken out); of it until the pictures "
            f"were there p50 {summary.arrival_ms_p50:.1f} ms, p95 {summary.arrival_ms_p95:.1f} ms",
        ),
        ("chunks", f"{summary.chunks} published, {summary.chunks_rejected} rejected"),
        (
            "largest seam jump",
            f"{summary.seam_position_jump_rad_max:.1e} rad, "
            f"{summary.seam_velocity_jump_rad_s_max:.1e} rad/s; "
            f"by late arrival {summary.late_arrival_jump_rad_max:.1e} rad",
        ),
        (
            "commands",
            f"{summary.commands} sent, {summary.commands_refused} after their end; they change "
            f"something {summary.command_lead_ms_p50:.0f} ms after arrival (p50), "
            f"least {summary.command_lead_ms_min:.0f} ms",
        ),
        (
            "safety interventions",
            f"{summary.safety_interventions} of {summary.chunks} chunks; slowed "
            f"{summary.slowed_p50:.2f} times (p50), {summary.slowed_max:.2f} at most",
        ),
        ("stops", _stops(summary)),
        (
            "largest motion",
            f"{summary.largest_motion_rad:.2f} rad ({summary.largest_motion_joint or 'no joint'})",
        ),
        ("task", _task(summary)),
        ("result", "ok" if summary.ok else f"FAILED: {summary.reason}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _stream(summary: Summary, name: str) -> str:
    stream = summary.streams[name]
    return (
        f"{stream.rate_hz:.1f} Hz, {stream.messages} messages, "
        f"largest gap {stream.largest_gap_ms:.0f} ms"
    )


def _stops(summary: Summary) -> str:
    if not summary.stops:
        return "none"
    return "; ".join(
        f"{count} x {code} ({summary.stop_reasons.get(code, '')})"
        for code, count in summary.stops.items()
    )


def _task(summary: Summary) -> str:
    if not summary.task:
        return "none"
    return f"{summary.task}: {'SUCCESS' if summary.task_success else 'not solved'}, " + (
        summary.task_detail or "no detail"
    )
