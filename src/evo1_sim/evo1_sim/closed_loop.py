"""The policy's loop against the simulated trajectory controller, where promises break.

Everything is simulated time: the loop at 100 Hz, the controllers at their own rate, an arm that
follows what its drives are told after a delay, and a policy that draws smooth curves from where it
saw the arm. Measured is what the drives are told, not what was meant. Must not import ROS.

Letters: D joints, N controller cycles.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.control.policy_loop import LoopSettings, PolicyLoop
from evo1_policy.control.signals import (
    HeldState,
    InferenceDone,
    InferenceRequest,
    LoopInput,
    LoopState,
    LoopStatus,
    Request,
    SafeTrajectory,
)
from evo1_policy.observation import JointSample, Observation
from evo1_policy.robot_config import RobotConfig
from evo1_sim.controller import ControllerSettings, TrajectoryController, xarm6_settings
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint

Array = npt.NDArray[np.float64]

MS = 1_000_000
STEP_NS = 10 * MS  # of the policy's loop
FRAME_NS = 33_333_333
LAG_NS = 40 * MS  # from what the drives are told to where the arm is
TRANSPORT_NS = 2 * MS  # of every message
CAMERA_NS = 12 * MS  # from exposure to arrival
INFERENCE_NS = 100 * MS
HORIZON = 50
PATIENCE_NS = 1_000 * MS  # so long a person looks at a held arm before saying resume
SILENT_NS = 100 * MS  # so long after its last message a controller's state counts

_PAUSES_S = ((3.0, 3.2), (6.0, 8.0), (11.03, 11.23), (13.31, 13.6), (18.77, 19.0), (24.0, 25.5))


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is not as it should be.

    Attributes:
        name: for people and figures.
        delay_ms: how long commands are under way [ms].
        skew_ms: how far the policy's clock is ahead of the controllers' [ms].
        standing_error_rad: how far from its target each joint but the gripper ends [rad].
        off_s: when the first output's controller is switched off, and on again: pairs [s].
        pauses_s: when a person pauses, and resumes: pairs [s].
        speed: share of the policy's own pace.
    """

    name: str
    delay_ms: float = 2.0
    skew_ms: float = 0.0
    standing_error_rad: float = 0.0
    off_s: Sequence[tuple[float, float]] = ()
    pauses_s: Sequence[tuple[float, float]] = _PAUSES_S
    speed: float = 1.0


SITUATIONS = (
    Situation(name="on_time"),
    Situation(name="delay_20_ms", delay_ms=20.0),
    Situation(name="skew_50_ms", skew_ms=50.0),
    Situation(name="off_and_on", off_s=((10.0, 10.3), (16.0, 16.7), (20.0, 21.5))),
    Situation(name="standing_error_30_mrad", standing_error_rad=0.03),
)


@dataclass(frozen=True, kw_only=True)
class Seams:
    """What the drives were told, where the controllers followed what the policy sent.

    Attributes:
        sent: trajectories that were sent.
        refused: trajectories that a controller refused.
        step_mrad_max: the largest step of a position beyond what its last velocity and the
            acceleration limit explain [mrad].
        acceleration_ratio_max: the largest acceleration in units of its limit.
        own_step_mrad_max: the largest step that a controller made by itself, giving up a
            tolerance; no sender can keep it from that once it does [mrad].
        reasons: why the loop held, in order.
        moving_s: how long the arm moved [s].
    """

    sent: int
    refused: int
    step_mrad_max: float
    acceleration_ratio_max: float
    own_step_mrad_max: float
    reasons: tuple[str, ...]
    moving_s: float


def rehearse(
    robot: RobotConfig,
    situation: Situation,
    *,
    seconds: float = 30.0,
    controller: ControllerSettings | None = None,
) -> Seams:
    """Run the loop in a situation and measure; xarm6_controllers.yaml where none is given.

    The made-up sway heeds no table, so collisions are not checked here: a cut would hide seams.
    """
    free = replace(robot, safety=replace(robot.safety, collision=None))
    loop = ClosedLoop(free, situation, controller or xarm6_settings())
    loop.run(seconds)
    return loop.measure()


