"""A robot, and a closed loop around PolicyLoop: clock, inference, controller, arm."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from evo1_policy.action_chunk import ActionChunk, Trajectory
from evo1_policy.control.policy_loop import LoopSettings, PolicyLoop
from evo1_policy.control.signals import (
    HeldState,
    InferenceDone,
    InferenceFailed,
    InferenceRequest,
    LoopInput,
    LoopOutput,
    LoopState,
    Request,
    StopCode,
)
from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.observation import JointSample, Missing, Observation
from evo1_policy.robot_config import RobotConfig, parse_robot

ROBOT = """
name: mini
embodiment: mini
rate_hz: 30
joints:
  - {name: shoulder, position: [-2.0, 2.0], velocity: 1.5, acceleration: 6.0}
  - {name: elbow, position: [-0.5, 1.0], velocity: 2.0, acceleration: 8.0}
  - {name: jaw, position: [0.0, 0.85], velocity: 2.0, acceleration: 10.0}
gripper: {joint: jaw, open: 0.0, closed: 0.85}
cameras:
  - {name: image_1, topic: env/image, type: sensor_msgs/msg/Image, max_age_ms: 150}
  - {name: image_2, topic: wrist/image, type: sensor_msgs/msg/Image, max_age_ms: 150}
state: {topic: joint_states, max_age_ms: 100}
command:
  - {topic: arm/joint_trajectory, joints: [shoulder, elbow, jaw], rate_hz: 150}
