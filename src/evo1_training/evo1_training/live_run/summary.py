"""What a recording says in numbers, and whether the run was good. Must not import ROS.

Letters: N samples, D joints.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.control.signals import LoopState
from evo1_policy.perception.messages import stamp_ns
from evo1_policy.robot_config import RobotConfig
from evo1_training.live_run.recording import Recording, StreamHeard
from evo1_training.live_run.seams import leads_ms, observed_jumps, refused

MOVED_RAD = 0.02  # a joint that moved less did not move
SILENT_S = 1.0  # a stream that was silent for the last second of the run died
_WINDOW_NS = 3_000_000_000


@dataclass(frozen=True, kw_only=True)
class StreamSummary:
    """One stream over the run."""

    rate_hz: float
    messages: int
    largest_gap_ms: float
    arrival_ms_p95: float  # stamp to arrival at who watches
    silent_s: float  # before the end of the run; the whole run where nothing came


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The run in numbers; summary.json has these keys."""

    ok: bool
    reason: str
    robot: str
    instruction: str
    duration_s: float
    streams: Mapping[str, StreamSummary]
    observation_age_ms_p50: float
    observation_age_ms_p95: float
    observation_skew_ms_max: float
    lost_frames: int
    rejected_frames: int
    chunks: int
    chunks_rejected: int
    commands: int
    commands_refused: int  # as a controller judges them; it goes on with the one before
    command_lead_ms_p50: float  # from arrival until it asks for something else; negative: late
    command_lead_ms_min: float
    inference_ms_p50: float
    inference_ms_p95: float
    overhead_ms_p50: float
    overhead_ms_p95: float
    arrival_ms_p50: float  # the part of it until the pictures were there: rendering, transport
    arrival_ms_p95: float
    seam_position_jump_rad_max: float
    seam_velocity_jump_rad_s_max: float
    late_arrival_jump_rad_max: float  # only because a command came after its first point
    reported_position_jump_rad_max: float
    reported_velocity_jump_rad_s_max: float
    safety_interventions: int
    slowed_p50: float  # duration sent / proposed of a chunk; 1: no limit slowed it
    slowed_max: float
    stops: Mapping[str, int]  # reason code -> how often the arm was held or stopped for it
    stop_reasons: Mapping[str, str]  # reason code -> its newest message
    largest_motion_rad: float
    largest_motion_joint: str
    task: str
    task_success: bool
    task_detail: str


def summarise(recording: Recording, robot: RobotConfig, instruction: str) -> Summary:
    """Reduce a recording to numbers and a verdict."""
    streams = {name: _stream(heard, recording) for name, heard in recording.streams.items()}
    joint, motion_rad = _largest_motion(recording)
    reason = _problem(recording, streams, motion_rad)
    age_p50, age_p95 = _percentiles([s.observation_age_ms for s in _observing(recording)])
    latencies = [chunk.latency for chunk in recording.chunks]
    inference_p50, inference_p95 = _percentiles([each.inference_ms for each in latencies])
    overhead_p50, overhead_p95 = _percentiles([each.overhead_ms for each in latencies])
    arrival_p50, arrival_p95 = _percentiles([each.capture_to_receive_ms for each in latencies])
    seams = [chunk.seam for chunk in recording.chunks]
    leads = leads_ms(recording.commands, robot)
    jumps = observed_jumps(recording.commands, robot)
    last_task = recording.tasks[-1] if recording.tasks else None
    solved = [task for task in recording.tasks if task.success]
    return Summary(
        ok=not reason,
        reason=reason,
        robot=robot.name,
        instruction=instruction,
        duration_s=recording.duration_s,
        streams=streams,
        observation_age_ms_p50=age_p50,
        observation_age_ms_p95=age_p95,
        observation_skew_ms_max=max(
            (s.observation_skew_ms for s in _observing(recording)), default=0.0
        ),
        lost_frames=lost_frames(recording),
        rejected_frames=_grown(
            recording,
            lambda s: sum(one.rejected for one in s.streams if one.name in recording.published),
        ),
        chunks=len(recording.chunks),
        chunks_rejected=_grown(recording, lambda s: s.chunks_rejected),
        commands=len(recording.commands),
        command_lead_ms_p50=_percentiles(leads)[0],
        command_lead_ms_min=min(leads, default=0.0),
        commands_refused=refused(recording.commands, robot),
        inference_ms_p50=inference_p50,
        inference_ms_p95=inference_p95,
        overhead_ms_p50=overhead_p50,
        overhead_ms_p95=overhead_p95,
        arrival_ms_p50=arrival_p50,
        arrival_ms_p95=arrival_p95,
        seam_position_jump_rad_max=jumps.position_rad,
        seam_velocity_jump_rad_s_max=jumps.velocity_rad_s,
        late_arrival_jump_rad_max=jumps.late_rad,
        reported_position_jump_rad_max=max((s.position_jump_rad for s in seams), default=0.0),
        reported_velocity_jump_rad_s_max=max((s.velocity_jump_rad_s for s in seams), default=0.0),
        safety_interventions=sum(map(_intervened, seams)),
        slowed_p50=_percentiles([s.stretch for s in seams])[0],
        slowed_max=max((s.stretch for s in seams), default=0.0),
        stops=stops(recording.statuses),
        stop_reasons={s.reason_code: s.reason for s in recording.statuses if s.reason_code},
        largest_motion_rad=motion_rad,
        largest_motion_joint=joint,
        task=last_task.task if last_task else "",
        task_success=bool(solved),
        task_detail=(solved or recording.tasks)[-1].detail if last_task else "",
    )