class ClosedLoop:
    """A policy loop, one controller for each output of the robot file, and an arm that lags.

    `true_ns` is the controllers' clock, and the arm's.
    """

    def __init__(
        self, robot: RobotConfig, situation: Situation, controller: ControllerSettings
    ) -> None:
        """At rest in the robot file's home pose, the policy idle."""
        self._robot, self._situation = robot, situation
        self._loop = PolicyLoop(robot, LoopSettings(), None)
        self._period_ns = round(1e9 / controller.update_rate_hz)
        self._columns = [
            [robot.joint_names.index(name) for name in command.joints] for command in robot.command
        ]
        self._controllers = [
            TrajectoryController(command.joints, controller) for command in robot.command
        ]
        grippers = {gripper.joint for gripper in robot.grippers}
        is_arm = np.array([name not in grippers for name in robot.joint_names])
        self._error = is_arm * situation.standing_error_rad
        self._start_ns = self.true_ns = 1_000_000 * MS
        self._skew_ns = round(situation.skew_ms * 1e6)
        for one, columns in zip(self._controllers, self._columns, strict=True):
            one.delay_ns = round(situation.delay_ms * 1e6)
            one.activate(np.array(robot.home)[columns])
        self._told: list[Array] = [np.array(robot.home)]
        self._ours: list[npt.NDArray[np.bool_]] = [np.zeros(robot.width, dtype=bool)]
        self._states = [_Heard(columns) for columns in self._columns]
        self._inference: tuple[int, InferenceRequest, int] | None = None
        self._reasons: list[str] = []
        self._held_since_ns: int | None = None
        self._sent = self._refused = 0

    def run(self, seconds: float) -> None:
        """Run for a while of simulated time."""
        end_ns = self.true_ns + round(seconds * 1e9)
        update_ns, step_ns = self.true_ns, self.true_ns
        while min(update_ns, step_ns) < end_ns:
            self.true_ns = min(update_ns, step_ns)
            if update_ns == self.true_ns:
                self._switch()
                self._update()
                update_ns += self._period_ns
            if step_ns == self.true_ns:
                self._step()
                step_ns += STEP_NS

    def measure(self) -> Seams:
        """Return what was measured so far."""
        told, ours = np.array(self._told), np.array(self._ours)
        moved = np.diff(told, axis=0)
        before = np.where(ours[1:-1], moved[:-1], 0.0)  # a hold of its own begins at rest
        beyond = np.where(ours[2:], np.abs(moved[1:] - before), 0.0)
        explained = self._robot.acceleration_max * (self._period_ns * 1e-9) ** 2
        own = np.where(ours[1:], 0.0, np.abs(moved))
        return Seams(
            sent=self._sent,
            refused=self._refused,
            step_mrad_max=1e3 * float((beyond - explained).max(initial=0.0)),
            acceleration_ratio_max=float((beyond / explained).max(initial=0.0)),
            own_step_mrad_max=1e3 * float(own.max(initial=0.0)),
            reasons=tuple(self._reasons),
            moving_s=float((np.abs(moved).max(axis=1) > 1e-5).sum()) * self._period_ns * 1e-9,
        )

    # -- controllers and arm -----------------------------------------------------------------

    def _switch(self) -> None:
        """Switch the first output's controller off and on, when it is time."""
        first, second = self._controllers[0], (self.true_ns - self._start_ns) * 1e-9
        off = any(begin <= second < end for begin, end in self._situation.off_s)
        if off and first.active:
            first.deactivate()
        elif not off and not first.active:
            first.activate(self._position(self.true_ns)[self._columns[0]])

    def _update(self) -> None:
        position = self._position(self.true_ns)
        velocity = (position - self._position(self.true_ns - self._period_ns)) / (
            self._period_ns * 1e-9
        )
        told, ours = self._told[-1].copy(), self._ours[-1].copy()
        for one, columns, heard in zip(
            self._controllers, self._columns, self._states, strict=True
        ):
            told[columns] = one.update(
                self.true_ns, self._period_ns, position[columns], velocity[columns]
            )
            ours[columns] = one.state is not None and not one.state.holding
            if one.state is not None:
                heard.say(one.state.positions, one.state.velocities, one.state.stamp_ns)
        self._told.append(told)
        self._ours.append(ours)

    def _position(self, at_ns: int) -> Array:
        """Where the arm is (D,): what its drives were told for a time counts LAG_NS later."""
        cycle = (at_ns - LAG_NS - self._start_ns) / self._period_ns
        index = min(max(int(cycle), 0), len(self._told) - 1)
        after = min(index + 1, len(self._told) - 1)
        part = min(max(cycle - index, 0.0), 1.0)
        return self._told[index] * (1 - part) + self._told[after] * part + self._error

    def _send(self, command: SafeTrajectory) -> None:
        self._sent += 1
        trajectory = command.trajectory
        times = trajectory.times_ns()
        for one, columns in zip(self._controllers, self._columns, strict=True):
            points = [
                TrajectoryPoint(
                    positions=tuple(position[columns]),
                    velocities=tuple(velocity[columns]),
                    time_from_start_ns=int(time - times[0]),
                )
                for time, position, velocity in zip(
                    times, trajectory.positions, trajectory.velocities, strict=True
                )
            ]
            try:
                one.receive(points, one.joint_names, stamp_ns=int(times[0]), now_ns=self.true_ns)
            except TrajectoryError:
                self._refused += 1

    # -- the policy --------------------------------------------------------------------------

    def _step(self) -> None:
        now_ns = self.true_ns + self._skew_ns
        seen_ns = (self.true_ns - TRANSPORT_NS) // self._period_ns * self._period_ns
        inputs = LoopInput(
            now_ns=now_ns,
            observation=self._observe(now_ns, seen_ns),
            measured=JointSample(positions=self._position(seen_ns), stamp_ns=seen_ns),
            inference=self._result(now_ns),
            requests=self._requests(),
            held=self._held(),
            speed=self._situation.speed,
        )
        output = self._loop.step(inputs)
        if output.infer is not None:
            self._inference = (self.true_ns + INFERENCE_NS, output.infer, now_ns)
        if output.command is not None:
            self._send(output.command)
        self._look_at(output.status)

    def _observe(self, now_ns: int, seen_ns: int) -> Observation:
        """Pair a frame with the joints of the same stamp, whichever clock made it."""
        stamp_ns = min(now_ns - CAMERA_NS, seen_ns) // FRAME_NS * FRAME_NS
        return Observation(
            images={},
            state=self._position(stamp_ns),
            instruction="wave",
            stamp_ns=stamp_ns,
            received_ns=now_ns,
            skew_ns=0,
        )

    def _result(self, now_ns: int) -> InferenceDone | None:
        if self._inference is None or self._inference[0] > self.true_ns:
            return None
        _, request, started_ns = self._inference
        self._inference = None
        observation = request.observation
        start_ns = observation.stamp_ns + self._robot.step_ns
        times = start_ns + np.arange(HORIZON) * self._robot.step_ns
        # From where the arm was seen onto the curve, as a policy that was taught would.
        away = observation.state - self._error - self._curve(np.array([observation.stamp_ns]))
        actions = self._curve(times) + away * np.exp(-np.arange(HORIZON) / 10.0)[:, None]
        return InferenceDone(
            request_id=request.request_id,
            chunk=ActionChunk(
                actions=np.clip(actions, self._robot.position_min, self._robot.position_max),
                start_ns=start_ns,
                step_ns=self._robot.step_ns,
                observation_stamp_ns=observation.stamp_ns,
                instruction=observation.instruction,
            ),
            started_ns=started_ns,
            finished_ns=now_ns,
        )

    def _curve(self, times_ns: npt.NDArray[np.int64]) -> Array:
        """Return a smooth motion (N, D) well inside the limits, by the policy's clock."""
        seconds = (times_ns - self._start_ns - LAG_NS)[:, None] * 1e-9
        joint = np.arange(self._robot.width)
        wave = np.sin((1.1 + 0.1 * joint) * seconds)
        room = np.minimum(
            self._robot.position_max - self._robot.home,
            self._robot.home - self._robot.position_min,
        )
        wide = np.minimum(room * 0.9, 0.5)
        curve: Array = np.array(self._robot.home) + wide * wave
        return curve

    def _requests(self) -> tuple[Request, ...]:
        """What a person asks at this instant."""
        since_ns = self.true_ns - self._start_ns
        if since_ns == 0:
            return (Request.START,)
        for begin, end in self._situation.pauses_s:
            if since_ns == round(begin * 1e9):
                return (Request.PAUSE,)
            if since_ns == round(end * 1e9):
                return (Request.RESUME,)
        paused = any(b * 1e9 <= since_ns < e * 1e9 for b, e in self._situation.pauses_s)
        waited = self._held_since_ns is not None
        if waited and not paused and self.true_ns - (self._held_since_ns or 0) >= PATIENCE_NS:
            return (Request.RESUME,)
        return ()

    def _look_at(self, status: LoopStatus) -> None:
        if status.state is not LoopState.HOLDING:
            self._held_since_ns = None
        elif self._held_since_ns is None:
            self._held_since_ns = self.true_ns
            self._reasons.append("" if status.reason is None else status.reason.code.value)

    def _held(self) -> HeldState | None:
        """What the policy has heard of its controllers."""
        width = self._robot.width
        positions, velocities = np.full(width, np.nan), np.full(width, np.nan)
        stamps = np.zeros(width, dtype=np.int64)
        for heard in self._states:
            message = heard.at(self.true_ns - TRANSPORT_NS)
            if message is not None:
                positions[heard.columns], velocities[heard.columns] = message[:2]
                stamps[heard.columns] = message[2]
        if not stamps.any():
            return None
        delay_ns = TRANSPORT_NS + self._skew_ns
        return HeldState(
            positions=positions,
            velocities=velocities,
            stamps_ns=stamps,
            received_ns=int(stamps.max()) + delay_ns,
            delay_ns=delay_ns,
        )


class _Heard:
    """The last messages of one controller, of joints at `columns` of the robot file."""

    def __init__(self, columns: list[int]) -> None:
        self.columns = columns
        self._said: deque[tuple[Array, Array, int]] = deque(maxlen=4)

    def say(self, positions: Array, velocities: Array, stamp_ns: int) -> None:
        self._said.append((positions, velocities, stamp_ns))

    def at(self, now_ns: int) -> tuple[Array, Array, int] | None:
        """Return the newest one that is not newer than now_ns, nor too old to count."""
        for message in reversed(self._said):
            if message[2] <= now_ns:
                return message if now_ns - message[2] < SILENT_NS else None
        return None
