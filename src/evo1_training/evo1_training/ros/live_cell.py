"""What an evaluation needs of a running system: the simulation and the policy.

Every wait is for a condition and names what it waits for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from evo1_msgs.action import RunPolicy
from evo1_msgs.msg import PolicyStatus, TaskStatus
from evo1_msgs.srv import ResetTask, SetInstruction
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future
from std_srvs.srv import Trigger

from evo1_policy.ros.qos import report_qos
from evo1_policy.ros.starting import start_ros
from evo1_training.evaluation.outcomes import EvaluationError

START = (
    "start the system first, in another terminal: ros2 launch evo1_bringup xarm6.launch.py, or "
    "evo1 launch xarm6 (with the same ROS_DOMAIN_ID, and --namespace where it has one)"
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A goal that the policy accepted: its result, and how to cancel it."""

    result: Future
    cancel: Callable[[], Any]


class LiveCell:
    """A node that talks to `sim_robot` and `policy`.

    Args:
        namespace: of the arm.
        timeout_s: how long to wait for an answer [s].
    """

    def __init__(self, *, namespace: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._context = rclpy.Context()
        start_ros([], self._context)
        self._node = rclpy.create_node("evaluate", context=self._context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._task: TaskStatus | None = None
        self._policy: PolicyStatus | None = None
        self._node.create_subscription(
            TaskStatus, "sim_robot/task_status", self._on_task, report_qos()
        )
        self._node.create_subscription(
            PolicyStatus, "policy/status", self._on_policy, report_qos()
        )
        self._runner = ActionClient(self._node, RunPolicy, "policy/run_policy")

    def __enter__(self) -> "LiveCell":
        return self

    def __exit__(self, *exception: object) -> None:
        self._runner.destroy()
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    @property
    def task(self) -> TaskStatus:
        """The newest status of the task."""
        assert self._task is not None, "connect first"
        return self._task

    @property
    def policy(self) -> PolicyStatus:
        """The newest status of the policy."""
        assert self._policy is not None, "connect first"
        return self._policy

    def connect(self, *, simulated: bool = True) -> PolicyStatus:
        """Find the policy, and the simulation where there shall be one.

        Raises:
            EvaluationError: one does not run, or the policy was stopped by somebody.
        """
        if simulated:
            self._find(lambda: self._task is not None, "the simulation", "sim_robot/task_status")
        self._find(lambda: self._policy is not None, "the policy", "policy/status")
        self._find(self._runner.server_is_ready, "the policy", "policy/run_policy")
        if self.policy.state == PolicyStatus.STOPPED:
            raise EvaluationError("the policy is stopped; see why, then: evo1 clear-stop")
        if self.policy.dry_run:
            raise EvaluationError(
                "the policy runs dry and moves nothing; start it without dry_run"
            )
        return self.policy

    def bring_to_rest(self) -> None:
        """Have the policy idle and the arm at rest."""
        self._policy = None  # what was heard may be of before the last run ended
        self.wait(lambda: self._policy is not None, "message on policy/status")
        if self.policy.state == PolicyStatus.IDLE:
            return
        self.trigger("policy/stop")
        self.trigger("policy/clear_stop")
        self.wait(lambda: self.policy.state == PolicyStatus.IDLE, "policy/status to be IDLE")

    def trigger(self, name: str) -> Trigger.Response:
        """Call one of the services of policy or recorder."""
        return self._call(Trigger, name, Trigger.Request())

    def instruct_recorder(self, words: str) -> None:
        """Tell the recorder what the next take shows.

        Raises:
            EvaluationError: it does not run, or refuses.
        """
        request = SetInstruction.Request(instruction=words)
        answer = self._call(SetInstruction, "recorder/set_instruction", request)
        if not answer.success:
            raise EvaluationError(f"the recorder refuses the instruction: {answer.message}")

    def disturb(self, name: str) -> None:
        """Have the simulation's next reset make a disturbance."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=name)
        request = SetParametersAtomically.Request(
            parameters=[Parameter(name="disturbance", value=value)]
        )
        result = self._call(
            SetParametersAtomically, "sim_robot/set_parameters_atomically", request
        ).result
        if not result.successful:
            raise EvaluationError(f"the simulation refuses disturbance {name}: {result.reason}")

    def reset(self, task: str, seed: int) -> None:
        """Put the scene into a start state."""
        answer = self._call(ResetTask, "sim_robot/reset", ResetTask.Request(task=task, seed=seed))
        if not answer.success:
            raise EvaluationError(f"the simulation refuses to reset: {answer.message}")
        self._task = None
        self.wait(lambda: self._task is not None, "message on sim_robot/task_status")

    def run_policy(self, goal: RunPolicy.Goal) -> Run:
        """Have the policy run."""
        sent = self._runner.send_goal_async(goal)
        self.wait(sent.done, "answer of policy/run_policy")
        handle = sent.result()
        if not handle.accepted:
            raise EvaluationError("the policy refuses to run; its log says why")
        return Run(result=handle.get_result_async(), cancel=handle.cancel_goal_async)

    def wait(self, done: Callable[[], bool], what: str, *, timeout_s: float | None = None) -> None:
        """Let messages in until a condition holds.

        Raises:
            EvaluationError: it did not within the time.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        end = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > end:
                raise EvaluationError(
                    f"no {what} within {limit_s:g} s; does the system still run?"
                )
            self._executor.spin_once(timeout_sec=0.1)

    def _find(self, there: Callable[[], bool], who: str, name: str) -> None:
        try:
            self.wait(there, name)
        except EvaluationError:
            resolved = self._node.resolve_topic_name(name)
            raise EvaluationError(
                f"{who} does not run: nobody offers {resolved} after {self._timeout_s:g} s; "
                f"{START}"
            ) from None

    def _call(self, kind: Any, name: str, request: object) -> Any:
        client = self._node.create_client(kind, name)
        try:
            self._find(client.service_is_ready, f"the node of {name}", name)
            future = client.call_async(request)
            self.wait(future.done, f"answer of {name}")
            return future.result()
        finally:
            self._node.destroy_client(client)

    def _on_task(self, message: TaskStatus) -> None:
        self._task = message

    def _on_policy(self, message: PolicyStatus) -> None:
        self._policy = message
