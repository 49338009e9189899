"""What goes into and comes out of one step of the policy loop: modes, states, reasons, requests.

Must not import ROS or torch.
"""

import enum
from dataclasses import dataclass, field

from evo1_policy.action_chunk import ActionChunk, Guidance, ToolError, Trajectory
from evo1_policy.control.held import HeldState as HeldState
from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.observation import JointSample, Missing, Observation
from evo1_policy.perception.frames import DamagedImageError

# How far ahead of now a chunk takes over: time for planning and for the message to arrive.
SPLICE_LEAD_NS = 40_000_000
SLOWEST = 0.1  # speed; slower still, an action would last for seconds


class ExecutionMode(enum.StrEnum):
    """How chunks become one motion; the words are those of the node's parameter."""

    REPLACE = "replace"  # the newest chunk, faded in, inference overlapped
    ENSEMBLE = "ensemble"  # the mean of all chunks that cover an instant
    RTC = "rtc"  # real-time chunking: a chunk is denoised to continue what was sent
    SYNCHRONOUS = "synchronous"  # a chunk to its end, rest, then the next inference


class Transition(enum.StrEnum):
    """What a new instruction does to the chunk being executed."""

    FLUSH = "flush"  # brake, drop it, begin anew from rest
    BLEND = "blend"  # infer at once; the next chunk takes over by cross-fade
    FINISH = "finish"  # it runs to its executed end; the next one is for the new instruction

    @classmethod
    def of(cls, word: str) -> "Transition":
        """The transition of this name.

        Raises:
            ValueError: there is none; lists those that there are.
        """
        if word not in list(cls):
            raise ValueError(f"transition: expected one of {', '.join(cls)}, got '{word}'")
        return cls(word)


