"""A demonstrator's messages in, trajectories for the controllers out."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.action_chunk import Trajectory
from evo1_policy.control.limits import Limits
from evo1_policy.control.signals import SafeTrajectory
from evo1_policy.control.teleop import RefusedTarget, TeleopFollower, TeleopState, TeleopTarget
from evo1_policy.observation import JointSample

MS = 1_000_000
START_NS = 50_000 * MS
PERIOD_NS = 20 * MS
NAMES = ("shoulder", "elbow", "jaw")


def target(positions, *, names=NAMES, stamp_ns=0, offsets_ms=(0,)):
    return TeleopTarget(
        joint_names=tuple(names),
        stamp_ns=stamp_ns,
        offsets_ns=tuple(round(offset * MS) for offset in offsets_ms),
        positions=np.atleast_2d(np.asarray(positions, dtype=np.float64)),
    )


class Cell:
    """A follower, and a controller that does exactly what it is told."""

    def __init__(self, robot, position):
        self.follower = TeleopFollower(robot)
        self.rest = np.array(position, dtype=np.float64)
        self.sent = None
        self.now_ns = START_NS
        self.seams = []
        self.trajectories = []

    def arm(self, time_ns=None):
        if self.sent is None:
            return self.rest
        return self.sent.sample(self.now_ns if time_ns is None else time_ns)[0]

    def measured(self):
        return JointSample(positions=self.arm().copy(), stamp_ns=self.now_ns)

    def give(self, message):
        verdict = self.follower.take(message, self.measured(), self.now_ns)
        if isinstance(verdict, SafeTrajectory):
            self.receive(verdict.trajectory)
        return verdict

    def watch(self, measured=None):
        stop = self.follower.watch(measured or self.measured(), self.now_ns)
        if stop is not None:
            self.receive(stop.trajectory)
        return stop

    def pause(self):
        stop = self.follower.pause(self.now_ns)
        if stop is not None:
            self.receive(stop.trajectory)

    def receive(self, trajectory: Trajectory):
        before, after = self.arm(), trajectory.sample(self.now_ns)[0]
        self.seams.append(float(np.abs(before - after).max()))
        self.sent = trajectory
        self.trajectories.append(trajectory)

    def pass_time(self, duration_ns):
        self.now_ns += duration_ns

    def look(self):
        """Long enough to be sure where the arm is."""
        for _ in range(4):
            self.watch()
            self.pass_time(PERIOD_NS)


@pytest.fixture
def cell(kit):
    cell = Cell(kit.robot, [0.0, 0.2, 0.4])
    cell.look()
    return cell


def stream(cell, path, *, seconds, lookahead=True):
    """Demonstrate `path` (time [s] -> positions) at 50 Hz."""
    first_ns = cell.now_ns
    while cell.now_ns - first_ns < seconds * 1e9:
        since = (cell.now_ns - first_ns) / 1e9
        offsets = (20, 40, 60) if lookahead else (0,)
        points = [path(since + offset / 1e3) for offset in offsets]
        cell.give(target(points, offsets_ms=offsets, stamp_ns=cell.now_ns))
        cell.watch()
        cell.pass_time(PERIOD_NS)


def wave(t):
    return np.array([0.4 * np.sin(1.5 * t), 0.2 + 0.2 * np.sin(2.0 * t), 0.4 + 0.1 * np.sin(t)])


def test_a_target_that_looks_ahead_is_followed_without_lag(cell):
    errors = []
    first_ns = cell.now_ns
    for _ in range(150):
        since = (cell.now_ns - first_ns) / 1e9
        points = [wave(since + ahead) for ahead in (0.02, 0.04, 0.06)]
        cell.give(target(points, offsets_ms=(20, 40, 60), stamp_ns=cell.now_ns))
        errors.append(np.abs(cell.arm() - wave(since)).max())
        cell.pass_time(PERIOD_NS)
    assert max(errors[40:]) < 0.003
    assert max(cell.seams) < 1e-6


def test_a_target_of_the_present_is_followed_within_a_tenth_of_a_second(cell):
    stream(cell, wave, seconds=3.0, lookahead=False)
    since = 3.0 - PERIOD_NS / 1e9
    lags = np.arange(0.0, 0.1, 0.01)
    errors = [np.abs(cell.arm(cell.now_ns - PERIOD_NS) - wave(since - lag)).max() for lag in lags]
    assert min(errors) < 0.01


def test_a_demonstrator_that_falls_silent_leaves_the_arm_at_rest(cell):
    stream(cell, lambda t: np.array([1.2 * t, 0.2, 0.4]), seconds=0.8)
    assert cell.follower.state(cell.now_ns) is TeleopState.FOLLOWING
    assert cell.sent.sample(cell.now_ns)[1].any()
    cell.pass_time(600 * MS)
    assert cell.watch() is None
    assert not cell.sent.sample(cell.now_ns)[1].any()
    assert cell.follower.state(cell.now_ns) is TeleopState.WAITING


def test_a_demonstration_that_begins_far_away_is_approached_slowly(cell, kit):
    far = np.array([1.4, 0.2, 0.4])
    stream(cell, lambda t: far, seconds=1.0)
    assert cell.follower.state(cell.now_ns) is TeleopState.APPROACHING
    speeds = [np.abs(item.velocities).max(axis=0) for item in cell.trajectories]
    assert np.max(speeds) <= 0.2 * Limits.of(kit.robot).velocity_max[0] + 1e-9
    stream(cell, lambda t: far, seconds=6.0)
    assert cell.follower.state(cell.now_ns) is TeleopState.FOLLOWING
    np.testing.assert_allclose(cell.arm(), far, atol=1e-3)


def test_a_jump_in_the_middle_is_approached_slowly(cell):
    stream(cell, lambda t: np.array([0.0, 0.2, 0.4]), seconds=0.2)
    stream(cell, lambda t: np.array([1.0, 0.2, 0.4]), seconds=0.2)
    assert cell.follower.state(cell.now_ns) is TeleopState.APPROACHING


def test_a_jump_of_the_last_point_is_noticed_behind_points_that_go_on(cell):
    here, there = [0.0, 0.2, 0.4], [1.0, 0.2, 0.4]
    offsets = (20, 40, 60)
    cell.give(target([here, here, here], offsets_ms=offsets))
    cell.pass_time(PERIOD_NS)
    cell.give(target([here, here, there], offsets_ms=offsets))
    assert cell.follower.state(cell.now_ns) is TeleopState.APPROACHING


def test_a_far_target_with_time_to_get_there_is_no_jump(cell):
    cell.give(target([[0.0, 0.2, 0.4], [1.0, 0.2, 0.4]], offsets_ms=(0, 1000)))
    assert cell.follower.state(cell.now_ns) is TeleopState.FOLLOWING


def test_a_clock_set_back_a_little_keeps_the_motion(cell):
    stream(cell, wave, seconds=0.5)
    cell.now_ns -= 5 * MS
    cell.give(target(wave(0.5), stamp_ns=cell.now_ns))
    assert max(cell.seams) < 1e-6


def test_joints_in_another_order_and_joints_left_out_hold(cell):
    for _ in range(100):
        cell.give(target([0.3, 0.1], names=("elbow", "shoulder")))
        cell.pass_time(PERIOD_NS)
    np.testing.assert_allclose(cell.arm(), [0.1, 0.3, 0.4], atol=1e-3)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (target([0.0, np.nan, 0.0]), "a target of joint 'elbow' is not finite"),
        (target([0.0, np.inf, 0.0]), "a target of joint 'elbow' is not finite"),
        (target([0.0, 0.1]), r"positions of shape \(1, 2\) for 3 joint names"),
        (target([0.0], names=("wrist",)), "joint 'wrist' is none of this robot's; known: should"),
        (target([0.0, 0.0], names=("jaw", "jaw")), "expected joint names, each once"),
        (target(np.zeros((0, 3)), offsets_ms=()), "expected one position"),
        (target(np.zeros((2, 3)), offsets_ms=(5, 5)), "times from start do not increase"),
        (target([0.0, 0.2, 0.4], stamp_ns=1), r"stamped \d+ ms ago.*compare the clocks"),
        (target([0.0, 0.2, 0.4], offsets_ms=(9000,)), r"reach 9000 ms ahead"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(cell, message, problem):
    verdict = cell.give(message)
    assert isinstance(verdict, RefusedTarget)
    assert re.search(problem, verdict.reason)
    assert cell.sent is None


def test_without_joint_positions_nothing_is_sent(cell):
    verdict = cell.follower.take(target([0.0, 0.2, 0.4]), None, cell.now_ns)
    assert "no joint positions yet on 'joint_states'" in verdict.reason
    old = JointSample(positions=cell.rest, stamp_ns=cell.now_ns - 300 * MS)
    verdict = cell.follower.take(target([0.0, 0.2, 0.4]), old, cell.now_ns)
    assert "300 ms old, allowed are 100 ms" in verdict.reason
    assert cell.follower.state(cell.now_ns) is TeleopState.HOLDING
    assert isinstance(cell.give(target([0.0, 0.2, 0.4])), SafeTrajectory)
    assert cell.follower.state(cell.now_ns) is TeleopState.FOLLOWING


def test_joint_positions_that_go_stale_stop_the_arm(cell):
    stream(cell, lambda t: np.array([1.2 * t, 0.2, 0.4]), seconds=0.5)
    old = JointSample(positions=cell.arm(), stamp_ns=cell.now_ns - 200 * MS)
    assert cell.watch(old) is not None
    assert not cell.sent.velocities[-1].any()
    assert "200 ms old" in cell.follower.reason


def test_an_arm_that_does_not_follow_is_held_until_resume(cell):
    stream(cell, wave, seconds=0.5)
    elsewhere = JointSample(positions=cell.arm() + np.array([0.5, 0.0, 0.0]), stamp_ns=cell.now_ns)
    cell.watch(elsewhere)
    assert (
        "joint 'shoulder' is measured at 0.772 rad but was commanded to 0.272 rad"
        in cell.follower.reason
    )
    assert isinstance(cell.give(target(wave(0.5))), RefusedTarget)
    cell.pass_time(1000 * MS)
    cell.follower.resume()
    assert isinstance(cell.give(target(wave(0.5))), SafeTrajectory)
    assert max(cell.seams) < 1e-6


def test_pause_holds_and_resume_goes_on(cell):
    stream(cell, wave, seconds=0.5)
    cell.pause()
    assert isinstance(cell.give(target(wave(0.5))), RefusedTarget)
    assert "paused" in cell.follower.reason
    cell.follower.resume()
    assert isinstance(cell.give(target(wave(0.5))), SafeTrajectory)
    assert max(cell.seams) < 1e-6


def test_an_arm_that_was_moved_while_nobody_demonstrated_starts_where_it_is(cell):
    stream(cell, wave, seconds=0.5)
    cell.pass_time(2000 * MS)
    cell.watch()
    moved = np.array([-0.8, 0.5, 0.3])
    sample = JointSample(positions=moved, stamp_ns=cell.now_ns)
    verdict = cell.follower.take(target([-0.8, 0.5, 0.3]), sample, cell.now_ns)
    first = verdict.trajectory.sample(cell.now_ns)[0]
    np.testing.assert_allclose(first[:2], moved[:2])
    assert first[2] == pytest.approx(cell.arm()[2])  # commanded beyond what it holds


def test_a_gripper_that_was_closed_by_someone_else_is_not_opened_with_a_jump(cell):
    stream(cell, wave, seconds=0.5)
    cell.pass_time(2000 * MS)
    moved = np.array([-0.8, 0.5, 0.8])
    sample = JointSample(positions=moved, stamp_ns=cell.now_ns)
    verdict = cell.follower.take(target([-0.8, 0.5, 0.8]), sample, cell.now_ns)
    np.testing.assert_allclose(verdict.trajectory.sample(cell.now_ns)[0], moved)


def test_a_clock_that_jumps_back_forgets_what_was_planned(cell):
    stream(cell, wave, seconds=0.5)
    here = cell.arm()
    cell.now_ns = 1000 * MS
    cell.rest, cell.sent = here, None
    cell.look()
    assert isinstance(cell.give(target(here)), SafeTrajectory)
    np.testing.assert_allclose(cell.arm(), here)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_demonstrated_limits_hold_and_every_command_ends_at_rest(kit, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    scale = data.draw(st.sampled_from([0.05, 0.5, 3.0]))
    rng, limits = np.random.default_rng(seed), Limits.of(kit.robot)
    start = rng.uniform(limits.position_min, limits.position_max)
    cell = Cell(kit.robot, start)
    for _ in range(40):
        columns = rng.permutation(3)[: rng.integers(1, 4)]
        count = int(rng.integers(1, 4))
        offsets = np.cumsum(rng.integers(1, 60, count)) - 1
        message = target(
            start[columns] + rng.normal(0.0, scale, (count, len(columns))),
            names=[NAMES[column] for column in columns],
            offsets_ms=offsets.tolist(),
            stamp_ns=cell.now_ns - int(rng.integers(0, 10)) * MS,
        )
        cell.give(message)
        if rng.random() < 0.05:
            cell.pause()
        if rng.random() < 0.2:
            cell.follower.resume()
        cell.watch()
        cell.pass_time(int(rng.choice([5, 20, 50, 400])) * MS)
    assert not cell.seams or max(cell.seams) <= 1e-6
    for trajectory in cell.trajectories:
        assert not trajectory.velocities[-1].any()
        _, q, v, a = kit.hermite(trajectory)
        assert (q <= limits.position_max + 1e-9).all()
        assert (q >= limits.position_min - 1e-9).all()
        assert (np.abs(v) <= limits.velocity_max * (1 + 1e-9)).all()
        assert (np.abs(a) <= limits.acceleration_max * (1 + 1e-9)).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_commands_stay_between_the_start_and_the_targets_but_for_a_braking_distance(kit, data):
    """Two sources of single points once drove an arm to 3.56 rad by targets of 0 and 0.5."""
    places = data.draw(
        st.lists(st.tuples(*[st.floats(-1.5, 1.5)] * 3), min_size=1, max_size=4), label="places"
    )
    ahead_ms = data.draw(st.sampled_from([0, 5, 60, 150]), label="ahead")
    period_ms = data.draw(st.integers(4, 40), label="period")
    cell = Cell(kit.robot, [0.0, 0.2, 0.4])
    cell.look()
    for i in range(60):
        cell.give(target(places[i % len(places)], offsets_ms=(ahead_ms,), stamp_ns=cell.now_ns))
        cell.watch()
        cell.pass_time(period_ms * MS)
    limits = Limits.of(kit.robot)
    asked = limits.clip(np.array([[0.0, 0.2, 0.4], *places]))
    room = limits.velocity_max**2 / (2.0 * limits.acceleration_max) + 1e-6
    for trajectory in cell.trajectories:
        _, q, _, _ = kit.hermite(trajectory)
        assert (q >= asked.min(axis=0) - room).all()
        assert (q <= asked.max(axis=0) + room).all()


def test_a_leader_whose_encoder_wraps_is_no_turn(kit):
    robot = dataclasses.replace(
        kit.robot,
        joints=(
            dataclasses.replace(kit.robot.joints[0], position_min=-6.6, position_max=6.6),
            *kit.robot.joints[1:],
        ),
    )
    cell = Cell(robot, [6.2, 0.2, 0.4])
    cell.look()
    for leader in (6.20, 6.23, 6.26, 0.01, 0.04, 0.07):
        cell.give(target([leader, 0.2, 0.4], stamp_ns=cell.now_ns))
        cell.pass_time(PERIOD_NS)
    cell.pass_time(1000 * MS)
    assert cell.arm()[0] == pytest.approx(0.07 + 2 * np.pi, abs=0.1)
    cell.look()
    cell.give(target([0.05, 0.2, 0.4], stamp_ns=cell.now_ns))  # begins anew, wrapped
    cell.pass_time(1000 * MS)
    assert cell.arm()[0] > 6.2
