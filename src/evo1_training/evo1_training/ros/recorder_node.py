"""The recorder node: a lifecycle node that wires topics, people and the session together.

Three threads: the executor's serves people and timers; the reading thread takes messages and only
queues them; the writer's waits for the disk. A take that runs when the node is deactivated or
gets SIGINT or SIGTERM is saved.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from evo1_msgs.msg import RecorderStatus
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.guard_condition import GuardCondition
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher

from evo1_policy.command_line import printable
from evo1_policy.node_parameters import parameters_of
from evo1_policy.perception.messages import prepare_reading
from evo1_policy.robot_config import RobotConfig, load_robot
from evo1_policy.ros.log import tell_failure
from evo1_policy.ros.parameters import keep_parameters
from evo1_policy.ros.process import ManagedNode, full_name, run_managed
from evo1_policy.ros.publishing import time_message
from evo1_policy.ros.qos import report_qos
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.packing import read_packings
from evo1_training.recording.pre_roll import MEGABYTE, PreRoll, give_back_free_memory
from evo1_training.recording.session import Session
from evo1_training.recording.take import TakeResult, TakeState
from evo1_training.ros.recorder_desk import CANCELLED, Answer, Desk, Goals, Services, describe
from evo1_training.ros.recorder_inputs import Inputs
from evo1_training.ros.recorder_parameters import (
    EXTRA_TOPICS,
    RecorderParameters,
    declare_parameters,
    read_parameters,
)
from evo1_training.ros.recorder_status import StreamLog, diagnostics_message, status_message

TICK_S = 0.1
STATUS_EVERY = 2  # ticks: 5 Hz
SECOND = 10  # ticks: diagnostics, and a look at the graph


@dataclass(frozen=True, kw_only=True)
class Configured:
    """What exists from configure to cleanup."""

    parameters: RecorderParameters
    robot: RobotConfig
    status: Publisher
    diagnostics: Publisher
    news: GuardCondition
    desk: Desk
    services: Services
    goals: Goals


@dataclass(frozen=True, kw_only=True)
class Active:
    """What exists from activate to deactivate."""

    session: Session
    inputs: Inputs


class RecorderNode(ManagedNode):
    """Topics in, episodes on the disk.

    Args:
        arguments: go to the node's constructor.
    """

    def __init__(self, **arguments: object) -> None:
        super().__init__("recorder", **arguments)
        declare_parameters(self)
        self._configured: Configured | None = None
        self._active: Active | None = None
        keep_parameters(
            self,
            (*parameters_of(RecorderParameters), EXTRA_TOPICS),
            while_=lambda: self._configured is not None,
            live={"instruction": self._instruct},
        )
        self._ticks = 0
        self._state = TakeState.IDLE
        self._stream_log = StreamLog()
        self._failure: BaseException | None = None  # of a thread, for the executor to raise
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a stopped /clock must not stop it
        self._timer = self.create_timer(TICK_S, self._tick, clock=steady)

    # -- lifecycle -------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the robot file; offer topics, services and the action."""
        try:
            parameters = read_parameters(self)
            robot = load_robot(parameters.robot_file)
            read_packings(parameters.compress)
            EpisodeStore(Path(parameters.root))  # or say now that it cannot be written
            prepare_reading()
        except (ValueError, OSError) as error:
            self.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001  rclpy would swallow it; the log must show it
            tell_failure(self.get_logger(), "cannot configure")
            return TransitionCallbackReturn.FAILURE
        desk = Desk(
            instruction=parameters.instruction,
            operator=parameters.operator_name,
            refresh=self._refresh,
            advance=self._advance,
            conclude=self._conclude,
        )
        self._configured = Configured(
            parameters=parameters,
            robot=robot,
            status=self.create_publisher(RecorderStatus, "~/status", report_qos()),
            diagnostics=self.create_publisher(DiagnosticArray, "/diagnostics", report_qos()),
            news=self.create_guard_condition(self._advance),
            desk=desk,
            services=Services(self, desk),
            goals=Goals(self, desk),
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to everything that a take will hold."""
        configured = self._configured
        if configured is None:
            return TransitionCallbackReturn.ERROR
        parameters = configured.parameters
        try:
            store = EpisodeStore(Path(parameters.root), keep_deleted=parameters.keep_deleted)
        except OSError as error:
            self.get_logger().error(f"cannot activate: root: {error}")
            return TransitionCallbackReturn.FAILURE
        session = Session(
            configured.robot,
            store,
            now_ns=self._now_ns,
            min_free_gb=parameters.min_free_gb,
            pre_roll=PreRoll(
                round(parameters.pre_roll_s * 1e9), parameters.pre_roll_mb * MEGABYTE
            ),
            packings=read_packings(parameters.compress),
            max_unusable=parameters.max_unusable,
            on_news=configured.news.trigger,
        )
        inputs = Inputs(
            self,
            robot=configured.robot,
            session=session,
            now_ns=self._now_ns,
            on_failure=self._fail,
        )
        self._active = Active(session=session, inputs=inputs)
        configured.desk.session = session
        self._refresh()
        self.get_logger().info(f"{configured.robot.name}: episodes go to {store.root}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Save the running take, then stop listening."""
        active = self._active
        if active is not None:
            waited = active.session.take.state is TakeState.WAITING
            result = active.session.close()
            if waited:
                result = TakeResult(saved=False, reason="the recorder was deactivated")
            if result is not None:
                self._conclude(result)
            active.inputs.close()
            self._active = None
            if self._configured is not None:
                self._configured.desk.session = None
            self._last_words(RecorderStatus.IDLE, "the recorder was deactivated")
        return super().on_deactivate(state)

    def tell_end(self, why: str) -> None:
        """Say on ~/status that the node ends; a take that runs is saved."""
        self._last_words(RecorderStatus.FAULT, f"{printable(why)}; its take is saved")

    # -- events ----------------------------------------------------------------------------

    def _tick(self) -> None:
        self._ticks += 1
        if self._active is None:
            return
        if self._ticks % SECOND == 0:
            self._refresh()
        self._advance()
        if self._ticks % STATUS_EVERY == 0:
            self._report(diagnostics=self._ticks % SECOND == 0)

    def _advance(self) -> None:
        """Go on with the take: open its file, or see that it has ended."""
        if self._failure is not None:
            raise self._failure
        active = self._active
        if active is None:
            return
        before = active.session.take.state
        result = active.session.tick(active.inputs.second_source() or "")
        if before is TakeState.WAITING and active.session.take.state is TakeState.RECORDING:
            active.inputs.hear_latched_again(self._patterns())
        if result is not None:
            self._conclude(result)
            give_back_free_memory()
        if active.session.take.state is not self._state:
            self._state = active.session.take.state
            self.get_logger().info(active.session.take.describe())
            self._report(diagnostics=False)

    def _conclude(self, result: TakeResult) -> None:
        """Tell everybody how a take ended."""
        if result.reason and result.reason != "discarded" and result != CANCELLED:
            self.get_logger().error(describe(result))
        else:
            self.get_logger().info(describe(result))
        if self._configured is not None:
            self._configured.desk.concluded(result)
            self._configured.goals.conclude(result)

    def _report(self, *, diagnostics: bool) -> None:
        active, configured = self._active, self._configured
        if active is None or configured is None:
            return
        report, now_ns = active.inputs.named(active.session.report()), self._now_ns()
        for line in self._stream_log.lines(report):
            self.get_logger().warning(line)
        message = status_message(report, now_ns=now_ns, instruction=configured.desk.instruction)
        configured.status.publish(message)
        configured.goals.tick(report.take, message)
        if diagnostics:
            configured.diagnostics.publish(
                diagnostics_message(report, now_ns=now_ns, node_name=full_name(self))
            )

    def _fail(self, error: BaseException) -> None:
        """Have the executor raise what the reading thread met: the node ends, its take saved."""
        self._failure = error
        if self._configured is not None:
            self._configured.news.trigger()

    def _last_words(self, state: int, reason: str) -> None:
        """Say on ~/status why nothing more comes, and wait a little until it was heard."""
        if self._configured is None:
            return
        message = RecorderStatus(state=state, reason=reason)
        message.header.stamp = time_message(self._now_ns())
        self._configured.status.publish(message)
        with suppress(RuntimeError):  # the context may have ended
            self._configured.status.wait_for_all_acked(Duration(seconds=0.5))

    def _instruct(self, text: str) -> Answer:
        return self._configured.desk.set_instruction(text) if self._configured else (True, "")

    def _refresh(self) -> None:
        if self._active is not None:
            recording = self._active.session.take.state is TakeState.RECORDING
            self._active.inputs.refresh(self._patterns(), recording=recording)

    def _patterns(self) -> tuple[str, ...]:
        configured = self._configured
        if configured is None:
            return ()
        return (*configured.parameters.extra_topics, *configured.desk.extra)

    def _release(self) -> None:
        configured, self._configured = self._configured, None
        if configured is None:
            return
        configured.goals.close()
        configured.services.close()
        self.destroy_guard_condition(configured.news)
        self.destroy_publisher(configured.status)
        self.destroy_publisher(configured.diagnostics)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit status is 1 where it cannot start."""
    sys.setswitchinterval(0.0005)  # the reading thread waits so long for the interpreter
    return run_managed(RecorderNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