teleop: {topic: teleop/joint_trajectory}
home: {shoulder: 0.0, elbow: 0.2, jaw: 0.4}
max_skew_ms: 17
safety: {max_start_error_rad: 0.6, max_tracking_error_rad: 0.35}
"""
MS = 1_000_000
FRAME_NS = 33_333_333
HOME = np.array([0.0, 0.2, 0.4])


def hermite(trajectory: Trajectory, per_segment: int = 16):
    """Times [ns], positions, velocities, accelerations of the curve, by the basis polynomials.

    Written apart from the code under test on purpose.
    """
    t = np.asarray(trajectory.times_ns(), dtype=np.float64)
    u = np.linspace(0.0, 1.0, per_segment + 1)[None, :, None]
    h = (np.diff(t) / 1e9)[:, None, None]
    p0, p1 = trajectory.positions[:-1, None], trajectory.positions[1:, None]
    m0, m1 = trajectory.velocities[:-1, None] * h, trajectory.velocities[1:, None] * h
    d = p1 - p0
    q = p0 + (3 * u**2 - 2 * u**3) * d + (u - 2 * u**2 + u**3) * m0 + (u**3 - u**2) * m1
    v = ((6 * u - 6 * u**2) * d + (1 - 4 * u + 3 * u**2) * m0 + (3 * u**2 - 2 * u) * m1) / h
    a = ((6 - 12 * u) * d + (6 * u - 4) * m0 + (6 * u - 2) * m1) / h**2
    width = trajectory.positions.shape[1]
    times = t[:-1, None] + u[0, :, 0][None] * np.diff(t)[:, None]
    return times.ravel(), *(x.reshape(-1, width) for x in (q, v, a))


def executed_at(trajectory: Trajectory | None, time_ns: float, rest: np.ndarray) -> np.ndarray:
    """Where a controller is that executes `trajectory` by the clock."""
    if trajectory is None:
        return rest
    t = trajectory.times_ns()
    if time_ns <= t[0]:
        return trajectory.positions[0]
    if time_ns >= t[-1]:
        return trajectory.positions[-1]
    i = int(np.searchsorted(t, time_ns, side="right")) - 1
    h, u = (t[i + 1] - t[i]) / 1e9, (time_ns - t[i]) / (t[i + 1] - t[i])
    return (
        (1 + 2 * u) * (1 - u) ** 2 * trajectory.positions[i]
        + u * (1 - u) ** 2 * h * trajectory.velocities[i]
        + u**2 * (3 - 2 * u) * trajectory.positions[i + 1]
        + u**2 * (u - 1) * h * trajectory.velocities[i + 1]
    )


def rest_ns(trajectory: Trajectory) -> int:
    """When a trajectory has come to rest."""
    moving = np.flatnonzero(trajectory.velocities.any(axis=1))
    return int(trajectory.times_ns()[moving[-1] + 1 if len(moving) else 0])


class Cell:
    """A loop, an arm that follows perfectly after `lag_ns`, and an inference that takes time.

    Attributes that a test may change between steps: `observe` (off: that Missing instead),
    `frozen_arm`, `controller_problem`, `arm_fault`, `latency_ns`, `actions`, `failure`,
    `clock_offset_ns`.
    """

    def __init__(
        self,
        robot: RobotConfig,
        *,
        actions: Callable[[float], np.ndarray],
        latency_ns: Callable[[], int | None] = lambda: 100 * MS,
        settings: LoopSettings | None = None,
        horizon: int = 50,
        start: np.ndarray = HOME,
        delivery_ns: Callable[[], int] = lambda: 2 * MS,
        lag_ns: int = 30 * MS,
        start_ns: int = 1_000 * 1_000 * MS,
    ) -> None:
        self.robot = robot
        self.loop = PolicyLoop(robot, settings or LoopSettings(), None)
        self.actions, self.latency_ns, self.horizon = actions, latency_ns, horizon
        self.delivery_ns, self.lag_ns = delivery_ns, lag_ns
        self.true_ns = start_ns
        self.clock_offset_ns = 0
        self.start = start
        self.instruction = "pick up the can"
        self.speed = 1.0
        self.missing: Missing | None = None
        self.unmeasured = False
        self.controller_problem: str | None = None
        self.second_source: str | None = None
        self.says_held = False  # whether the controllers say what they hold ...
        self.holds: np.ndarray | None = None  # ... and what that is, where it is not what was sent
        self.behind_ns = 0  # how late the controller executes what it has
        self.arm_fault: str | None = None
        self.dead_man: str | None = None
        self.targets: tuple[TeleopTarget, ...] = ()  # of the next step
        self.failure: str | None = None
        self.failure_code = StopCode.INFERENCE_FAILED
        self.spoil: Callable[[ActionChunk], ActionChunk] = lambda chunk: chunk
        self.shove = np.zeros(robot.width)
        self.sent: list[Trajectory] = []
        self.switches: list[tuple[int, Trajectory | None, Trajectory]] = []
        self.active: Trajectory | None = None
        self._queue: list[tuple[int, Trajectory]] = []
        self._pending: list[tuple[int, InferenceRequest, int]] = []
        self.outputs: list[LoopOutput] = []
        self.asked: list[InferenceRequest] = []

    @property
    def now_ns(self) -> int:
        return self.true_ns + self.clock_offset_ns

    @property
    def output(self) -> LoopOutput:
        return self.outputs[-1]

    @property
    def state(self) -> LoopState:
        return self.output.status.state

    @property
    def code(self) -> str | None:
        reason = self.output.status.reason
        return None if reason is None else reason.code.value

    def position(self, now_ns: int | None = None) -> np.ndarray:
        now_ns = self.now_ns if now_ns is None else now_ns
        return executed_at(self.active, now_ns - self.behind_ns, self.start) + self.shove

    def held(self) -> HeldState:
        """What a controller of 150 Hz said last."""
        stamp = (self.now_ns - 3 * MS) // 6_666_667 * 6_666_667
        at_ns = stamp - self.behind_ns
        where = [executed_at(self.active, at_ns + dt * MS, self.start) for dt in (-1, 0, 1)]
        velocities = (where[2] - where[0]) / 2e-3
        if self.holds is not None:
            where[1], velocities = self.holds, np.zeros_like(self.holds)
        return HeldState(
            positions=where[1],
            velocities=velocities,
            stamps_ns=np.full(self.robot.width, stamp),
            received_ns=self.now_ns,
            delay_ns=3 * MS,
        )

    def moving(self) -> bool:
        return bool(np.abs(self.position() - self.position(self.now_ns - 2 * MS)).max() > 1e-9)

    def observation(self) -> Observation | Missing:
        if self.missing is not None:
            return self.missing
        stamp = (self.now_ns - 12 * MS) // FRAME_NS * FRAME_NS
        return Observation(
            images={},
            state=self.position(stamp),
            instruction=self.instruction,
            stamp_ns=stamp,
            received_ns=self.now_ns,
            skew_ns=0,
        )

    def step(self, *requests: Request) -> LoopOutput:
        """One step at the present time, then 10 ms pass."""
        for arrival, trajectory in [m for m in self._queue if m[0] <= self.true_ns]:
            self._queue.remove((arrival, trajectory))
            self.switches.append((arrival + self.clock_offset_ns, self.active, trajectory))
            self.active = trajectory
        stamp = self.now_ns - 5 * MS
        output = self.loop.step(
            LoopInput(
                now_ns=self.now_ns,
                observation=self.observation(),
                measured=None
                if self.unmeasured
                else JointSample(positions=self.position(stamp - self.lag_ns), stamp_ns=stamp),
                held=self.held() if self.says_held else None,
                controller_problem=self.controller_problem,
                second_source=self.second_source,
                arm_fault=self.arm_fault,
                dead_man=self.dead_man,
                teleop=self.targets,
                inference=self._result(),
                requests=requests,
                speed=self.speed,
            )
        )
        self.outputs.append(output)
        self.targets = ()
        if output.infer is not None:
            assert not self._pending, "two inferences in flight"
            self.asked.append(output.infer)
            latency = self.latency_ns()
            if latency is not None:
                self._pending.append((self.true_ns + latency, output.infer, self.true_ns))
        if output.command is not None:
            self.sent.append(output.command.trajectory)
            self._queue.append((self.true_ns + self.delivery_ns(), self.sent[-1]))
        self.true_ns += 10 * MS
        return output

    def _result(self) -> InferenceDone | InferenceFailed | None:
        if not self._pending or self._pending[0][0] > self.true_ns:
            return None
        due, request, started = self._pending.pop(0)
        if self.failure is not None:
            return InferenceFailed(
                request_id=request.request_id, error=self.failure, code=self.failure_code
            )
        start_ns = request.observation.stamp_ns + self.robot.step_ns
        at = (start_ns + np.arange(self.horizon) * self.robot.step_ns) / 1e9
        chunk = ActionChunk(
            actions=np.array([self.actions(t) for t in at]),
            start_ns=start_ns,
            step_ns=self.robot.step_ns,
            observation_stamp_ns=request.observation.stamp_ns,
            instruction=request.observation.instruction,
        )
        return InferenceDone(
            request_id=request.request_id,
            chunk=self.spoil(chunk),
            started_ns=started,
            finished_ns=due,
        )

    def run(self, seconds: float, *requests: Request) -> LoopOutput:
        """Steps for a while, the requests in the first one."""
        for i in range(round(seconds * 100)):
            self.step(*(requests if i == 0 else ()))
        return self.output

    def run_until(self, condition: Callable[[], bool], *, within_s: float = 5.0) -> LoopOutput:
        for _ in itertools.repeat(None, round(within_s * 100)):
            self.step()
            if condition():
                return self.output
        raise AssertionError(f"did not happen within {within_s} s; {self.output.status}")


def waves(speed: float = 1.5, size: float = 0.25) -> Callable[[float], np.ndarray]:
    """A smooth motion inside the limits, as a function of the clock [s]."""

    def actions(t: float) -> np.ndarray:
        return HOME + size * np.array([1.0, 0.8, 0.3]) * (
            np.sin(speed * t + np.array([0.0, 1.0, 2.0])) - np.sin(np.array([0.0, 1.0, 2.0]))
        )

    return actions


def comes_to_rest(kit, cell, code):
    """The arm rests within the limits' stopping time and two periods; the reason is `code`."""
    at = cell.now_ns - 10 * MS
    assert cell.state is LoopState.HOLDING
    assert cell.code == code
    assert cell.output.status.reason.message
    assert cell.output.command is not None
    speed = np.abs(cell.active.sample(at)[1])
    bound_ns = np.max(speed / kit.robot.acceleration_max) * 1e9 + 2 * kit.robot.step_ns
    assert kit.rest_ns(cell.sent[-1]) <= at + bound_ns + 1000
    cell.run(0.6)
    assert not cell.moving()
    place = cell.position()
    cell.run(0.5)
    assert np.allclose(cell.position(), place, rtol=0.0, atol=1e-12)


