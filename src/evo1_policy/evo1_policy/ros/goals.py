"""The run_policy action: one goal at a time, watched by the node's timer, nothing blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from evo1_msgs.action import RunPolicy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from evo1_policy.control.signals import LoopState, LoopStatus, Request, StopCode
from evo1_policy.ros.runner import Runner

FEEDBACK_PERIOD_NS = 200_000_000


class Ending(NamedTuple):
    """How a goal ends: 'succeed', 'canceled' or 'abort', with the reason."""

    kind: Literal["succeed", "canceled", "abort"]
    code: str
    reason: str
    success: bool = False


_DEACTIVATED = Ending("abort", "deactivated", "the policy node was deactivated")


@dataclass(kw_only=True)
class _Goal:
    handle: ServerGoalHandle
    done: Future
    started_ns: int
    end_ns: int | None
    chunks_before: int
    feedback_ns: int
    ending: Ending | None = None  # decided; the arm is slowing to rest


class Goals:
    """The action server, and the goal that runs.

    Args:
        node: owns the action server.
        now_ns: the node's clock.
        start: sets the instruction (empty: keeps it) and starts the loop; answers why not, or ''.
    """

    def __init__(
        self, node: Node, *, now_ns: Callable[[], int], start: Callable[[str], str]
    ) -> None:
        self._log = node.get_logger()
        self._now_ns = now_ns
        self._start = start
        self._runner: Runner | None = None
        self._goal: _Goal | None = None
        self._reserved = False  # accepted, not yet executing
        self._server = ActionServer(
            node,
            RunPolicy,
            "~/run_policy",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def attach(self, runner: Runner | None) -> None:
        """Tell which runner is active; None aborts the goal."""
        if runner is None:
            self._conclude(_DEACTIVATED)
        self._runner = runner

    def tick(self) -> None:
        """Look whether the goal is over, and send feedback."""
        goal, runner = self._goal, self._runner
        if goal is None or runner is None or goal.done.done():
            return
        now_ns = self._now_ns()
        if goal.ending is None:
            goal.ending = self._ending(goal, runner.status, now_ns)
            if goal.ending is not None and goal.ending.kind != "abort":
                runner.request(Request.FINISH)
        if goal.ending is not None:
            at_rest = runner.status.state in (LoopState.IDLE, LoopState.STOPPED)
            if goal.ending.kind == "abort" or at_rest:
                self._conclude(goal.ending)
        elif now_ns - goal.feedback_ns >= FEEDBACK_PERIOD_NS:
            goal.feedback_ns = now_ns
            goal.handle.publish_feedback(_feedback(goal, runner, now_ns))

    def close(self) -> None:
        """Withdraw the action."""
        self._server.destroy()

    def _on_goal(self, request: RunPolicy.Goal) -> GoalResponse:
        problem = self._refusal(request)
        if problem:
            self._log.warning(f"run_policy refused: {problem}")
            return GoalResponse.REJECT
        self._reserved = True
        return GoalResponse.ACCEPT

    def _refusal(self, request: RunPolicy.Goal) -> str:
        if self._runner is None:
            return "the node is not active"
        if self._goal is not None or self._reserved:
            return "another goal is running; cancel it first"
        if not 0.0 <= request.duration_s < float("inf"):
            return f"duration_s: expected 0 or more seconds, got {request.duration_s}"
        return self._start(request.instruction)

    async def _execute(self, handle: ServerGoalHandle) -> RunPolicy.Result:
        now_ns = self._now_ns()
        duration_ns = round(handle.request.duration_s * 1e9)
        runner = self._runner
        goal = _Goal(
            handle=handle,
            done=Future(),
            started_ns=now_ns,
            end_ns=now_ns + duration_ns if duration_ns else None,
            chunks_before=runner.chunks_published if runner else 0,
            feedback_ns=now_ns,
        )
        self._goal, self._reserved = goal, False
        if runner is None:
            self._conclude(_DEACTIVATED)
        result: RunPolicy.Result = await goal.done
        self._goal = None
        return result

    def _ending(self, goal: _Goal, status: LoopStatus, now_ns: int) -> Ending | None:
        reason = status.reason
        code = reason.code if reason else None
        text = reason.message if reason else ""
        if status.state is LoopState.STOPPED:
            return Ending("abort", StopCode.STOPPED.value, text)
        if goal.handle.is_cancel_requested:
            well = status.state is LoopState.RUNNING
            return Ending("canceled", "cancelled", text, well)
        if status.state is LoopState.IDLE:
            return Ending("abort", "ended", "the policy was ended by another client")
        if code is not None and not (status.recovers or code.waits_for_a_person):
            return Ending("abort", code.value, text)
        if status.state is LoopState.TAKEOVER:  # the person ends it, not the clock
            return None
        if goal.end_ns is not None and now_ns >= goal.end_ns:
            return Ending("succeed", "finished", "", success=True)
        return None

    def _conclude(self, ending: Ending) -> None:
        goal = self._goal
        if goal is None or goal.done.done():
            return
        getattr(goal.handle, ending.kind)()
        chunks = self._runner.chunks_published - goal.chunks_before if self._runner else 0
        self._log.info(f"run_policy ended: {ending.code} {ending.reason}".rstrip())
        goal.done.set_result(
            RunPolicy.Result(
                success=ending.success,
                reason_code=ending.code,
                reason=ending.reason,
                chunks=chunks,
            )
        )


def _feedback(goal: _Goal, runner: Runner, now_ns: int) -> RunPolicy.Feedback:
    reason = runner.status.reason
    return RunPolicy.Feedback(
        state=runner.status.state.value,
        reason=reason.message if reason else "",
        elapsed_s=(now_ns - goal.started_ns) / 1e9,
        remaining_s=-1.0 if goal.end_ns is None else max(0.0, (goal.end_ns - now_ns) / 1e9),
        chunks=runner.chunks_published - goal.chunks_before,
    )
