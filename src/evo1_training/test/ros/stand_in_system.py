"""A stand-in for simulation and policy, over real DDS; after a while the task is solved."""

import threading
import time

import rclpy
from evo1_msgs.action import RunPolicy
from evo1_msgs.msg import PolicyStatus, TaskStatus
from evo1_msgs.srv import ResetTask, SetInstruction
from rcl_interfaces.msg import SetParametersResult
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from std_srvs.srv import Trigger

TASK_PERIOD_S = 0.02
SUCCEEDS_AFTER_S = 0.3


class StandInSystem:
    """Two nodes with the interfaces that an evaluation uses, and what was asked of them."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.calls, self.solvable, self.accepts = [], {1_000_000}, True
        self.ending, self.state, self.seed, self.began = "finished", 1, 0, 0.0
        self.running_since, self.model_hash, self.saves = None, "abc", []
        self.sim = rclpy.create_node("sim_robot", context=self.context)
        self.policy = rclpy.create_node("policy", context=self.context)
        self.executor = MultiThreadedExecutor(4, context=self.context)
        self._make_sim()
        self._make_policy()
        self._make_recorder()
        for node in (self.sim, self.policy, self.recorder):
            self.executor.add_node(node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def _make_sim(self):
        message, group = TaskStatus, ReentrantCallbackGroup()
        self.task = self.sim.create_publisher(message, "~/task_status", 10)
        self.sim.declare_parameter("disturbance", "none")
        self.sim.add_on_set_parameters_callback(self._disturb)
        self.sim.create_service(ResetTask, "~/reset", self._reset, callback_group=group)
        self.sim.create_timer(TASK_PERIOD_S, self._tell)

    def _make_policy(self):
        group = ReentrantCallbackGroup()
        self.status = self.policy.create_publisher(PolicyStatus, "~/status", 10)
        for name in ("stop", "clear_stop"):
            self.policy.create_service(
                Trigger,
                f"~/{name}",
                lambda request, response, name=name: self._trigger(name, response),
            )
        self.server = ActionServer(
            self.policy,
            RunPolicy,
            "~/run_policy",
            self._run,
            callback_group=group,
            goal_callback=lambda _: GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def _make_recorder(self):
        self.recorder = rclpy.create_node("recorder", context=self.context)
        for name in ("start", "save", "discard"):
            self.recorder.create_service(
                Trigger,
                f"~/{name}",
                lambda request, response, name=name: self._record(name, response),
            )
        self.recorder.create_service(SetInstruction, "~/set_instruction", self._instruct)

    def _record(self, name, response):
        self.calls.append(name)
        if name == "save":
            for save in self.saves:
                save()
        response.success = True
        return response

    def _instruct(self, request, response):
        self.calls.append(f"instruct {request.instruction}")
        response.success = True
        return response

    def _disturb(self, parameters):
        self.calls.append(f"disturb {parameters[0].value}")
        return SetParametersResult(successful=True)

    def _reset(self, request, response):
        self.calls.append(f"reset {request.task} {request.seed}")
        self.seed, self.began, self.running_since = request.seed, time.monotonic(), None
        response.success = request.task != "unknown"
        response.message = "no such task"
        return response

    def _trigger(self, name, response):
        self.calls.append(name)
        self.state = 0 if name == "clear_stop" else 4
        response.success = True
        return response

    def _tell(self):
        now, since = time.monotonic(), self.running_since
        solved = since is not None and self.seed in self.solvable
        solved = solved and now - since > SUCCEEDS_AFTER_S
        self.task.publish(
            TaskStatus(
                task="can_into_box",
                seed=self.seed,
                success=solved,
                detail="solved and at rest" if solved else "the can stands",
                elapsed_s=now - self.began,
            )
        )
        self.status.publish(
            PolicyStatus(state=self.state, robot="xarm6", model_hash=self.model_hash)
        )

    def _run(self, handle):
        goal = handle.request
        self.calls.append(f"run {goal.duration_s:.1f} {goal.instruction}")
        self.state, self.running_since = 1, time.monotonic()
        end = self.running_since + goal.duration_s
        while time.monotonic() < end and not handle.is_cancel_requested:
            if self.ending != "finished":
                break
            time.sleep(0.01)
        self.state = 0
        cancelled = handle.is_cancel_requested
        if cancelled:
            handle.canceled()
        else:
            handle.succeed()
        code = "cancelled" if cancelled else self.ending
        reason = "" if code in ("finished", "cancelled") else "joint1 met a wall"
        return RunPolicy.Result(reason_code=code, reason=reason, chunks=7)

    def close(self):
        self.executor.shutdown()
        self.thread.join()
        self.server.destroy()
        self.sim.destroy_node()
        self.policy.destroy_node()
        self.recorder.destroy_node()
        self.context.try_shutdown()
