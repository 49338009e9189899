"""READ FIRST: observation -> inference -> splice -> safety -> command, one step at a time.

The loop is deterministic: no clock, no threads, no ROS, no torch. A node calls step() about a
hundred times a second with what it knows, and does what the output says. One inference runs at a
time, elsewhere, while the arm executes the chunk before it.

    IDLE     --START-->   RUNNING   chunks are executed, or the first one is awaited
    RUNNING  --a fault--> HOLDING   slows to rest; resumes by itself, with a fresh chunk, where
                                    the reason recovers, else on RESUME
    any      --STOP-->    STOPPED   latched; CLEAR_STOP -> IDLE
    RUNNING, HOLDING --a target, TAKE_OVER--> TAKEOVER    a person drives
    TAKEOVER  --silence, HAND_BACK--> HOLDING   slows to rest; goes on as the settings say

What the arm is commanded lives in motion.Motion, the person who drives in takeover.Takeover, the
inference in flight in inference.InferenceDesk, when the next one starts in schedule, what must be
true of the inputs in watchdog.Watchdog. How chunks follow one another: docs/execution.md.
"""

from evo1_policy.action_chunk import ActionChunk, Guidance
from evo1_policy.control.idle import IdleMeter
from evo1_policy.control.inference import InferenceDesk
from evo1_policy.control.instructions import InstructionWatch
from evo1_policy.control.modes import ExecutionMode, Transition
from evo1_policy.control.motion import Motion
from evo1_policy.control.schedule import is_due
from evo1_policy.control.signals import (
    InferenceDone,
    InferenceFailed,
    InferenceRequest,
    LoopInput,
    LoopOutput,
    LoopState,
    LoopStatus,
    Request,
    SafeTrajectory,
    SeamReport,
    StopCode,
    StopReason,
    TakeoverMode,
)
from evo1_policy.control.signals import LoopSettings as LoopSettings
from evo1_policy.control.takeover import Takeover
from evo1_policy.control.teleop import Refused
from evo1_policy.control.watchdog import Watchdog
from evo1_policy.observation import Observation
from evo1_policy.robot_config import RobotConfig

JUMP_SHOWN_NS = 2_000_000_000  # so long a clock that jumped back hides what follows from it

_ACTIVE = (LoopState.RUNNING, LoopState.HOLDING)


