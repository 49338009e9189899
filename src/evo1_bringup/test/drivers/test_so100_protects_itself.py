"""The SO-100's driver is safe by itself: stalls, clock steps, late and reordered messages, stops.

Its bus is a fake without wires and its clocks are numbers, so that every instant is chosen.
"""

import contextlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_bringup.drivers.feetech import Reply
from evo1_bringup.drivers.following import LONGEST_STEP_S, REORDERED_NS, Asked
from evo1_bringup.drivers.so100_driver import DriverState, So100Driver
from evo1_policy.robot_config import load_robot
from evo1_sim.servo_bus.emulated_arm import EmulatedArm, emulated_calibration
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint

MS, S = 1_000_000, 1_000_000_000
EPOCH = 1_700_000_000 * S  # the node's clock where the steady one is 0
TIGHT = 1e-9


class FakeBus:
    """The servos without a line in between."""

    port_name = "/dev/fake"

    def __init__(self, servos, traffic):
        self.traffic, self._servos = traffic, {servo.servo_id: servo for servo in servos}

    def ping(self, servo_id):
        return 777

    def read(self, servo_id, register):
        return self._servos[servo_id].get(register)

    def write(self, servo_id, register, value):
        self._servos[servo_id].set(register, value)

    def read_one(self, servo_id, address, length):
        return Reply(status=0, data=self._servos[servo_id].read(address, length))

    def read_all(self, servo_ids, address, length):
        return {servo_id: self.read_one(servo_id, address, length) for servo_id in servo_ids}

    def write_all(self, register, values):
        for servo_id, value in values.items():
            self.write(servo_id, register, value)

    def close(self):
        pass


class Bench:
    """An engaged driver, its clocks, and a watch that no cycle breaks a limit."""

    def __init__(self, robot):
        self.robot = robot
        self.steady_ns, self.offset_ns = 5 * S, EPOCH
        self.arm = EmulatedArm(emulated_calibration(robot), start=robot.home)
        self.driver = So100Driver(
            lambda traffic: FakeBus(self.arm.servos, traffic),
            self.arm.calibration,
            robot,
            now_ns=lambda: self.steady_ns + self.offset_ns,
            steady_ns=self._tick,
        )
        self.driver.open()
        self.driver.engage()
        self._last, self._last_ns = (self.goals, np.zeros(robot.width)), self.steady_ns
        self.steady_ns += 10 * MS

    def _tick(self):
        self.steady_ns += 1000  # time passes while the bus is asked
        return self.steady_ns

    @property
    def now_ns(self):
        return self.steady_ns + self.offset_ns

    @property
    def goals(self):
        return self.driver.commanded[0].copy()

    def send(self, pan, duration_ns, *, stamp_ns=None, sent_ns=0, velocities=True):
        """Let the pan joint be at `pan` so long after the stamp; the others stay."""
        positions = [pan, *self.goals[1:]]
        point = TrajectoryPoint(
            positions=positions,
            velocities=[0.0] * 6 if velocities else [],
            time_from_start_ns=duration_ns,
        )
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        return self.follow([point], stamp_ns=stamp_ns, sent_ns=sent_ns)

    def follow(self, points, **times):
        asked = Asked(points=points, joint_names=self.robot.joint_names, **times)
        return self.driver.follow(asked)

    def cycle(self, elapsed_ns=10 * MS):
        """One cycle after a time; no goal breaks a limit by it."""
        (before, speeds), then_ns = self._last, self._last_ns
        self.arm.advance(min(elapsed_ns, 50 * MS) * 1e-9)
        self.steady_ns += elapsed_ns
        self.driver.cycle()
        after, after_speeds = self.driver.commanded
        elapsed_s = (self.steady_ns - then_ns) * 1e-9
        robot = self.robot
        assert (np.abs(after - before) <= robot.velocity_max * elapsed_s + TIGHT).all()
        assert (np.abs(after_speeds) <= robot.velocity_max + TIGHT).all()
        most = robot.acceleration_max * elapsed_s + TIGHT
        assert (np.abs(after_speeds - speeds) <= most).all()
        if elapsed_s <= LONGEST_STEP_S:  # a longer one is cut short
            assert (np.abs((after - before) / elapsed_s - speeds) <= most).all()
        assert (after >= robot.position_min - TIGHT).all()
        assert (after <= robot.position_max + TIGHT).all()
        assert self.driver.fault is None
        self._last, self._last_ns = (after.copy(), after_speeds.copy()), self.steady_ns
        return self._last[0]

    def run(self, seconds):
        return np.array([self.cycle() for _ in range(round(seconds * 100))])

    def stopping_distance(self):
        """Of each joint, with the limiter's share of the limit [rad]."""
        return self.driver.commanded[1] ** 2 / (2 * self.robot.acceleration_max * (1 - 1e-6))


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "so100.yaml")