class TakeoverMode(enum.Enum):
    """How a person takes over from the policy."""

    TOPIC = "topic"  # by the first target while the policy runs, or on request
    SERVICE = "service"  # on request only
    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Choices of the policy loop that are no facts of a robot.

    Attributes:
        execute_actions: actions of a chunk to execute before the next one takes over; None for
            half the chunk.
        default_lead_ns: assumed inference latency before one was measured [ns].
        max_inference_ns: an inference that takes longer is given up [ns].
        dry_run: commands are not executed; every chunk starts from the measured arm.
        takeover: whether a person can take over, and how.
        takeover_silence_ns: a person whose targets began the take-over and who has been silent
            for longer hands back [ns].
        takeover_resumes: whether the policy goes on by itself after that; else a person says so.
        mode: how chunks follow one another.
        transition: what a new instruction does, where its change does not say.
        ensemble_decay_per_s: a chunk of mode ensemble that is older by t counts exp(-t * this)
            as much [1/s].
        rtc_fall_actions: actions behind the frozen ones over which rtc lets go of what was sent.
        smoothing_rad: how far an action may be moved to take noise out of a chunk that would have
            to be slowed for it; 0: no smoothing [rad].
        resume_within_ns: after a gap in a stream, or a late chunk, of no more than this the motion
            resumes by itself; after a longer one a person resumes [ns].
    """

    execute_actions: int | None = None
    default_lead_ns: int = 300_000_000
    max_inference_ns: int = 10_000_000_000
    resume_within_ns: int = 2_000_000_000
    dry_run: bool = False
    takeover: "TakeoverMode" = TakeoverMode.TOPIC
    takeover_silence_ns: int = 1_000_000_000
    takeover_resumes: bool = False
    mode: ExecutionMode = ExecutionMode.REPLACE
    transition: Transition = Transition.BLEND
    ensemble_decay_per_s: float = 2.0
    rtc_fall_actions: int = 10
    smoothing_rad: float = 0.02


class LoopState(enum.Enum):
    """What the loop does. The numbers are those of evo1_msgs/PolicyStatus."""

    IDLE = 0
    RUNNING = 1
    HOLDING = 2
    TAKEOVER = 3
    STOPPED = 4


class StopCode(enum.Enum):
    """Why the arm does not run. The value is the reason_code that people see."""

    CAMERA_STALE = "camera_stale"
    JOINTS_STALE = "joints_stale"
    JOINT_MISSING = "joint_missing"
    SKEW = "skew"
    CLOCK_OFFSET = "clock_offset"
    INFERENCE_LATE = "inference_late"
    CONTROLLER_GONE = "controller_gone"
    CONTROLLER_LEFT = "controller_left"  # it follows something else than was sent
    SECOND_SOURCE = "second_source"  # somebody else publishes commands, images or joints
    ARM_FAULT = "arm_fault"
    CLOCK_JUMPED_BACK = "clock_jumped_back"
    INFERENCE_FAILED = "inference_failed"
    REMOTE_GONE = "remote_gone"  # a policy elsewhere: nobody answers
    REMOTE_LATE = "remote_late"
    REMOTE_REFUSED = "remote_refused"  # it serves another robot or model, or wants a token
    CHUNK_NOT_FINITE = "chunk_not_finite"
    CHUNK_WRONG_SHAPE = "chunk_wrong_shape"
    CHUNK_TOO_FAR = "chunk_too_far"
    CHUNK_OUT_OF_REACH = "chunk_out_of_reach"
    CHUNK_BREAKS_LIMITS = "chunk_breaks_limits"
    WOULD_TOUCH = "would_touch"  # something, or itself
    TRACKING_ERROR = "tracking_error"
    PAUSED = "paused"
    DEAD_MAN = "dead_man"
    TAKEOVER = "takeover"
    HANDED_BACK = "handed_back"
    HANDING_BACK = "handing_back"
    PARKING = "parking"
    STOPPED = "stopped"

    def because(self, message: str) -> "StopReason":
        """The reason with this code, in words for people."""
        return StopReason(code=self, message=message)

    @property
    def is_gap(self) -> bool:
        """Whether something that should come again and again did not come."""
        return self in _GAPS

    @property
    def recovers(self) -> bool:
        """Whether motion may resume by itself once the cause is gone.

        Of what a device, a fault or a person stopped, only what a person's own hand ends: a button
        that is held again, an arm that was handed back to go on.
        """
        return self in _GAPS or self in (StopCode.DEAD_MAN, StopCode.HANDING_BACK)

    @property
    def is_external(self) -> bool:
        """Whether its cause lies in what comes in, so that it can be over while it still holds."""
        return self in _GAPS or self in (
            StopCode.CONTROLLER_GONE,
            StopCode.SECOND_SOURCE,
            StopCode.ARM_FAULT,
        )

    @property
    def consequences(self) -> "frozenset[StopCode]":
        """What may be seen of it before its own word comes, and gives its place to it then."""
        return _CONSEQUENCES.get(self, frozenset())

    @property
    def waits_for_a_person(self) -> bool:
        """Whether a person holds the arm on purpose: nothing is wrong."""
        return self in (
            StopCode.PAUSED,
            StopCode.TAKEOVER,
            StopCode.HANDED_BACK,
            StopCode.PARKING,
        )


_GAPS = frozenset(
    {
        StopCode.CAMERA_STALE,
        StopCode.JOINTS_STALE,
        StopCode.JOINT_MISSING,
        StopCode.SKEW,
        StopCode.CLOCK_OFFSET,
        StopCode.INFERENCE_LATE,
    }
)
_ARM_ASTRAY = frozenset(
    {StopCode.CONTROLLER_LEFT, StopCode.TRACKING_ERROR, StopCode.CHUNK_TOO_FAR}
)
_JOINTS_SILENT = frozenset(
    {StopCode.JOINTS_STALE, StopCode.JOINT_MISSING, StopCode.SKEW, StopCode.INFERENCE_LATE}
)
_LATE = frozenset({StopCode.INFERENCE_LATE})
_CONSEQUENCES: dict[StopCode, frozenset[StopCode]] = {
    StopCode.ARM_FAULT: _ARM_ASTRAY | _JOINTS_SILENT | {StopCode.CONTROLLER_GONE},
    StopCode.CONTROLLER_GONE: _ARM_ASTRAY,
    StopCode.SECOND_SOURCE: _ARM_ASTRAY,
    StopCode.INFERENCE_FAILED: _LATE,
    StopCode.REMOTE_GONE: _LATE,
    StopCode.REMOTE_LATE: _LATE,
    StopCode.REMOTE_REFUSED: _LATE,
}


@dataclass(frozen=True, kw_only=True)
class StopReason:
    """Why the arm does not run: a code for programs, a message for people."""

    code: StopCode
    message: str


class Request(enum.Enum):
    """What a person or a client asks of the loop."""

    START = "start"  # IDLE -> RUNNING, however long the first observation takes
    FINISH = "finish"  # RUNNING or HOLDING -> slow to rest -> IDLE
    PAUSE = "pause"  # -> HOLDING until RESUME
    RESUME = "resume"  # IDLE, HOLDING (whatever the reason) -> RUNNING, where the cause is gone
    STOP = "stop"  # -> STOPPED, latched
    CLEAR_STOP = "clear_stop"  # STOPPED -> IDLE
    TAKE_OVER = "take_over"  # any but STOPPED -> TAKEOVER until HAND_BACK
    HAND_BACK = "hand_back"  # TAKEOVER -> slow to rest, then as takeover_resumes says
    PARK = "park"  # IDLE, RUNNING or HOLDING -> slowly to the robot file's park pose -> IDLE
    HOME = "home"  # the same, to its home pose


@dataclass(frozen=True, kw_only=True)
class InferenceDone:
    """A finished inference.

    `request_id` is that of the InferenceRequest; results of an outdated one are dropped.
    """

    request_id: int
    chunk: ActionChunk
    started_ns: int
    finished_ns: int


@dataclass(frozen=True, kw_only=True)
class InferenceFailed:
    """An inference that raised.

    `code` is the reason to hold for. `damaged` is the image that could not be decoded; nothing
    was inferred then, and nothing is wrong with the policy.
    """

    request_id: int
    error: str
    code: StopCode = StopCode.INFERENCE_FAILED
    damaged: DamagedImageError | None = None


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """Ask the inference thread for a chunk.

    `guidance` is what the chunk shall begin with; only in mode rtc, and not for the first one.
    """

    request_id: int
    observation: Observation
    guidance: Guidance | None = None


@dataclass(frozen=True, kw_only=True)
class LoopInput:
    """Everything one step may look at.

    Attributes:
        now_ns: the node's clock [ns].
        observation: the newest settled observation, or why there is none.
        measured: newest joint sample, None before the first.
        held: what the controllers say that they command; None where none does.
        controller_problem: None while every command output has a controller, else who is missing.
        second_source: who else publishes on a topic that must have one source; None: nobody.
        arm_fault: why the arm's own driver has stopped, in its words; None while it has not.
        dead_man: why the dead-man button lets no chunk run; None while it does, or is not needed.
        teleop: a person's targets that came since the last step, oldest first.
        inference: a result that arrived since the last step.
        requests: asked for since the last step, oldest first.
        instruction: what to do now; None: what the observation says.
        transition: how to change to it; None: as the settings say.
        speed: share of the policy's own pace at which chunks are executed, SLOWEST to 1.
    """

    now_ns: int
    observation: Observation | Missing
    measured: JointSample | None
    held: HeldState | None = None
    controller_problem: str | None = None
    second_source: str | None = None
    arm_fault: str | None = None
    dead_man: str | None = None
    teleop: tuple[TeleopTarget, ...] = ()
    inference: InferenceDone | InferenceFailed | None = None
    requests: tuple[Request, ...] = ()
    instruction: str | None = None
    transition: Transition | None = None
    speed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SeamReport:
    """How a trajectory joins what was being executed (see evo1_msgs/SeamReport)."""

    position_jump_rad: float = 0.0
    velocity_jump_rad_s: float = 0.0
    acceleration_jump_rad_s2: float = 0.0
    jerk_rad_s3: float = 0.0
    chunk_offset_rad: float = 0.0
    stretch: float = 1.0
    clipped_points: int = 0
    limited_points: int = 0
    dropped_actions: int = 0
    smoothed_rad: float = 0.0
    late_ms: float = 0.0

    @property
    def intervened(self) -> bool:
        """Whether a limit changed what the policy proposed."""
        return self.stretch > 1.0 + 1e-6 or self.clipped_points > 0 or self.limited_points > 0


@dataclass(frozen=True, kw_only=True)
class LoopStatus:
    """Where the loop stands after a step. Counters count since construction."""

    state: LoopState
    reason: StopReason | None
    lead_ms: float  # how early the next inference starts
    recovers: bool = False  # whether motion goes on by itself once the cause is gone
    moving: bool = False  # a trajectory is executed, or a stop may have to be sent again
    chunks_accepted: int = 0
    chunks_rejected: int = 0
    interventions: int = 0
    holds: int = 0
    takeovers: int = 0
    idle_fraction: float = 0.0  # of the time running, at rest for want of a chunk
    mode: ExecutionMode = ExecutionMode.REPLACE
    tool_error: ToolError | None = None  # of the last chunk, where its actions are poses


@dataclass(frozen=True, kw_only=True)
class LoopOutput:
    """What one step decided.

    Attributes:
        command: a trajectory to send now, already checked (only safety.check makes one), or None.
        infer: an inference to start now, or None.
        chunk: the accepted chunk that `command` executes, None for a hold.
        seam: how `command` joins what went before, None without a chunk.
        status: state and reason after the step.
        refused: why a person's target was not followed; empty otherwise.
    """

    command: "SafeTrajectory | None"
    infer: InferenceRequest | None
    chunk: ActionChunk | None
    seam: SeamReport | None
    status: LoopStatus
    refused: str = ""


_SAFETY_KEY = object()


@dataclass(frozen=True, kw_only=True)
class SafeTrajectory:
    """A trajectory that passed every check. Only control.safety makes one."""

    trajectory: Trajectory
    _key: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._key is not _SAFETY_KEY:
            raise TypeError("only evo1_policy.control.safety makes a SafeTrajectory")
