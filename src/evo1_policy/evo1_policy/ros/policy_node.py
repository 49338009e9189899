"""The policy node: a lifecycle node that wires topics, policy and loop together.

Three threads: the executor's serves people and timers and never blocks, but for loading the
checkpoint; the reading thread takes frames and joints; the inference thread runs the network. All
step the loop through the runner, which has the lock.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evo1_msgs.msg import ActionChunk, PolicyStatus
from rclpy.guard_condition import GuardCondition
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer

from evo1_policy.control.chunks import unseen
from evo1_policy.control.signals import LoopState, LoopStatus, Request, TakeoverMode, Transition
from evo1_policy.kinematics.collision import workspace_of
from evo1_policy.node_parameters import (
    POLICY_PARAMETERS,
    ParameterError,
    PolicyParameters,
    dead_man_button,
    loop_settings,
)
from evo1_policy.observation import instruction_problem
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_policy.ros.goals import Goals
from evo1_policy.ros.inference_thread import InferenceThread, PolicyFactory, load_policy
from evo1_policy.ros.listening import Listener
from evo1_policy.ros.log import tell_failure
from evo1_policy.ros.movers import other_movers
from evo1_policy.ros.outputs import Interventions, Outputs
from evo1_policy.ros.parameters import declare_parameters, keep_parameters, read_parameters
from evo1_policy.ros.process import ManagedNode, full_name, run_managed, steady_timer
from evo1_policy.ros.qos import JOY_TOPIC
from evo1_policy.ros.reading_thread import ReadElsewhere
from evo1_policy.ros.runner import Runner, Setup, unaskable
from evo1_policy.ros.services import Answer, Services
from evo1_policy.ros.status import StateLog, describe, log_collisions, took_effect
from evo1_policy.ros.subscriptions import Sensors, resolve_topics

WATCHDOG_PERIOD_S = 0.04  # holds when no message comes to step the loop
STATUS_PERIOD_S = 0.2  # a change of state is told at once
DIAGNOSTICS_EVERY = 5  # status periods
LOOK_EVERY = 2  # status periods, to see who else moves this arm
REST_S, POLL_S = 1.5, 0.02  # how long deactivating may take, for the arm to come to rest
REPEAT_S = 2.0  # a target that is not followed is logged this often


@dataclass(frozen=True, kw_only=True)
class Configured:
    """What exists from configure to cleanup."""

    parameters: PolicyParameters
    robot: RobotConfig  # topics as written
    setup: Setup
    outputs: Outputs
    interventions: Interventions
    inference: InferenceThread
    alarm: GuardCondition
    services: Services
    goals: Goals
    learnt: tuple[str, ...]  # instructions; empty where unknown


@dataclass(frozen=True, kw_only=True)
class Active:
    """What exists from activate to deactivate."""

    runner: Runner
    sensors: Sensors
    watchdog: Timer


class PolicyNode(ManagedNode):
    """Cameras and joints in, checked trajectories out.

    Args:
        policy_factory: makes the policy when the node is configured.
        arguments: go to the node's constructor.
    """

    def __init__(self, policy_factory: PolicyFactory = load_policy, **arguments: object) -> None:
        super().__init__("policy", **arguments)
        declare_parameters(self, PolicyParameters)
        self._policy_factory = policy_factory
        self._configured: Configured | None = None
        self._active: Active | None = None
        self._state_log = StateLog()
        self._stop_latched = False  # outlives deactivation: no restart after a stop
        self._start_wanted = False  # autostart waits for an instruction
        self._instruction, self._speed = "", 1.0
        self._arm_fault = ""  # of the arm's driver
        self._ticks = 0
        self._failure: BaseException | None = None  # of a thread, for the executor to raise
        # always there, so that a signal is seen while the node is inactive
        self._status_timer = steady_timer(self, STATUS_PERIOD_S, self._report)
        keep_parameters(
            self,
            POLICY_PARAMETERS,
            while_=lambda: self._configured is not None,
            live={"instruction": self.set_instruction, "speed": self.set_speed},
        )

    # -- lifecycle -------------------------------------------------------------------------

    def may_end(self) -> bool:
        """Asked again and again before the process ends: the arm rests, where it parks."""
        if self._active is None or self._configured is None:
            return True
        return self._active.runner.come_home(park=self._configured.robot.park is not None)

    def tell_end(self, why: str) -> None:
        """Say on ~/status that the node ends."""
        if self._configured is not None:
            self._configured.outputs.status.publish(
                PolicyStatus(state=PolicyStatus.STOPPED, reason_code="ended", reason=why)
            )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the robot file, load the policy, offer topics, services and the action."""
        try:
            parameters = read_parameters(self, PolicyParameters)
            self._instruction, self._speed = parameters.instruction.strip(), parameters.speed
            self._configured = self._configure(parameters)
        except (ValueError, OSError) as error:
            self.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001  rclpy would swallow it; the log must show it
            tell_failure(self.get_logger(), "cannot configure")
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the sensors and run the loop; autostart begins to move."""
        configured = self._configured
        if configured is None:
            return TransitionCallbackReturn.ERROR
        configured.inference.forget()
        listener = Listener(self, group=ReadElsewhere())
        runner = Runner(
            setup=configured.setup,
            outputs=configured.outputs,
            inference=configured.inference,
            now_ns=self._now_ns,
            instruction=self._instruction,
            speed=self._speed,
            on_change=self._on_change,
            on_refused=self._refuse,
            heard_twice=listener.second_source,
            dead_man=dead_man_button(configured.parameters, self.resolve_topic_name(JOY_TOPIC)),
        )
        self._active = Active(
            runner=runner,
            sensors=Sensors(
                self,
                listener=listener,
                robot=configured.robot,
                runner=runner,
                now_ns=self._now_ns,
                on_failure=self._fail,
                takeover=configured.setup.settings.takeover is not TakeoverMode.OFF,
                dead_man=configured.parameters.dead_man != "none",
            ),
            watchdog=steady_timer(self, WATCHDOG_PERIOD_S, self._watch),
        )
        configured.goals.attach(runner)
        runner.report_fault(self._arm_fault)
        if self._stop_latched:
            runner.request(Request.STOP)
        self._warn_of(unseen(self._instruction, configured.learnt) if self._instruction else "")
        self._start_wanted = configured.parameters.autostart and not self._stop_latched
        self._start_if_wanted()
        self.get_logger().info(f"active; {describe(runner.status)}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Send the arm to rest, then stop listening and sending."""
        active = self._active
        if active is not None:
            if active.runner.status.state is not LoopState.STOPPED:
                active.runner.request(Request.FINISH)
            end_s = time.monotonic() + REST_S
            while active.runner.status.moving and time.monotonic() < end_s:
                time.sleep(POLL_S)
                active.runner.step()
            self._active = None
            active.sensors.close()
            self.destroy_timer(active.watchdog)
        if self._configured is not None:
            self._configured.goals.attach(None)
            self._configured.inference.forget()
        return super().on_deactivate(state)

    # -- what people ask -------------------------------------------------------------------

    def set_instruction(self, text: str, transition: str = "") -> Answer:
        """Change the instruction; `transition` in words, '' for the parameter's."""
        if problem := instruction_problem(text):
            return self._refuse(problem)
        text = text.strip()
        try:
            change = Transition.of(transition) if transition else None
        except ValueError as error:
            return False, str(error)
        before, self._instruction = self._instruction, text
        if self._active is not None and text != before:
            self._active.runner.set_instruction(text, change)
        self._start_if_wanted()
        warning = unseen(text, self._configured.learnt) if self._configured else ""
        if text != before:
            self.get_logger().info(f"instruction: '{text}'")
            self._warn_of(warning)
        done = f"replaced '{before}'" if before else "set"
        return True, f"{done}; {warning}" if warning else done

    def set_speed(self, speed: float) -> Answer:
        """Change the share of the policy's own pace; ParameterError outside of its span."""
        POLICY_PARAMETERS["speed"].check(speed)
        before, self._speed = self._speed, speed
        if self._active is not None:
            self._active.runner.set_speed(speed)
        return True, f"{100 * speed:.0f} % of the policy's pace, before {100 * before:.0f} %"

    def ask(self, request: Request) -> Answer:
        """Hand a request to the loop; answer whether it took effect, with state and reason."""
        if request in (Request.STOP, Request.CLEAR_STOP):
            self._stop_latched = request is Request.STOP
            self._start_wanted = False
        if self._active is None:
            if self._stop_latched:
                return request is Request.STOP, "STOPPED; the node is not active"
            return request is Request.CLEAR_STOP, "the node is not active; activate it first"
        runner, setup = self._active.runner, self._configured.setup if self._configured else None
        if problem := unaskable(request, runner.status, self._instruction, setup):
            return False, problem
        status = runner.request(request)
        if request is Request.CLEAR_STOP and self._configured is not None:
            self._configured.services.stop.tell_cleared()
        return took_effect(request, status), describe(status)

    def start_goal(self, instruction: str) -> str:
        """Start for the run_policy action; answer why not, or ''."""
        if self._active is None:
            return "the node is not active"
        status = self._active.runner.status
        if status.state is LoopState.STOPPED:
            return f"{describe(status)}; call ~/clear_stop first"
        if status.state is LoopState.TAKEOVER:
            return f"{describe(status)}; call ~/hand_back first"
        if status.reason is not None and status.reason.code.waits_for_a_person:
            return f"{describe(status)}; call ~/resume first"
        set_, problem = self.set_instruction(instruction) if instruction.strip() else (True, "")
        if not set_:
            return problem
        if not self._instruction:
            return "no instruction; give one in the goal"
        self.ask(Request.RESUME)
        return ""

    # -- events ----------------------------------------------------------------------------

    def report_fault(self, fault: str) -> None:
        """Hear why the arm's driver has stopped; empty when it goes on."""
        self._arm_fault = fault
        if self._active is not None:
            self._active.runner.report_fault(fault)

    def _on_result(self) -> None:
        """On the inference thread: what waits for the executor comes late."""
        active = self._active
        if active is None:
            return
        try:
            active.runner.step()
        except Exception as error:  # noqa: BLE001  the thread would die in silence
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Have the executor raise what a thread met: the node ends, the arm at rest."""
        self._failure = error
        if self._configured is not None:
            self._configured.alarm.trigger()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        if self._active is not None and self._configured is not None:
            self._active.runner.step_if_quiet()
            self._configured.goals.tick()

    def _refuse(self, why: str) -> Answer:
        self.get_logger().warning(f"not followed: {why}", throttle_duration_sec=REPEAT_S)
        return False, why

    def _warn_of(self, what: str) -> None:
        if what:
            self.get_logger().warning(what)

    def _on_change(self, status: LoopStatus) -> None:
        if self._configured is not None:
            self._configured.interventions.follow(status, self._now_ns())
        self._state_log.tell(status, self._now_ns(), self.get_logger())
        self._publish_status()

    def _report(self) -> None:
        self._publish_status()
        self._ticks += 1
        if self._ticks % LOOK_EVERY == 0 and self._active and self._configured:
            self._configured.outputs.look_around(self._active.runner.joint_parts)
        if self._ticks % DIAGNOSTICS_EVERY == 0 and self._active and self._configured:
            told = self._active.runner.diagnostics(full_name(self))
            self._configured.outputs.diagnostics.publish(told)

    def _publish_status(self) -> None:
        if self._active is not None and self._configured is not None:
            told = self._active.runner.told()
            self._configured.outputs.status.publish(told)
            self._state_log.tell_clocks(told.streams, self.get_logger())

    def _start_if_wanted(self) -> None:
        if self._start_wanted and self._active is not None and self._instruction:
            self._start_wanted = False
            self._active.runner.request(Request.START)

    # -- making and releasing --------------------------------------------------------------

    def _configure(self, parameters: PolicyParameters) -> Configured:
        robot, settings = load_robot(parameters.robot_file), loop_settings(parameters)
        topics = [output.topic for output in robot.command]
        others = other_movers(self, topics) if not settings.dry_run else []
        if others:
            raise ParameterError(
                f"{' and '.join(others)} moves this arm already; end it, or give another namespace"
            )
        workspace_of(robot)  # raises here, and not when the arm is about to move
        log_collisions(self.get_logger(), robot.safety.collision)
        self.get_logger().info(f"{robot.name}: loading the policy ...")
        policy = self._policy_factory(robot, parameters)
        policy.warm_up(parameters.instruction, guided=settings.mode == "rtc")
        if settings.execute_actions is None:
            settings = replace(settings, execute_actions=policy.execute_actions)
        self.get_logger().info(f"policy {policy.model_hash} on {policy.device} is ready")
        return Configured(
            parameters=parameters,
            robot=robot,
            setup=Setup(
                robot=resolve_topics(self, robot),
                model_hash=policy.model_hash,
                horizon=policy.horizon,
                settings=settings,
            ),
            outputs=Outputs(
                self,
                robot=robot,
                model=ActionChunk(
                    model_hash=policy.model_hash,
                    mode=settings.mode.value,
                    seed=parameters.seed,
                    denoising_steps=parameters.num_steps,
                    device=policy.device,
                ),
                dry_run=settings.dry_run,
            ),
            interventions=Interventions(self, self._now_ns()),
            inference=InferenceThread(policy, now_ns=self._now_ns, wake=self._on_result),
            alarm=self.create_guard_condition(self._raise_failure),
            services=Services(self),
            goals=Goals(self, now_ns=self._now_ns, start=self.start_goal),
            learnt=getattr(policy, "instructions", ()),
        )

    def _release(self) -> None:
        configured, self._configured = self._configured, None
        if configured is None:
            return
        configured.inference.close()
        configured.goals.close()
        configured.services.close()
        configured.interventions.close(self._now_ns())
        configured.outputs.close()
        self.destroy_guard_condition(configured.alarm)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit status is 1 where it cannot start."""
    sys.setswitchinterval(0.0005)  # the inference thread waits so long for the interpreter
    return run_managed(PolicyNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