@pytest.fixture
def bench(robot):
    return Bench(robot)


def test_a_stall_of_three_seconds_is_not_caught_up(bench):
    bench.send(1.6, 2 * S)
    moved = bench.run(1.0)[-1][0]
    after = [bench.cycle(3 * S)[0], *bench.run(1.0)[:, 0]]
    assert np.ptp([moved, *after]) < 1e-9  # the servos stood there, so there it stays
    assert bench.driver.state is DriverState.HOLDING
    assert bench.driver.report().stalls == 1
    bench.send(0.9, S)
    bench.run(1.5)
    assert bench.goals[0] == pytest.approx(0.9, abs=1e-3)


def test_a_stop_that_waited_in_the_queue_is_obeyed_though_its_end_is_past(bench):
    bench.send(1.6, 2 * S)
    bench.run(1.0)
    stop_ns = bench.now_ns
    bench.steady_ns += 80 * MS  # late, but no stall
    ended = bench.goals[0] + bench.stopping_distance()[0]
    said = bench.send(ended, 30 * MS, stamp_ns=stop_ns)
    assert said.startswith("it ended 0.050 s ago, so the joints come to rest now; check that both")
    rests = bench.run(1.0)[:, 0]
    assert rests[-1] <= ended + 1e-9
    assert np.ptp(rests[-50:]) == 0.0
    assert bench.driver.state is DriverState.HOLDING


def test_of_what_waited_through_a_stall_only_the_newest_is_followed(bench):
    bench.send(1.6, 2 * S)
    bench.run(0.5)
    stood = bench.goals[0]
    stamp_ns = bench.now_ns
    bench.steady_ns += 3 * S
    bench.send(1.6, 3500 * MS, stamp_ns=stamp_ns, sent_ns=EPOCH)
    bench.send(stood - 0.3, S, sent_ns=EPOCH + 3 * S)
    path = bench.run(1.5)[:, 0]
    assert path.max() <= stood + 1e-6
    assert path[-1] == pytest.approx(stood - 0.3, abs=1e-3)


@pytest.mark.parametrize("step_ns", [-2 * S, 2 * S, -3600 * S, 5 * S])
def test_a_step_of_the_clock_changes_nothing_for_what_runs(bench, robot, step_ns):
    undisturbed = Bench(robot)
    for item in (bench, undisturbed):
        item.send(0.7, S)
        item.run(0.5)
    bench.offset_ns += step_ns
    np.testing.assert_allclose(bench.run(1.0), undisturbed.run(1.0), atol=1e-9)
    bench.send(0.2, S)  # by the new clock
    assert bench.run(1.5)[-1][0] == pytest.approx(0.2, abs=1e-3)


