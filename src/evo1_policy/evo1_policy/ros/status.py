"""What the node does and why, as a PolicyStatus message, and its state changes in the log."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from evo1_msgs.msg import PolicyStatus, StreamStatus
from rclpy.impl.rcutils_logger import RcutilsLogger

from evo1_policy.control.meters import WorstSeam
from evo1_policy.control.signals import LoopState, LoopStatus, Request, StopCode, StopReason
from evo1_policy.perception.streams import StreamReport
from evo1_policy.ros.chunk_times import LatencyPercentiles
from evo1_policy.ros.publishing import time_message

FLAPS = 3
FLAP_WINDOW_NS = 10_000_000_000


@dataclass(frozen=True, kw_only=True)
class StatusFacts:
    """Everything that the status and the diagnostics tell.

    Ages and skews are [ms], negative where there is no observation.
    """

    now_ns: int
    robot: str
    instruction: str
    model_hash: str
    dry_run: bool
    loop: LoopStatus
    streams: Sequence[StreamReport]
    observation_age_ms: float
    observation_skew_ms: float
    chunks_published: int
    latency: LatencyPercentiles
    seams: WorstSeam
    duty: float
    controller_problem: str
    dead_man_required: bool = False
    dead_man_held: bool = False
    speed: float = 1.0


def status_message(facts: StatusFacts) -> PolicyStatus:
    """Return the facts as a message."""
    loop, latency = facts.loop, facts.latency
    message = PolicyStatus(
        state=loop.state.value,
        reason_code=loop.reason.code.value if loop.reason else "",
        reason=loop.reason.message if loop.reason else "",
        recovers_by_itself=loop.recovers,
        dry_run=facts.dry_run,
        robot=facts.robot,
        instruction=facts.instruction,
        model_hash=facts.model_hash,
        streams=[stream_message(report) for report in facts.streams],
        observation_age_ms=facts.observation_age_ms,
        observation_skew_ms=facts.observation_skew_ms,
        chunks_published=facts.chunks_published,
        chunks_rejected=loop.chunks_rejected,
        safety_interventions=loop.interventions,
        holds=loop.holds,
        inference_ms_p50=latency.inference_p50_ms,
        inference_ms_p95=latency.inference_p95_ms,
        overhead_ms_p50=latency.overhead_p50_ms,
        overhead_ms_p95=latency.overhead_p95_ms,
        lead_ms=float(loop.lead_ms),
        duty=facts.duty,
        takeovers=loop.takeovers,
        dead_man_required=facts.dead_man_required,
        dead_man_held=facts.dead_man_held,
        mode=loop.mode.value,
        idle_fraction=loop.idle_fraction,
        speed=facts.speed,
    )
    message.header.stamp = time_message(facts.now_ns)
    return message


def stream_message(report: StreamReport) -> StreamStatus:
    """Return one stream's report as a message."""
    return StreamStatus(
        name=report.name,
        topic=report.topic,
        rate_hz=float(report.rate_hz),
        age_ms=float(report.age_ms),
        offset_ms=float(report.offset_ms),
        max_age_ms=float(report.max_age_ms),
        received=report.received,
        rejected=report.rejected,
        problem=report.problem,
    )


class StateLog:
    """Decides which state changes are worth a line: each one, a flapping one 3 times in 10 s."""

    def __init__(self) -> None:
        self._current: tuple[LoopState, str] | None = None
        self._logged_ns: dict[tuple[LoopState, str], deque[int]] = {}

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


def describe(status: LoopStatus) -> str:
    """Return the state and its reason in words."""
    return f"{status.state.name}{_because(status.reason)}"


def log_state(log: RcutilsLogger, status: LoopStatus, text: str) -> None:
    """Log a change of state by how much it matters."""
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
    }
    if request is Request.HAND_BACK:
        return status.state is not LoopState.TAKEOVER
    code = status.reason.code if status.reason else None
    if request is Request.RESUME and code is StopCode.HANDING_BACK:
        return True
    return status.state is wanted.get(request, LoopState.RUNNING)


def _because(reason: StopReason | None) -> str:
    return f": {reason.message} [{reason.code.value}]" if reason else ""