def resumes_by_itself(cell):
    cell.run_until(lambda: cell.state is LoopState.RUNNING, within_s=1.0)
    assert cell.output.status.reason is None
    cell.run_until(cell.moving, within_s=1.0)


def resumes_on_request(cell):
    """The cause is over, and nothing moves before a person says so."""
    stays(cell)
    assert not cell.output.status.recovers
    assert "resume to go on" in cell.output.status.reason.message
    cell.step(Request.RESUME)
    resumes_by_itself(cell)


def stays(cell, state=LoopState.HOLDING):
    sent = len(cell.sent)
    cell.run(2.0)
    assert cell.state is state
    assert len(cell.sent) == sent
    assert not cell.moving()


class Kit:
    """What tests build with; one session fixture, so that hypothesis may use it."""

    cell = Cell
    waves = staticmethod(waves)
    hermite = staticmethod(hermite)
    executed_at = staticmethod(executed_at)
    rest_ns = staticmethod(rest_ns)
    resumes_by_itself = staticmethod(resumes_by_itself)
    resumes_on_request = staticmethod(resumes_on_request)
    stays = staticmethod(stays)
    home = HOME

    def __init__(self, robot: RobotConfig) -> None:
        self.robot = robot

    def comes_to_rest(self, cell, code):
        """At once, for this reason, and stays there."""
        comes_to_rest(self, cell, code)

    def assert_sound(self, trajectory: Trajectory, *, inwards_from: np.ndarray | None = None):
        """No limit broken at any instant, and an end at rest."""
        times = trajectory.times_ns()
        assert np.all(np.diff(times) > 0)
        assert np.all(trajectory.velocities[-1] == 0.0)
        if len(times) == 1:
            return
        _, q, v, a = hermite(trajectory)
        robot = self.robot
        lower, upper = robot.position_min, robot.position_max
        if inwards_from is not None:
            lower, upper = np.minimum(lower, inwards_from), np.maximum(upper, inwards_from)
        assert np.isfinite(q).all()
        assert np.all(q <= upper + 1e-9)
        assert np.all(q >= lower - 1e-9)
        assert np.all(np.abs(v) <= robot.velocity_max * (1 + 1e-9))
        assert np.all(np.abs(a) <= robot.acceleration_max * (1 + 1e-9))

    def assert_seamless(self, cell: Cell):
        """No jump where the controller went from one trajectory to the next."""
        for time_ns, old, new in cell.switches:
            before = executed_at(old, time_ns, cell.start)
            after = executed_at(new, time_ns, cell.start)
            assert np.abs(after - before).max() <= 1e-6
        for output in cell.outputs:
            if output.seam is not None:
                assert output.seam.position_jump_rad <= 1e-6
                assert output.seam.velocity_jump_rad_s <= 1e-6

    def moving_cell(self, **options) -> Cell:
        """A cell that has run for 1.5 s."""
        cell = Cell(self.robot, **{"actions": waves(), **options})
        cell.run(1.5, Request.START)
        assert cell.state is LoopState.RUNNING, cell.output.status
        assert cell.moving()
        return cell


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit(parse_robot(ROBOT))