def test_a_message_that_was_sent_before_the_one_that_is_followed_is_not(bench):
    bench.send(-0.5, S, sent_ns=EPOCH + 20 * MS)
    with pytest.raises(TrajectoryError, match="sent before the one that is followed"):
        bench.send(0.5, S, sent_ns=EPOCH + 10 * MS)
    path = bench.run(1.3)[:, 0]
    assert path.max() <= 1e-6
    assert path[-1] == pytest.approx(-0.5, abs=1e-3)


def test_a_sender_whose_clock_was_set_back_is_followed_again(bench):
    bench.send(-0.5, S, sent_ns=EPOCH + 10 * S)
    bench.send(0.5, S, sent_ns=EPOCH + 10 * S - 2 * REORDERED_NS)
    assert bench.run(1.5)[-1][0] == pytest.approx(0.5, abs=1e-3)


def test_a_trajectory_that_runs_far_from_the_arm_stops_it_and_says_so(bench):
    bench.send(0.4, S)
    bench.run(0.5)
    far = [1.2, *bench.goals[1:]]
    points = [TrajectoryPoint(positions=far, time_from_start_ns=at) for at in (0, S)]
    with pytest.raises(TrajectoryError, match="runs too far away: joint 'shoulder_pan_joint'"):
        bench.follow(points, stamp_ns=bench.now_ns - 10 * MS)
    path = bench.run(1.0)[:, 0]
    assert np.ptp(path[-50:]) == 0.0
    assert path.max() < 0.6


def test_a_stop_is_a_latch_that_only_a_person_opens(bench):
    bench.send(1.0, S)
    bench.run(0.4)
    bench.driver.stop(True)
    assert bench.driver.state is DriverState.STOPPED
    with pytest.raises(TrajectoryError, match="stopped by a person"):
        bench.send(1.0, S)
    rests = bench.run(1.0)[:, 0]
    assert np.ptp(rests[-50:]) == 0.0
    bench.driver.stop(False)
    assert np.ptp(bench.run(0.5)[:, 0]) == 0.0  # nothing goes on by itself
    bench.send(0.0, S)
    assert bench.run(1.5)[-1][0] == pytest.approx(0.0, abs=1e-3)


def test_recovery_opens_the_latch_without_letting_the_arm_go(bench):
    bench.driver.stop(True)
    bench.driver.recover()
    assert bench.driver.state is DriverState.HOLDING
    assert bench.arm.torques() == [True] * 6


def test_a_mistake_in_the_program_leaves_the_arm_held_until_a_person_recovers(bench):
    bench.send(1.0, S)
    bench.run(0.4)
    bench.driver.fail("the driver itself failed: OverflowError()")
    for _ in range(20):
        bench.steady_ns += 10 * MS
        assert bench.driver.cycle() is None
    assert bench.driver.fault.code == "driver_error"
    assert bench.arm.torques() == [True] * 6
    with pytest.raises(TrajectoryError, match="driver_error"):
        bench.send(1.0, S)
    bench.driver.recover()
    assert bench.driver.fault is None
    assert np.ptp(bench.run(0.3)[:, 0]) == 0.0


NUMBERS = st.one_of(
    st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308, 1e300, 1e4, -1e4, 1e-308]),
    st.floats(allow_nan=True, allow_infinity=True),
)
TIMES = st.one_of(
    st.sampled_from([-1, 0, 1, 2**31 * S, -(2**31) * S]), st.integers(-(10**10), 10**10)
)


@st.composite
def points(draw):
    made = []
    for _ in range(draw(st.integers(0, 3))):
        rows = [draw(st.lists(NUMBERS, min_size=n, max_size=n)) for n in draw(WIDTHS)]
        made.append(
            TrajectoryPoint(
                positions=rows[0],
                velocities=rows[1],
                accelerations=rows[2],
                time_from_start_ns=draw(TIMES),
            )
        )
    return made


WIDTHS = st.tuples(
    st.sampled_from([6, 6, 6, 5, 0]), st.sampled_from([6, 0]), st.sampled_from([6, 0, 0])
)


