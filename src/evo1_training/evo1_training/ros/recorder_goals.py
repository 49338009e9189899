"""The record_episode action: one take a goal; ended by its duration, a service, or a cancel.

A cancelled goal saves what was recorded: only ~/discard throws a take away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evo1_msgs.action import RecordEpisode
from evo1_msgs.msg import RecorderStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from evo1_training.recording.take import Take, TakeResult, TakeState

# Starts a take with label, operator and extra topics; answers why not, or ''.
Start = Callable[[str, str, Sequence[str]], str]


@dataclass(kw_only=True)
class _Goal:
    handle: ServerGoalHandle
    done: Future


class Goals:
    """The action server, and the goal that runs.

    Args:
        node: owns the action server.
        start: begins the goal's take.
        end: saves the running take, or gives a waiting one up.
    """

    def __init__(self, node: Node, *, start: Start, end: Callable[[], None]) -> None:
        self._log = node.get_logger()
        self._start = start
        self._end = end
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
            self._end()

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
        return self._start(request.instruction, request.operator_name, tuple(request.extra_topics))

    async def _execute(self, handle: ServerGoalHandle) -> RecordEpisode.Result:
        goal = _Goal(handle=handle, done=Future())
        self._goal, self._accepted = goal, False
        if self._early is not None:
            self.conclude(self._early)
        result: RecordEpisode.Result = await goal.done
        self._goal = None
        return result
