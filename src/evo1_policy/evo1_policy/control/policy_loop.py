"""READ FIRST: observation -> inference -> splice -> safety -> command, one step at a time.

The loop is deterministic: no clock, no threads, no ROS, no torch. A node calls step() about a
hundred times a second with what it knows, and does what the output says. One inference runs at a
time, elsewhere, while the arm executes the chunk before it.

    IDLE     --START-->   RUNNING   chunks are executed, or the first one is awaited
    RUNNING  --a fault--> HOLDING   slows to rest until RESUME; only a gap in a stream that is over
                                    soon (resume_within_ns) resumes by itself, with a fresh chunk
    any      --STOP-->    STOPPED   latched; CLEAR_STOP -> IDLE
    RUNNING, HOLDING --a target, TAKE_OVER--> TAKEOVER    a person drives
    TAKEOVER  --silence, HAND_BACK--> HOLDING   slows to rest; goes on as the settings say
    any but STOPPED, TAKEOVER --PARK, HOME--> HOLDING --at that pose--> IDLE

The way of a frame in, and of a result back (ros/ only carries, everything else is pure):

    frame, joints -> perception.Streams -> Observation -> step() -> InferenceRequest
        -> inference thread: Policy.infer -> ActionChunk -> step()
        -> chunks.Chunks.execute: chunk_check, execution.plan_chunk (reference: smoothing,
           cross-fade, slowed time; limits.follow), safety.check -> SafeTrajectory -> commands
    controller_state -> step() -> motion.Motion.look: is that what was sent?

What the arm is commanded lives in motion.Motion, whoever commands it: chunks.Chunks, the person in
takeover.Takeover, parking.Parking. The inference in flight is inference.InferenceDesk's, what must
be true of the inputs watchdog.Watchdog's. How chunks follow one another: docs/execution.md.
"""

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.control.chunks import Chunks, InstructionWatch
from evo1_policy.control.inference import InferenceDesk
from evo1_policy.control.meters import IdleMeter
from evo1_policy.control.motion import Motion
from evo1_policy.control.parking import LEAVING, Parking, on_the_way
from evo1_policy.control.signals import (
    ExecutionMode,
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
    Transition,
)
from evo1_policy.control.signals import LoopSettings as LoopSettings
from evo1_policy.control.takeover import ACTIVE, Takeover
from evo1_policy.control.watchdog import Hold, Watchdog
from evo1_policy.robot_config import RobotConfig


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
        self._robot = robot
        self._motion = Motion(robot, dry_run=self._settings.dry_run)
        self._chunks = Chunks(robot, self._settings, self._motion, horizon)
        self._desk = InferenceDesk(self._settings)
        self._watchdog = Watchdog(robot)
        self._person = Takeover(robot, self._settings, self._motion, self._watchdog)
        self._parking: Parking | None = None
        self._state = LoopState.IDLE
        self._hold = Hold(self._settings.resume_within_ns)
        self._idle = IdleMeter()
        self._words = InstructionWatch(self._settings.transition)
        self._now_ns = self._known_ns = 0  # of this step, and of the one before
        self._accepted = self._rejected = self._interventions = 0
        self._command: SafeTrajectory | None = None  # this, and what follows: of this step
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
        left = self._motion.look(inputs.measured, inputs.held, inputs.now_ns)
        self._follow_instruction(inputs)
        result = self._desk.receive(inputs.inference)
        for request in inputs.requests:
            self._obey(request, problem, inputs.now_ns)
        if left:
            self._leave_off(left, inputs.now_ns)
        self._follow_person(inputs)
        self._park(inputs)
        self._hold_for_faults(problem, inputs)
        # Dropped: what a request made unwanted, and what a controller fallen silent may jump to.
        welcome = not inputs.requests and not self._motion.unheard(inputs.now_ns)
        if result is not None and welcome and self._wants_chunks(problem, result):
            self._take(result, inputs)
        infer = self._ask(inputs) if self._wants_chunks(problem) else None
        self._count_idle(inputs.now_ns)
        self._command = self._command or self._motion.repeat_stop(inputs.now_ns)
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
        self._known_ns = min(before or inputs.now_ns, inputs.now_ns)
        if inputs.now_ns < before:
            self._motion.leave_clock(before, inputs.now_ns)
            self._chunks.drop()
            self._desk.leave_clock(inputs.now_ns)
            self._watchdog.forget()
            self._person.leave_clock()
            if self._state is LoopState.TAKEOVER:
                self._hand_back(inputs.now_ns, resume=False, why="the clock jumped back")
            elif self._state in ACTIVE:
                back = f"the clock jumped back by {(before - inputs.now_ns) / 1e9:.3f} s"
                message = f"{back}; resume to go on by the new one"
                self._keep(StopCode.CLOCK_JUMPED_BACK.because(message))
        self._send(self._motion.find_arm(inputs.measured, inputs.now_ns))

    def _follow_instruction(self, inputs: LoopInput) -> None:
        """Take no chunk for an old instruction any more, once there is a new one."""
        if not self._words.changed(inputs):
            return
        self._desk.outdate()
        if self._words.transition is Transition.FLUSH and self._state is LoopState.RUNNING:
            self._brake(inputs.now_ns)

    def _obey(self, request: Request, problem: StopReason | None, now_ns: int) -> None:
        """Do what a person asks."""
        match request, self._state:
            case Request.STOP, _:
                self._person.end()
                self._halt(now_ns)
                message = "stopped by request; evo1 clear-stop, then evo1 resume go on"
                self._enter(LoopState.STOPPED, StopCode.STOPPED.because(message))
            case Request.CLEAR_STOP, LoopState.STOPPED:
                self._enter(LoopState.IDLE, None)
            case Request.START | Request.RESUME, LoopState.IDLE:
                self._hold.wait_patiently(patient=request is Request.START)
                self._enter(LoopState.RUNNING, None)
            case Request.FINISH, LoopState.RUNNING | LoopState.HOLDING:
                self._halt(now_ns)
                self._enter(LoopState.IDLE, None)
            case Request.PAUSE, LoopState.RUNNING | LoopState.HOLDING:
                message = "paused by request; resume to go on"
                self._stop_for(StopCode.PAUSED.because(message), now_ns)
            case _, LoopState.TAKEOVER:
                self._obey_while_driven(request, now_ns)
            case asked, state if asked in LEAVING and state is not LoopState.STOPPED:
                self._leave_policy(request, now_ns)
            case Request.RESUME, LoopState.HOLDING:
                # A cause that is still there keeps the arm, but may be over soon.
                self._hold.wait_patiently(patient=False)
                self._enter(LoopState.HOLDING if problem else LoopState.RUNNING, problem)

    # -- a person drives -------------------------------------------------------------------

    def _follow_person(self, inputs: LoopInput) -> None:
        """Send what a person's targets became; notice the beginning and the end."""
        driven = self._person.step(inputs, self._state)
        self._refused = driven.refused or self._refused
        if driven.begins:
            self._give_to_person(driven.command, inputs.now_ns)
            return
        self._send(driven.command)
        if self._state is not LoopState.TAKEOVER:
            return
        if driven.ends is not None:
            self._person.end()
            self._hold_astray(driven.ends, inputs)
        elif driven.silent:
            self._hand_back(inputs.now_ns, resume=None, why="by silence")
        else:
            self._hold.reason = self._person.reason(inputs.now_ns)

    def _obey_while_driven(self, request: Request, now_ns: int) -> None:
        if request in (Request.HAND_BACK, Request.RESUME):
            resume = True if request is Request.RESUME else None
            self._hand_back(now_ns, resume=resume, why="by request")
        elif request is Request.PARK and self._robot.park is None:
            self._leave_policy(request, now_ns)  # refuses
        elif request in (Request.FINISH, Request.PAUSE, Request.PARK, Request.HOME):
            self._person.end()
            self._enter(LoopState.HOLDING, None)
            self._obey(request, None, now_ns)

    def _give_to_person(self, command: SafeTrajectory | None, now_ns: int) -> None:
        self._person.begin(self._state, held=not self._hold.recovers)
        self._chunks.drop()
        self._desk.outdate()
        self._send(command)
        self._enter(LoopState.TAKEOVER, self._person.reason(now_ns))

    def _hand_back(self, now_ns: int, *, resume: bool | None, why: str) -> None:
        """Slow to rest; what then depends on what was before, and on the settings."""
        self._halt(now_ns)
        self._enter(*self._person.hand_back(resume=resume, why=why))

    # -- parking ---------------------------------------------------------------------------

    def _leave_policy(self, request: Request, now_ns: int) -> None:
        """Let a person drive, or park: neither executes chunks."""
        if request is Request.TAKE_OVER:
            if self._settings.takeover is not TakeoverMode.OFF:
                self._give_to_person(self._person.ask(now_ns), now_ns)
            return
        pose = self._robot.home if request is Request.HOME else self._robot.park
        if pose is None:
            self._refused = f"the robot file of '{self._robot.name}' has no park pose (park)"
            return
        self._halt(now_ns)
        self._enter(LoopState.HOLDING, on_the_way(request.value))
        self._parking = Parking(self._motion, pose)

    def _park(self, inputs: LoopInput) -> None:
        """Send the next piece of the way, as long as nobody asked for something else."""
        parking, now_ns = self._parking, inputs.now_ns
        if parking is None:
            return
        verdict: SafeTrajectory | StopReason | None = (
            self._watchdog.arm_problem(inputs)
            or self._watchdog.blind(inputs.measured, now_ns)
            or self._motion.astray(inputs.measured)
            or parking.step(inputs.measured, now_ns)
        )
        if isinstance(verdict, StopReason):
            self._hold_astray(verdict, inputs)
            self._hold.wait_for_a_person()  # nobody asked for chunks
            return
        self._send(verdict)
        if parking.over(now_ns):
            self._enter(LoopState.IDLE, None)

    # -- faults ----------------------------------------------------------------------------

    def _hold_for_faults(self, problem: StopReason | None, inputs: LoopInput) -> None:
        """Hold for anything that leaves the motion without ground."""
        if self._state not in ACTIVE or self._parking is not None:
            return
        if self._state is LoopState.RUNNING and problem is None:
            astray = self._motion.astray(inputs.measured) if self._chunks.chunk else None
            if astray is not None:
                self._hold_astray(astray, inputs)
                return
            problem = self._out_of_chunks(inputs.now_ns)
        overdue = self._desk.overdue(inputs.now_ns)
        if problem is None and overdue is not None:
            problem = StopCode.INFERENCE_LATE.because(overdue)
        if problem is not None:
            self._stop_for(problem, inputs.now_ns)
        if self._state is LoopState.HOLDING:
            self._hold.follow(problem, inputs.now_ns)

    def _out_of_chunks(self, now_ns: int) -> StopReason | None:
        """A chunk that is used up while the next one has not come."""
        if not self._chunks.used_up(now_ns) or self._settings.mode is ExecutionMode.SYNCHRONOUS:
            return None  # a synchronous one rests until the next, as it shall
        waiting = self._desk.waiting_for(now_ns)
        cut = f" (it was cut: {self._chunks.cut})" if self._chunks.cut else ""
        return StopCode.INFERENCE_LATE.because(f"the chunk is used up{cut} and {waiting}")

    def _leave_off(self, left: str, now_ns: int) -> None:
        """A controller follows something else: what moves is stopped, and a person looks."""
        policy = self._state in ACTIVE and self._hold.recovers  # else a person looks already
        if policy or self._parking or self._state is LoopState.TAKEOVER:
            self._person.end()
            self._stop_for(StopCode.CONTROLLER_LEFT.because(f"{left}; look, then resume"), now_ns)

    def _hold_astray(self, reason: StopReason, inputs: LoopInput) -> None:
        """Hold an arm that is not where it was commanded."""
        self._chunks.drop()
        if inputs.measured is not None and reason.code is StopCode.TRACKING_ERROR:
            self._send(self._motion.stop_where_measured(inputs.measured, inputs.now_ns))
        self._stop_for(reason, inputs.now_ns)

    def _wants_chunks(self, problem: StopReason | None, result: object = None) -> bool:
        """Whether a chunk is welcome: running or a gap that is over; in a hold, a failure."""
        if self._state is LoopState.HOLDING and self._hold.reason is not None:
            return isinstance(result, InferenceFailed) or (self._hold.recovers and problem is None)
        return self._state is LoopState.RUNNING

    def _take(self, result: InferenceDone | InferenceFailed, inputs: LoopInput) -> None:
        """Turn a chunk into a checked command, or hold."""
        now_ns, lead_ns, speed = inputs.now_ns, self._desk.lead_ns, inputs.speed
        if isinstance(result, InferenceFailed):
            message = f"the inference failed: {result.error}; see the log, then resume"
            self._stop_for(result.code.because(message), now_ns)
            return
        verdict = self._chunks.execute(
            result.chunk, inputs.measured, now_ns, lead_ns=lead_ns, speed=speed
        )
        if isinstance(verdict, StopReason):
            self._rejected += 1
            self._interventions += 1
            self._stop_for(verdict, now_ns)
            return
        self._command, self._chunk, self._seam = verdict.command, verdict.chunk, verdict.seam
        self._accepted += 1
        self._interventions += int(verdict.seam.intervened or bool(verdict.cut))
        self._refused = verdict.cut or self._refused
        self._hold.wait_patiently(patient=False)
        self._enter(LoopState.RUNNING, None)

    def _ask(self, inputs: LoopInput) -> InferenceRequest | None:
        """Ask for the next chunk early enough, from an observation newer than the last."""
        if self._motion.lost or not self._motion.knows_arm(inputs.measured):
            return None
        lead_ns, running = self._desk.lead_ns, self._state is LoopState.RUNNING
        takeover_ns = inputs.now_ns + lead_ns
        if not self._chunks.next_is_due(inputs, self._words, lead_ns=lead_ns, running=running):
            return None
        return self._desk.ask(
            inputs.observation,
            inputs.now_ns,
            lambda seen: self._chunks.guidance(seen, takeover_ns=takeover_ns, speed=inputs.speed),
        )

    def _count_idle(self, now_ns: int) -> None:
        reason = self._hold.reason
        late = reason is not None and reason.code is StopCode.INFERENCE_LATE
        running = late or self._state is LoopState.RUNNING
        self._idle.look(
            now_ns,
            running=running and self._accepted > 0,
            resting=self._motion.at_rest(now_ns),
        )

    def _stop_for(self, reason: StopReason, now_ns: int) -> None:
        """Slow to rest and stay there for `reason`."""
        self._brake(now_ns)
        # A late result is welcome; any other reason makes what was seen before it worthless.
        if reason.code is not StopCode.INFERENCE_LATE:
            self._desk.outdate()
        self._keep(reason)

    def _halt(self, now_ns: int) -> None:
        """Slow to rest, and let nothing in flight start the arm again."""
        self._brake(now_ns)
        self._desk.outdate()

    def _brake(self, now_ns: int) -> None:
        """Slow to rest, but for a chunk that its own tail brings to rest."""
        resting = self._chunks.used_up(now_ns)
        self._chunks.drop()
        if not resting:
            self._send(self._motion.stop(now_ns))

    def _send(self, stop: SafeTrajectory | None) -> None:
        if stop is not None:
            self._command, self._chunk, self._seam = stop, None, None

    def _keep(self, reason: StopReason) -> None:
        """Hold for a reason, beside one that is there already."""
        present = self._hold.reason if self._parking is None else None
        if self._state is LoopState.HOLDING and present is not None:
            self._hold.add(reason)
            return
        self._hold.count += 1
        self._enter(LoopState.HOLDING, reason)

    def _enter(self, state: LoopState, reason: StopReason | None) -> None:
        self._state, self._parking = state, None  # whatever begins ends the way to the park pose
        self._hold.begin(reason, self._known_ns)  # a process that stood still saw nothing since

    def _status(self) -> LoopStatus:
        return LoopStatus(
            state=self._state,
            reason=self._hold.reason,
            lead_ms=self._desk.lead_ns / 1e6,
            recovers=self._hold.reason is not None and self._hold.recovers,
            moving=not self._motion.settled(self._now_ns),
            chunks_accepted=self._accepted,
            chunks_rejected=self._rejected,
            interventions=self._interventions,
            holds=self._hold.count,
            takeovers=self._person.count,
            idle_fraction=self._idle.fraction,
            mode=self._settings.mode,
            tool_error=self._desk.tool_error,
        )
