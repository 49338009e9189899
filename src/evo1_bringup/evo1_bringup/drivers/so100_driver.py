"""What the SO-100 driver does in each cycle: read, judge, follow, and stop with a reason.

The node (ros/so100_driver_node.py) gives it a clock, a thread and topics. Must not import ROS.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from evo1_bringup.drivers.feetech import BusError, FeetechBus, PortLostError, Traffic
from evo1_bringup.drivers.following import Asked, Goals, NewestTrajectory
from evo1_bringup.drivers.servo_health import Finding, HealthReading, HealthWatch
from evo1_bringup.drivers.so100_arm import ArmReading, So100Arm
from evo1_bringup.drivers.so100_parameters import DriverParameters
from evo1_policy.action_chunk import Floats
from evo1_policy.control.limits import Limits
from evo1_policy.robot_config import RobotConfig
from evo1_sim.servo_bus.so100_calibration import ServoCalibration
from evo1_sim.trajectory import TrajectoryError

BROKEN = "driver_error"  # a fault after which nothing is commanded: the servos hold
HEALTH_EVERY = 2  # cycles; each of six servos is looked at eight times a second


class DriverState(Enum):
    """What the driver does."""

    CLOSED = "port closed"
    LIMP = "torque off"
    HOLDING = "holding"
    FOLLOWING = "following"
    STOPPED = "stopped by a person: evo1 clear-stop, or recover"
    FAULT = "stopped"


@dataclass(frozen=True, kw_only=True)
class DriverReport:
    """What diagnostics tell.

    Attributes:
        state: see DriverState.
        fault: why it stopped; None where it did not.
        warnings: what is not well.
        traffic: counts of the bus.
        rejected: positions that no joint can have had.
        cycles: how many have run.
        stalls: how often a delay cost the driver its ground.
        health: joint and id -> newest reading.
    """

    state: DriverState
    fault: Finding | None
    warnings: tuple[Finding, ...]
    traffic: Traffic
    rejected: int
    cycles: int
    stalls: int
    health: dict[str, HealthReading]


class So100Driver:
    """The arm behind one port. Not thread-safe: its owner locks.

    Args:
        connect: opens the bus, counting in the given traffic.
        servos: the calibration, in the robot file's joint order.
        robot: the robot file.
        settings: the parameters of its node.
        now_ns: present time on the clock of trajectories' stamps [ns].
        steady_ns: present time on a clock that never jumps [ns].
    """

    def __init__(
        self,
        connect: Callable[[Traffic], FeetechBus],
        servos: Sequence[ServoCalibration],
        robot: RobotConfig,
        *,
        now_ns: Callable[[], int],
        steady_ns: Callable[[], int] = time.monotonic_ns,
        settings: DriverParameters | None = None,
    ) -> None:
        self._connect = connect
        self._servos = tuple(servos)
        self._names = {servo.servo_id: servo.name for servo in servos}
        self._robot = robot
        self._now_ns = now_ns
        self._steady_ns = steady_ns
        self._settings = settings or DriverParameters()
        self._traffic = Traffic()
        self._arm: So100Arm | None = None
        self._watch: HealthWatch | None = None
        self._state = DriverState.CLOSED
        self._fault: Finding | None = None
        limits = Limits.of(robot)
        reach = np.where(limits.is_arm, limits.max_start_error_rad * limits.per_radian, np.inf)
        self._newest = NewestTrajectory(robot.joint_names, reach)
        self._goals = Goals(limits, max_stall_s=self._settings.max_stall_s)
        self._silent = dict.fromkeys((servo.servo_id for servo in servos), 0)
        self._cycles = self._rejected = self._stalls = 0

    @property
    def state(self) -> DriverState:
        """What it does."""
        if self._state is not DriverState.HOLDING:
            return self._state
        if self._newest.stopped:
            return DriverState.STOPPED
        return DriverState.FOLLOWING if self._newest.following else DriverState.HOLDING

    @property
    def fault(self) -> Finding | None:
        """Why it stopped."""
        return self._fault

    @property
    def at_rest(self) -> bool:
        """Whether no goal moves any more."""
        return not self._newest.following and self._goals.at_rest

    @property
    def commanded(self) -> tuple[Floats, Floats]:
        """Where the joints are told to be (D,) [rad], and how fast they are told to go [rad/s]."""
        return self._goals.positions, self._goals.velocities

    @property
    def is_open(self) -> bool:
        """Whether it has the port."""
        return self._arm is not None

    def open(self) -> None:
        """Open the port; find, check and set up every servo. The arm is limp then.

        Raises:
            BusError: something is not as it must be; the port is closed again.
        """
        self._arm = self._find_arm()
        self._state = DriverState.LIMP
        try:
            self._arm.release()
        except BusError:
            self._drop()
            raise

    def engage(self) -> None:
        """Hold the arm where it is.

        Raises:
            BusError: it cannot; the torque is off again as far as servos answer.
        """
        arm = self._open_arm()
        try:
            positions = arm.hold(self._steady_ns)
        except BusError:
            self._let_go()
            raise
        self._newest.rest()
        self._goals.hold(positions, self._steady_ns())
        self._silent = dict.fromkeys(self._silent, 0)
        self._fault = None
        self._state = DriverState.HOLDING

    def follow(self, asked: Asked) -> str:
        """Follow a trajectory from now on; see NewestTrajectory.accept.

        Raises:
            TrajectoryError: it cannot be followed, or the driver does not follow any now.
        """
        if self._state is DriverState.FAULT and self._fault is not None:
            raise TrajectoryError(f"the driver stopped ({self._fault.code}): {self._fault.text}")
        if self._state is not DriverState.HOLDING:
            raise TrajectoryError(f"the driver does not follow: {self._state.value}")
        steady_ns = self._steady_ns()
        self._notice_stall(steady_ns)
        return self._newest.accept(
            asked, now_ns=self._now_ns(), steady_ns=steady_ns, begin=self._goals.positions
        )

    def stop(self, stopped: bool) -> None:
        """A person stops the arm where it is until a person allows motion again (False)."""
        self._newest.stop(stopped)

    def cycle(self) -> ArmReading | None:
        """Read, judge and command once.

        Returns:
            Where the arm is; None where that is not known now, or the driver has stopped.
        """
        if self._arm is None or self._state in (DriverState.CLOSED, DriverState.LIMP):
            return None
        if self._fault is not None and self._fault.code == BROKEN:
            return None
        self._cycles += 1
        try:
            return self._cycle(self._arm, self._steady_ns())
        except PortLostError as error:
            self._stop(Finding(code="port_lost", text=f"{error}; plug it in"))
            self._drop()
            return None

    def slow_down(self) -> None:
        """Begin to come to rest; cycles do the rest, until `at_rest`."""
        self._newest.rest()

    def fail(self, text: str) -> None:
        """Command nothing any more, for a reason that is no bus's: a mistake in this program."""
        self._newest.rest()
        self._goals.hold(self._goals.positions, self._steady_ns())
        self._stop(Finding(code=BROKEN, text=text))

    def release(self) -> None:
        """Torque off: the arm goes limp.

        Raises:
            BusError: a servo does not answer.
        """
        if self._arm is None:
            return
        self._state = DriverState.LIMP
        self._arm.release()

    def close(self) -> None:
        """Torque off as far as servos answer, and the port closed."""
        self._let_go()
        self._drop()
        self._state = DriverState.CLOSED
        self._fault = None

    def recover(self) -> None:
        """A person says so after a fault or a stop: torque off, goals := present, torque on, hold.

        A stop without a fault is only cleared.

        Raises:
            BusError: what was wrong still is; the fault stays.
        """
        self._newest.stop(False)
        if self._fault is None:
            return
        try:
            self._drop()
            self.open()
            self.engage()
        except BusError as error:
            self._stop(Finding(code="recover_failed", text=str(error)))
            self._drop()
            raise

    def report(self) -> DriverReport:
        """What diagnostics tell."""
        readings = self._watch.readings if self._watch else {}
        return DriverReport(
            state=self.state,
            fault=self._fault,
            warnings=tuple(self._watch.warnings() if self._watch else ()),
            traffic=self._traffic,
            rejected=self._rejected + (self._arm.filter.rejected if self._arm else 0),
            cycles=self._cycles,
            stalls=self._stalls,
            health={self._names[servo_id]: reading for servo_id, reading in readings.items()},
        )

    def _cycle(self, arm: So100Arm, steady_ns: int) -> ArmReading | None:
        heard = arm.read(steady_ns, retry=not any(self._silent.values()))
        silent = heard if isinstance(heard, list) else []
        self._count_silent(silent)
        self._command(arm, steady_ns)
        if self._cycles % HEALTH_EVERY == 0:
            self._look_after(arm, steady_ns)
        if self._state is DriverState.FAULT or isinstance(heard, list):
            return None
        return heard

    def _count_silent(self, silent: Sequence[ServoCalibration]) -> None:
        for servo in self._servos:
            count = self._silent[servo.servo_id] + 1 if servo in silent else 0
            self._silent[servo.servo_id] = count
            if count == self._settings.max_silent_cycles:
                text = (
                    f"{servo.name} gave no credible answer in {count} cycles (none, damaged, or a "
                    "jump); check its cable and the power"
                )
                self._stop(Finding(code="servo_silent", text=text))

    def _command(self, arm: So100Arm, steady_ns: int) -> None:
        self._notice_stall(steady_ns)
        arm.write(self._goals.advance(steady_ns, self._newest.sample))

    def _notice_stall(self, steady_ns: int) -> None:
        """A driver that was held up has lost its ground: nothing is caught up."""
        if self._goals.stalled(steady_ns):
            self._stalls += self._newest.following
            self._newest.rest()

    def _look_after(self, arm: So100Arm, steady_ns: int) -> None:
        heard = arm.read_health()
        if heard is None or self._watch is None:
            return
        finding = self._watch.observe(*heard, steady_ns)
        if finding is not None:
            self._stop(finding)

    def _stop(self, finding: Finding) -> None:
        """Come to rest and stay there, until a person recovers; the first reason is kept."""
        if self._state is DriverState.FAULT and finding.code not in (
            "port_lost",
            "recover_failed",
            BROKEN,
        ):
            return
        self.slow_down()
        self._fault = finding
        self._state = DriverState.FAULT

    def _find_arm(self) -> So100Arm:
        """The arm behind the port, checked; its torque as it was."""
        bus = self._connect(self._traffic)
        try:
            arm = So100Arm(bus, self._servos)
            arm.identify()
            if self._settings.write_calibration:
                arm.write_calibration()
            arm.check_calibration()
            arm.set_up()
            voltages = arm.voltages()
        except BusError:
            bus.close()
            raise
        gripper = self._robot.gripper
        self._watch = HealthWatch(
            self._settings,
            names=self._names,
            voltages=voltages,
            gripping=[
                servo.servo_id
                for servo in self._servos
                if gripper is not None and servo.joint == gripper.joint
            ],
        )
        return arm

    def _open_arm(self) -> So100Arm:
        if self._arm is None:
            raise BusError("the port is not open")
        return self._arm

    def _let_go(self) -> None:
        if self._arm is not None:
            try:
                self._arm.release()
            except BusError:
                return  # it is being given up anyway; whoever does that knows why

    def _drop(self) -> None:
        """Close the port, so that a plug that comes back gets the same device name."""
        arm, self._arm = self._arm, None
        if self._state is not DriverState.FAULT:
            self._state = DriverState.CLOSED
        self._newest.rest()
        if arm is not None:
            self._rejected += arm.filter.rejected
            arm.bus.close()