@settings(max_examples=150)
@given(st.lists(st.tuples(points(), st.sampled_from(["now", "zero", *map(str, range(3))]))))
def test_no_number_that_can_be_sent_breaks_the_driver_or_a_limit(robot, messages):
    bench = Bench(robot)
    stamps = {"now": None, "zero": 0, "0": 1, "1": 2**31 * S, "2": -S}
    for sent, when in messages:
        stamp = stamps[when] if when != "now" else bench.now_ns
        with contextlib.suppress(TrajectoryError):
            bench.follow(sent, stamp_ns=stamp)
        for _ in range(3):
            bench.cycle()


@dataclass
class Story:
    """What happened to a bench, for the invariants that look back."""

    pending: list = field(default_factory=list)  # sent, not delivered yet
    sent: int = 0


EVENTS = st.one_of(
    st.tuples(st.just("cycle"), st.integers(1, 60)),
    st.tuples(st.just("stall"), st.integers(110, 4000)),
    st.tuples(st.just("step"), st.integers(-5000, 5000)),
    st.tuples(st.just("send"), st.tuples(st.floats(-1.9, 1.9), st.integers(20, 1500))),
    st.tuples(st.just("deliver late"), st.integers(0, 5)),
    st.tuples(st.just("reorder"), st.just(0)),
    st.tuples(st.just("stop"), st.sampled_from(["topic", "empty"])),
)


def _deliver(bench, message):
    pan, duration_ns, stamp_ns, sent_ns = message
    with contextlib.suppress(TrajectoryError):
        bench.send(pan, duration_ns, stamp_ns=stamp_ns, sent_ns=sent_ns)


@settings(max_examples=150)
@given(st.lists(EVENTS, max_size=40), st.booleans())
def test_whatever_happens_limits_hold_and_every_stop_brings_rest(robot, events, strict):
    """Stalls, clock steps, late, reordered and superseded messages, in any order."""
    bench, story = Bench(robot), Story()
    for kind, value in [*events, ("stop", "empty" if strict else "topic")]:
        if kind == "cycle":
            bench.cycle(value * MS)
        elif kind == "stall":
            bench.cycle(value * MS)
            assert not bench.driver.commanded[1].any() or value < 300
        elif kind == "step":
            bench.offset_ns += value * MS
        elif kind == "send":
            story.sent += 1
            pan, duration_ms = value
            story.pending.append((pan, duration_ms * MS, bench.now_ns, bench.now_ns + story.sent))
            if len(story.pending) % 2:
                _deliver(bench, story.pending.pop())
        elif kind == "deliver late":
            for message in story.pending[:value]:
                _deliver(bench, message)
            del story.pending[:value]
        elif kind == "reorder":
            story.pending.reverse()
        else:
            room, here = bench.stopping_distance(), bench.goals
            bench.follow([]) if value == "empty" else bench.driver.stop(True)
            rests = bench.run(0.4)
            assert (np.abs(rests - here) <= room + TIGHT).all()
            assert bench.driver.at_rest
            bench.driver.stop(False)


@settings(max_examples=60)
@given(
    st.floats(0.3, 1.9),
    st.floats(-1.9, -0.3),
    st.integers(1, 120),
    st.lists(st.integers(2, 250), min_size=20, max_size=60),
)
def test_nothing_moves_towards_a_superseded_trajectory(robot, old, new, cycles, waits):
    bench = Bench(robot)
    bench.send(old, 1500 * MS)
    for _ in range(cycles):
        bench.cycle()
    # The newest one leads in smoothly: a cubic from this velocity goes on by 4/27 of its way.
    lead_in = bench.driver.commanded[1][0] * 0.3 * 4 / 27
    furthest = bench.goals[0] + bench.stopping_distance()[0] + lead_in
    bench.send(new, 300 * MS)
    for wait in waits:
        assert bench.cycle(wait * MS)[0] <= furthest + 1e-6
