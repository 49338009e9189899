"""What people ask of the recorder, by service or action, and what they are answered."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from evo1_msgs.action import RecordEpisode
from evo1_msgs.msg import RecorderStatus
from evo1_msgs.srv import SetInstruction
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.service import Service
from rclpy.task import Future
from std_srvs.srv import Trigger

from evo1_policy.observation import instruction_problem
from evo1_training.recording.session import Session
from evo1_training.recording.take import Ending, RefusedError, Take, TakeResult, TakeState

Answer = tuple[bool, str]
NOT_ACTIVE = "the recorder is not active; activate it first"
MOST_TOPICS = 1000
NOW = "now"  # transition of a label that begins within the running take
CANCELLED = TakeResult(saved=False, reason="cancelled before it began")


class Desk:
    """Takes requests to the session; a request that waits for the disk is answered when it ends.

    Args:
        instruction: the label of the first take.
        operator: who demonstrates, where a request does not say.
        refresh: looks which topics there are now.
        advance: goes on with the take.
        conclude: tells everybody how a take ended.
    """

    def __init__(
        self,
        *,
        instruction: str,
        operator: str,
        refresh: Callable[[], None],
        advance: Callable[[], None],
        conclude: Callable[[TakeResult], None],
    ) -> None:
        self.session: Session | None = None  # while the node is active
        self.instruction = instruction.strip()
        self.extra: tuple[str, ...] = ()  # patterns of topics for the running take
        self._operator = operator
        self._refresh = refresh
        self._advance = advance
        self._conclude = conclude
        self._waiting: list[Future] = []  # for the end of the take

    def set_instruction(self, text: str, transition: str = "") -> Answer:
        """Change the label: 'now' that of the running take, '' that of the next one and later."""
        if problem := instruction_problem(text):
            return False, problem
        text = text.strip()
        if transition == NOW:
            return self._relabel(text)
        before, self.instruction = self.instruction, text
        answer = f"replaced '{before}'" if before else "set"
        if self.session is not None and self.session.take.instruction:
            answer += ", from the next take on"
        return True, answer

    def _relabel(self, text: str) -> Answer:
        if self.session is None:
            return False, NOT_ACTIVE
        try:
            self.session.relabel(text)
        except RefusedError as error:
            return False, str(error)
        return True, f"from now on: '{text}'"

    async def start(self) -> Answer:
        """Begin a take; answers at once, with what it waits for."""
        problem = self.start_take(self.instruction, "", ())
        if problem or self.session is None:
            return False, problem
        return True, self.session.take.describe()

    async def save(self) -> Answer:
        """End the take; answers with folder and grade."""
        return await self._end(Ending.SAVE)

    async def discard(self) -> Answer:
        """End the take and put it into the trash, or cancel one that waits."""
        return await self._end(Ending.DISCARD)

    async def delete_last(self) -> Answer:
        """Put the episode saved last into the trash."""
        if self.session is None:
            return False, NOT_ACTIVE
        try:
            return True, f"moved to {self.session.delete_last()}"
        except RefusedError as error:
            return False, str(error)

    def end_goal(self) -> None:
        """Save the running take, or give a waiting one up."""
        if self.session is None:
            return
        if self.session.take.state is TakeState.WAITING:
            self.session.end(Ending.DISCARD)
            self._conclude(CANCELLED)
        elif self.session.take.state is TakeState.RECORDING:
            self.session.end(Ending.SAVE)

    def concluded(self, result: TakeResult) -> None:
        """Answer everybody who waits for the end of the take."""
        self.extra = ()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(result)

    def start_take(self, instruction: str, operator: str, extra: Sequence[str]) -> str:
        """Begin a take with a label, an operator and extra topics; answers why not, or ''."""
        if self.session is None:
            return NOT_ACTIVE
        if problem := _too_much(instruction, operator, extra):
            return problem
        try:
            self.session.start(instruction, operator or self._operator)
        except RefusedError as error:
            return str(error)
        self.extra = tuple(extra)
        self._refresh()
        self._advance()
        take = self.session.take
        return take.reason if take.state is TakeState.IDLE else ""

    async def _end(self, ending: Ending) -> Answer:
        if self.session is None:
            return False, NOT_ACTIVE
        waits = self.session.take.state is TakeState.WAITING
        try:
            self.session.end(ending)
        except RefusedError as error:
            return False, str(error)
        if waits:
            self._conclude(CANCELLED)
            return True, CANCELLED.reason
        end = Future()
        self._waiting.append(end)
        result: TakeResult = await end
        kept = result.saved and not result.reason
        thrown_away = not result.saved and result.reason == "discarded"
        return kept if ending is Ending.SAVE else thrown_away, describe(result)


class Services:
    """Services that are there as long as the node is configured.

    Args:
        node: owns the services.
        desk: knows the answers.
    """

    def __init__(self, node: Node, desk: Desk) -> None:
        self._node = node
        # an answer that waits for the disk must not keep the node's timers waiting
        self._group = ReentrantCallbackGroup()
        self._services: list[Service] = [
            self._trigger("~/start", desk.start),
            self._trigger("~/save", desk.save),
            self._trigger("~/discard", desk.discard),
            self._trigger("~/delete_last", desk.delete_last),
        ]

        def on_set_instruction(
            request: SetInstruction.Request, response: SetInstruction.Response
        ) -> SetInstruction.Response:
            response.success, response.message = desk.set_instruction(
                request.instruction, request.transition
            )
            return response

        self._services.append(
            node.create_service(SetInstruction, "~/set_instruction", on_set_instruction)
        )

    def close(self) -> None:
        """Withdraw the services."""
        for service in self._services:
            self._node.destroy_service(service)

    def _trigger(self, name: str, ask: Callable[[], Awaitable[Answer]]) -> Service:
        async def on_call(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = await ask()
            return response

        return self._node.create_service(Trigger, name, on_call, callback_group=self._group)


@dataclass(kw_only=True)
class _Goal:
    handle: ServerGoalHandle
    done: Future


class Goals:
    """The record_episode action: one take a goal, ended by its time, a service, or a cancel.

    A cancelled goal saves what was recorded: only ~/discard throws a take away.

    Args:
        node: owns the action server.
        desk: begins and ends the goal's take.
    """

    def __init__(self, node: Node, desk: Desk) -> None:
        self._log = node.get_logger()
        self._desk = desk
        self._goal: _Goal | None = None
        self._accepted = False  # its take runs, the goal does not execute yet
        self._early: TakeResult | None = None  # ended before that
        self._server = ActionServer(
            node,
            RecordEpisode,
            "~/record_episode",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def tick(self, take: Take, status: RecorderStatus) -> None:
        """Look whether the goal's take should end, and send feedback."""
        goal = self._goal
        if goal is None or goal.done.done():
            return
        goal.handle.publish_feedback(RecordEpisode.Feedback(status=status))
        if take.state not in (TakeState.WAITING, TakeState.RECORDING):
            return
        limit_s = goal.handle.request.max_duration_s
        over = limit_s > 0 and take.state is TakeState.RECORDING and status.duration_s >= limit_s
        if over or goal.handle.is_cancel_requested:
            self._desk.end_goal()

    def conclude(self, result: TakeResult) -> None:
        """A take has ended; if it was a goal's, so has the goal."""
        goal = self._goal
        if goal is None:
            if self._accepted:
                self._early = result
            return
        if goal.done.done():
            return
        if goal.handle.is_cancel_requested:
            goal.handle.canceled()
        elif result.saved and not result.reason:
            goal.handle.succeed()
        else:
            goal.handle.abort()
        goal.done.set_result(
            RecordEpisode.Result(
                success=result.saved and not result.reason,
                reason=result.reason,
                path=result.path if result.saved else "",
                grade=result.grade,
                grade_reasons=list(result.grade_reasons),
                messages=result.messages,
                lost=result.lost,
            )
        )

    def close(self) -> None:
        """Withdraw the action."""
        self._server.destroy()

    def _on_goal(self, request: RecordEpisode.Goal) -> GoalResponse:
        problem = self._refusal(request)
        if problem:
            self._log.warning(f"record_episode refused: {problem}")
            return GoalResponse.REJECT
        self._accepted, self._early = True, None
        return GoalResponse.ACCEPT

    def _refusal(self, request: RecordEpisode.Goal) -> str:
        if self._goal is not None or self._accepted:
            return "another goal is running; cancel it first"
        if not 0.0 <= request.max_duration_s < float("inf"):
            return f"max_duration_s: expected 0 or more seconds, got {request.max_duration_s}"
        return self._desk.start_take(
            request.instruction, request.operator_name, tuple(request.extra_topics)
        )

    async def _execute(self, handle: ServerGoalHandle) -> RecordEpisode.Result:
        goal = _Goal(handle=handle, done=Future())
        self._goal, self._accepted = goal, False
        if self._early is not None:
            self.conclude(self._early)
        result: RecordEpisode.Result = await goal.done
        self._goal = None
        return result


def _too_much(instruction: str, operator: str, extra: Sequence[str]) -> str:
    """Why a start names more than anybody means; '' where it does not."""
    if instruction.strip() and (problem := instruction_problem(instruction)):
        return problem
    if operator.strip() and (problem := instruction_problem(operator)):
        return problem.replace("instruction", "operator's name")
    if len(extra) > MOST_TOPICS:
        return f"{len(extra):,} extra topics; at most {MOST_TOPICS}"
    return ""


def describe(result: TakeResult) -> str:
    """Say in words how a take ended."""
    if not result.saved:
        return f"{result.reason}; it is in {result.path}" if result.path else result.reason
    words = "; ".join(result.grade_reasons)
    if result.reason not in words:
        words = f"{result.reason}; {words}"
    return f"saved {result.path}: {result.grade}" + (f": {words}" if words else "")