class PolicyLoop:
    """The states of a robot that runs a policy."""

    def __init__(
        self,
        robot: RobotConfig,
        settings: LoopSettings | None = None,
        horizon: int | None = None,
    ) -> None:
        """For `robot`; `horizon` of the policy, where known, is checked on every chunk."""
        self._settings = settings or LoopSettings()
        self._motion = Motion(robot, self._settings, horizon)
        self._desk = InferenceDesk(self._settings)
        self._watchdog = Watchdog(robot)
        self._person = Takeover(robot, self._settings, self._motion)
        self._before_person: tuple[LoopState, StopReason | None] = (LoopState.IDLE, None)
        self._state = LoopState.IDLE
        self._reason: StopReason | None = None
        self._idle = IdleMeter()
        self._words = InstructionWatch(self._settings.transition)
        self._now_ns = 0
        self._jumped_ns: int | None = None  # when the clock last jumped back, by the new one
        self._accepted = self._rejected = self._interventions = self._holds = 0
        # What this step sends.
        self._command: SafeTrajectory | None = None
        self._chunk: ActionChunk | None = None
        self._seam: SeamReport | None = None
        self._refused = ""

    def step(self, inputs: LoopInput) -> LoopOutput:
        """Look at the inputs, decide what to send and whether to infer.

        Every InferenceRequest must be answered by an InferenceDone or InferenceFailed in a later
        step, whatever happened in between: the loop itself drops outdated results.
        """
        self._command = self._chunk = self._seam = None
        self._refused = ""
        self._follow_clock(inputs)
        problem = self._watchdog.problem(inputs)
        self._follow_instruction(inputs)
        result = self._desk.receive(inputs.inference)
        for request in inputs.requests:
            self._obey(request, problem, inputs.now_ns)
        self._listen(inputs)
        if self._state is LoopState.TAKEOVER:
            self._look_after_person(inputs)
        self._hold_for_faults(problem, inputs)
        # A request changes what is wanted, so a result that came with one is dropped.
        if result is not None and not inputs.requests and self._wants_chunks(problem):
            self._take(result, inputs)
        infer = self._ask(inputs) if self._wants_chunks(problem) else None
        self._count_idle(inputs.now_ns)
        return LoopOutput(
            command=self._command,
            infer=infer,
            chunk=self._chunk,
            seam=self._seam,
            status=self._status(),
            refused=self._refused,
        )

    def _follow_clock(self, inputs: LoopInput) -> None:
        """Notice a clock that jumps back, and find the arm again on the new one."""
        before, self._now_ns = self._now_ns, inputs.now_ns
        if inputs.now_ns < before:
            self._jumped_ns = inputs.now_ns
            self._motion.leave_clock(before, inputs.now_ns)
            self._desk.leave_clock(inputs.now_ns)
            self._watchdog.forget()
            self._person.leave_clock()
            if self._state is LoopState.TAKEOVER:
                self._hand_back(inputs.now_ns, resume=False, why="the clock jumped back")
            if self._state in _ACTIVE:
                message = (
                    f"the clock jumped back by {(before - inputs.now_ns) / 1e9:.3f} s; "
                    "waiting for observations on the new clock"
                )
                self._enter_holding(StopReason(code=StopCode.CLOCK_JUMPED_BACK, message=message))
        self._send_stop(self._motion.find_arm(inputs.measured, inputs.now_ns))

    def _follow_instruction(self, inputs: LoopInput) -> None:
        """Take no chunk for an old instruction any more, once there is a new one."""
        if not self._words.changed(inputs):
            return
        self._desk.outdate()
        if self._words.transition is Transition.FLUSH and self._state is LoopState.RUNNING:
            self._send_stop(self._motion.brake(inputs.now_ns))

    def _obey(self, request: Request, problem: StopReason | None, now_ns: int) -> None:
        """Do what a person asks."""
        match request, self._state:
            case Request.STOP, _:
                self._halt(now_ns)
                message = "stopped by request; latched until clear_stop, then start again"
                self._enter(LoopState.STOPPED, StopReason(code=StopCode.STOPPED, message=message))
            case Request.CLEAR_STOP, LoopState.STOPPED:
                self._enter(LoopState.IDLE, None)
            case Request.START, LoopState.IDLE:
                self._enter(LoopState.RUNNING, None)
            case Request.FINISH, LoopState.RUNNING | LoopState.HOLDING:
                self._halt(now_ns)
                self._enter(LoopState.IDLE, None)
            case Request.PAUSE, LoopState.RUNNING | LoopState.HOLDING:
                message = "paused by request; resume to go on"
                self._hold(StopReason(code=StopCode.PAUSED, message=message), now_ns)
            case _, LoopState.TAKEOVER:
                self._obey_while_driven(request, now_ns)
            case Request.TAKE_OVER, LoopState.IDLE | LoopState.RUNNING | LoopState.HOLDING:
                if self._settings.takeover is not TakeoverMode.OFF:
                    self._give_to_person(self._person.ask(now_ns), now_ns)
            case Request.RESUME, LoopState.HOLDING:
                # A cause that is still there keeps the arm, but from now on it may recover.
                self._enter(LoopState.HOLDING if problem else LoopState.RUNNING, problem)

    # -- a person drives -------------------------------------------------------------------

    def _listen(self, inputs: LoopInput) -> None:
        """Follow a person's targets, or let the first one take over."""
        out = self._watchdog.arm_problem(inputs)
        for target in inputs.teleop:
            if out is not None:
                self._refused = out.message
                continue
            if self._state is LoopState.TAKEOVER:
                verdict: SafeTrajectory | Refused | None = self._person.follow(
                    target, inputs.measured, inputs.now_ns
                )
            elif self._state in _ACTIVE and not self._motion.lost:
                verdict = self._person.hear(target, inputs.measured, inputs.now_ns)
            else:
                self._refused = f"a person's target is not followed in {self._state.name}"
                continue
            if isinstance(verdict, Refused):
                self._refused = verdict.reason
            elif self._state is not LoopState.TAKEOVER and verdict is not None:
                self._give_to_person(verdict, inputs.now_ns)
            else:
                self._send_stop(verdict)

    def _obey_while_driven(self, request: Request, now_ns: int) -> None:
        if request is Request.HAND_BACK:
            self._hand_back(now_ns, resume=self._resumes(), why="by request")
        elif request is Request.RESUME:
            self._before_person = (LoopState.RUNNING, None)
            self._hand_back(now_ns, resume=True, why="by request")
        elif request in (Request.FINISH, Request.PAUSE):
            self._person.end(deaf=True)
            self._enter(LoopState.HOLDING, None)
            self._obey(request, None, now_ns)

    def _give_to_person(self, command: SafeTrajectory | None, now_ns: int) -> None:
        self._before_person = (self._state, self._reason)
        self._desk.outdate()
        self._send_stop(command)
        self._enter(LoopState.TAKEOVER, self._person.reason(now_ns))

    def _look_after_person(self, inputs: LoopInput) -> None:
        """Stop for what keeps the arm from following; see whether the person is done."""
        measured, now_ns = inputs.measured, inputs.now_ns
        executing = self._motion.executing if self._motion.driven else None
        out = self._watchdog.arm_problem(inputs)
        if out is not None:
            self._send_stop(self._person.block(now_ns))
            self._reason = out
            return
        astray = None
        if executing is not None and measured is not None and not self._settings.dry_run:
            astray = self._watchdog.tracking_problem(measured, executing)
        if astray is None:
            self._send_stop(self._person.watch(measured, now_ns))
            if self._person.fault:
                astray = StopReason(code=StopCode.CHUNK_BREAKS_LIMITS, message=self._person.fault)
        if astray is not None:
            self._person.end(deaf=True)
            self._hold(astray, now_ns)
        elif self._person.over(now_ns):
            self._hand_back(now_ns, resume=self._resumes(), why="by silence")
        else:
            self._reason = self._person.reason(now_ns)

    def _resumes(self) -> bool:
        """Whether the policy goes on by itself: as told, and where it was not held before."""
        state, reason = self._before_person
        held = reason is not None and not reason.code.recovers
        return self._settings.takeover_resumes and state in _ACTIVE and not held

    def _hand_back(self, now_ns: int, *, resume: bool, why: str) -> None:
        """Slow to rest; what then depends on what was before, and on the settings."""
        self._halt(now_ns)
        self._person.end(deaf=True)
        if self._before_person[0] is LoopState.IDLE:
            self._enter(LoopState.IDLE, None)
        elif resume:
            message = f"the person handed back {why}; at rest, the next chunk goes on from there"
            self._enter(LoopState.HOLDING, StopReason(code=StopCode.HANDING_BACK, message=message))
        else:
            message = f"the person handed back {why}; resume to let the policy go on"
            self._enter(LoopState.HOLDING, StopReason(code=StopCode.HANDED_BACK, message=message))

    # -- faults ----------------------------------------------------------------------------

    def _hold_for_faults(self, problem: StopReason | None, inputs: LoopInput) -> None:
        """Hold for anything that leaves the motion without ground."""
        if self._state not in _ACTIVE:
            return
        if self._state is LoopState.RUNNING and problem is None:
            problem = self._motion_problem(inputs)
        overdue = self._desk.overdue(inputs.now_ns)
        if problem is None and overdue is not None:
            problem = StopReason(code=StopCode.INFERENCE_LATE, message=overdue)
        if problem is not None:
            self._hold(problem, inputs.now_ns)

    def _motion_problem(self, inputs: LoopInput) -> StopReason | None:
        """A chunk being executed that the arm does not follow, or that is used up."""
        executing = self._motion.executing
        if self._motion.chunk is None or executing is None:
            return None
        if inputs.measured is not None and not self._settings.dry_run:
            problem = self._watchdog.tracking_problem(inputs.measured, executing)
            if problem is not None:
                return problem
        if not self._motion.used_up(inputs.now_ns):
            return None
        if self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return None  # rests until the next one, as it shall
        waiting = self._desk.waiting_for(inputs.now_ns)
        message = f"the chunk is used up and {waiting}; resumes with the next chunk"
        return StopReason(code=StopCode.INFERENCE_LATE, message=message)

    def _wants_chunks(self, problem: StopReason | None) -> bool:
        """Whether a chunk is welcome: running, or held for something that went away."""
        if self._state is LoopState.HOLDING and self._reason is not None:
            return self._reason.code.recovers and problem is None
        return self._state is LoopState.RUNNING

    def _take(self, result: InferenceDone | InferenceFailed, inputs: LoopInput) -> None:
        """Turn a chunk into a checked command, or hold."""
        if isinstance(result, InferenceFailed):
            message = f"the inference failed: {result.error}; see the log, then resume"
            reason = StopReason(code=StopCode.INFERENCE_FAILED, message=message)
            self._hold(reason, inputs.now_ns)
            return
        verdict = self._motion.execute(result.chunk, inputs.measured, inputs.now_ns)
        if isinstance(verdict, StopReason):
            self._rejected += 1
            self._interventions += 1
            self._hold(verdict, inputs.now_ns)
            return
        self._command, self._chunk, self._seam = verdict.command, verdict.chunk, verdict.seam
        self._accepted += 1
        self._interventions += int(verdict.seam.intervened)
        self._enter(LoopState.RUNNING, None)

    def _ask(self, inputs: LoopInput) -> InferenceRequest | None:
        """Ask for the next chunk early enough, from an observation newer than the last."""
        if self._motion.lost or not self._chunk_is_due(inputs):
            return None
        return self._desk.ask(inputs.observation, inputs.now_ns, self._guide)

    def _chunk_is_due(self, inputs: LoopInput) -> bool:
        chunk, seen = self._motion.chunk, inputs.observation
        at_ns = seen.stamp_ns if isinstance(seen, Observation) else inputs.now_ns
        at_rest = self._motion.at_rest(at_ns)  # to look at, not only now
        if chunk is None:  # after a fault or a flush, resume from rest only
            anew = (
                self._state is LoopState.RUNNING and self._words.transition is not Transition.FLUSH
            )
            return anew or at_rest
        outdated = self._words.words != chunk.instruction
        if outdated and self._words.transition is Transition.BLEND:
            return True
        return is_due(
            chunk,
            self._settings,
            now_ns=inputs.now_ns,
            lead_ns=self._desk.lead_ns,
            at_rest=at_rest,
            to_its_end=outdated,
        )

    def _guide(self, observation: Observation) -> Guidance | None:
        """What the next chunk shall begin with."""
        return self._motion.guidance(observation, takeover_ns=self._now_ns + self._desk.lead_ns)

    def _count_idle(self, now_ns: int) -> None:
        late = self._reason is not None and self._reason.code is StopCode.INFERENCE_LATE
        running = self._state is LoopState.RUNNING or (self._state is LoopState.HOLDING and late)
        self._idle.look(
            now_ns,
            running=running and self._accepted > 0,
            resting=self._motion.at_rest(now_ns),
        )

    def _hold(self, reason: StopReason, now_ns: int) -> None:
        """Slow to rest and stay there for `reason`."""
        self._send_stop(self._motion.brake(now_ns))
        # A late result is welcome; any other reason makes what was seen before it worthless.
        if reason.code is not StopCode.INFERENCE_LATE:
            self._desk.outdate()
        self._enter_holding(reason)

    def _halt(self, now_ns: int) -> None:
        """Slow to rest, and let nothing in flight start the arm again."""
        self._send_stop(self._motion.brake(now_ns))
        self._desk.outdate()

    def _send_stop(self, stop: SafeTrajectory | None) -> None:
        if stop is not None:
            self._command, self._chunk, self._seam = stop, None, None

    def _enter_holding(self, reason: StopReason) -> None:
        """The first reason that needs a person stays; others give way to newer ones."""
        if self._state is LoopState.HOLDING and self._reason is not None:
            if self._gives_way(self._reason, reason):
                self._reason = reason
            return
        self._holds += 1
        self._enter(LoopState.HOLDING, reason)

    def _gives_way(self, present: StopReason, newer: StopReason) -> bool:
        if not present.code.recovers or present.code is newer.code:
            return False
        # Every stream is silent at first on a new clock: the jump stays the reason to show.
        fresh = self._jumped_ns is not None and self._now_ns - self._jumped_ns < JUMP_SHOWN_NS
        return not (present.code is StopCode.CLOCK_JUMPED_BACK and newer.code.recovers and fresh)

    def _enter(self, state: LoopState, reason: StopReason | None) -> None:
        self._state, self._reason = state, reason

    def _status(self) -> LoopStatus:
        return LoopStatus(
            state=self._state,
            reason=self._reason,
            lead_ms=self._desk.lead_ns / 1e6,
            chunks_accepted=self._accepted,
            chunks_rejected=self._rejected,
            interventions=self._interventions,
            holds=self._holds,
            takeovers=self._person.count,
            idle_fraction=self._idle.fraction,
            mode=self._settings.mode,
        )