def _intervened(seam: Any) -> bool:
    """Whether a limit changed what the policy proposed."""
    return bool(seam.stretch > 1.0 + 1e-6 or seam.clipped_points or seam.limited_points)


def stops(statuses: Sequence[Any]) -> dict[str, int]:
    """Count how often the arm was held or stopped, by reason."""
    counted: Counter[str] = Counter()
    before = ""
    for status in statuses:
        rests = LoopState(status.state) in (LoopState.HOLDING, LoopState.STOPPED)
        code = status.reason_code if rests else ""
        if code and code != before:
            counted[code] += 1
        before = code
    return dict(counted)


def lost_frames(recording: Recording) -> int:
    """Camera frames that were published and that the policy never received.

    Published minus received grows by one for good with each loss, and wobbles by what is under
    way: so its smallest value over the last three seconds, less that over the first three.
    """
    lost = 0
    for camera, heard in recording.published.items():
        told = [
            (stamp_ns(status.header.stamp), stream.received)
            for status in recording.statuses
            for stream in status.streams
            if stream.name == camera
        ]
        if not told:
            continue
        times, received = np.array(told).T
        behind = np.searchsorted(np.sort(heard.received_ns), times, side="right") - received
        first = behind[times <= times[0] + _WINDOW_NS].min()
        last = behind[times >= times[-1] - _WINDOW_NS].min()
        lost += max(int(last - first), 0)
    return lost


def _stream(heard: StreamHeard, recording: Recording) -> StreamSummary:
    count = len(heard.stamps_ns)
    if count == 0:
        return StreamSummary(
            rate_hz=0.0,
            messages=0,
            largest_gap_ms=0.0,
            arrival_ms_p95=0.0,
            silent_s=recording.duration_s,
        )
    stamps = np.sort(heard.stamps_ns)
    gaps_ns = np.diff(stamps)
    span_s = float(stamps[-1] - stamps[0]) * 1e-9
    return StreamSummary(
        rate_hz=(count - 1) / span_s if span_s > 0 else 0.0,
        messages=count,
        largest_gap_ms=float(gaps_ns.max()) * 1e-6 if count > 1 else 0.0,
        arrival_ms_p95=_percentiles((heard.received_ns - heard.stamps_ns) * 1e-6)[1],
        silent_s=max(float(recording.end_ns - heard.received_ns.max()) * 1e-9, 0.0),
    )


def _problem(recording: Recording, streams: Mapping[str, StreamSummary], motion_rad: float) -> str:
    """The first thing that makes the run a failure, or ''."""
    if recording.process_end is not None:
        return recording.process_end
    for topic, count in recording.publishers.items():
        if count > 1:
            return (
                f"{count} publishers on {topic}: another system runs in this ROS domain; end it, "
                "or choose another ROS_DOMAIN_ID"
            )
    if dead := _dead_stream(streams):
        return dead
    if not recording.statuses:
        return "the policy published no status"
    if not recording.chunks:
        last = recording.statuses[-1]
        state = LoopState(last.state).name
        why = f"{last.reason_code}: {last.reason}" if last.reason_code else state
        return f"the policy published no chunk ({why})"
    if not recording.commands:
        return "no command reached the controllers' topics"
    if motion_rad <= MOVED_RAD:
        return f"the arm did not move: no joint by more than {MOVED_RAD} rad"
    return ""


def _dead_stream(streams: Mapping[str, StreamSummary]) -> str:
    for name, stream in streams.items():
        if stream.messages == 0:
            return f"stream {name}: nothing came"
        if stream.silent_s > SILENT_S:
            return f"stream {name} died: silent for the last {stream.silent_s:.1f} s"
    return ""


def _largest_motion(recording: Recording) -> tuple[str, float]:
    if len(recording.joint_positions) == 0:
        return "", 0.0
    ranges = np.ptp(recording.joint_positions, axis=0)
    index = int(np.argmax(ranges))
    return recording.joint_names[index], float(ranges[index])


def _observing(recording: Recording) -> list[Any]:
    return [status for status in recording.statuses if status.observation_age_ms >= 0]


def _grown(recording: Recording, count: Any) -> int:
    if not recording.statuses:
        return 0
    return max(int(count(recording.statuses[-1]) - count(recording.statuses[0])), 0)


def _percentiles(values: npt.ArrayLike) -> tuple[float, float]:
    """The 50th and 95th percentile; zeros for no values."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return 0.0, 0.0
    return float(np.percentile(array, 50)), float(np.percentile(array, 95))
