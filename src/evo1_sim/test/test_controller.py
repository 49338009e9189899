"""What ros2_control's joint_trajectory_controller does with what a naive sender sends.

The figures are those that the true one (4.42, 150 Hz, xarm6_controllers.yaml) gave.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_sim.controller import ControllerSettings, TrajectoryController, xarm6_settings
from evo1_sim.trajectory import TrajectoryError, TrajectoryPoint

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S
PERIOD = 6_666_666  # of 150 Hz, as the controller rounds it
TICK = 33_333_333  # of the actions


def point(at_ns, positions, velocities=(), accelerations=()):
    return TrajectoryPoint(
        positions=positions,
        velocities=velocities,
        accelerations=accelerations,
        time_from_start_ns=at_ns,
    )


class Arm:
    """One joint behind a controller; it follows `lag_ns` later, `error` rad away."""

    def __init__(self, *, lag_ns=0, error=0.0, **changes):
        self.controller = TrajectoryController(("a",), replace(xarm6_settings(), **changes))
        self.now_ns, self.lag_ns, self.error = T0, lag_ns, error
        self.told, self.holding = [], []
        self.controller.activate([0.0])

    def measured(self):
        """Position and velocity; what the drives were told counts one period later."""
        late = self.lag_ns // PERIOD + 1
        path = [0.0] * (late + 1) + self.told
        place, before = path[-late], path[-late - 1]
        return np.array([place + self.error]), np.array([(place - before) / (PERIOD * 1e-9)])

    def send(self, *points, stamp_ns=0, names=("a",)):
        self.controller.receive(points, names, stamp_ns=stamp_ns, now_ns=self.now_ns)

    def follow(self, curve, *, from_ns, points=16, rest=True):
        """Send a curve's points from a time on, by times on its clock, ending at rest."""
        times = from_ns + np.arange(points) * TICK
        last = len(times) - 1
        self.send(
            *(
                point(
                    int(t - from_ns), [curve(t)[0]], [0.0 if rest and i == last else curve(t)[1]]
                )
                for i, t in enumerate(times)
            ),
            stamp_ns=from_ns,
        )

    def update(self):
        told = self.controller.update(self.now_ns, PERIOD, *self.measured())
        self.told.append(float(told[0]))
        state = self.controller.state
        self.holding.append(state is not None and state.holding)
        self.now_ns += PERIOD
        return self.told[-1]

    def run(self, duration_ns):
        for _ in range(duration_ns // PERIOD):
            self.update()
        return self.told[-1]

    def steps(self, since=0):
        """The largest change in one update [rad], and acceleration [rad/s^2]."""
        path = np.array(self.told[since:])
        return np.abs(np.diff(path)).max(), np.abs(np.diff(path, 2)).max() / (PERIOD * 1e-9) ** 2


def ramp(speed):
    """A curve at constant speed: time [ns] -> position, velocity."""
    return lambda t: ((t - T0) * 1e-9 * speed, speed)


def chunks(arm, curve, *, seconds, ahead_ns=0, every_ns=150 * MS):
    """A sender that sends the same curve anew, from one action before its present on."""
    next_ns = arm.now_ns
    end_ns = arm.now_ns + round(seconds * S)
    while arm.now_ns < end_ns:
        if arm.now_ns >= next_ns:
            arm.follow(curve, from_ns=arm.now_ns + ahead_ns - TICK)
            next_ns += every_ns
        arm.update()


# -- on time ---------------------------------------------------------------------------------


def test_activated_it_holds_where_the_arm_is_measured():
    controller = TrajectoryController(("a",), xarm6_settings())
    assert controller.state is None
    assert controller.update(T0, PERIOD, np.array([0.3])) == 0.3
    controller.activate([0.3])
    assert controller.update(T0, PERIOD, np.array([0.25])) == 0.3
    assert controller.state.positions == 0.3
    assert controller.state.feedback == 0.25
    assert controller.state.holding


def test_it_commands_one_period_ahead_of_what_it_calls_its_reference():
    arm = Arm()
    arm.send(point(1 * S, [1.0]))
    arm.update()
    assert arm.controller.state.positions == pytest.approx([0.0])
    assert arm.told[-1] == pytest.approx(PERIOD / S)
    arm.update()
    assert arm.controller.state.positions == pytest.approx([PERIOD / S])
    assert arm.controller.state.velocities == pytest.approx([1.0])
    assert not arm.controller.state.holding


@given(st.floats(-2.0, 2.0), st.integers(20, 400), st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_a_curve_that_is_sent_anew_in_time_is_followed_without_a_seam(speed, every_ms, lag_ms):
    arm = Arm(lag_ns=lag_ms * MS, trajectory_tolerance_rad=0.0)

    def curve(t):
        angle = (t - T0) * 1e-9 * speed
        return np.sin(angle), speed * np.cos(angle)

    arm.follow(curve, from_ns=arm.now_ns)
    chunks(arm, curve, seconds=1.0, every_ns=every_ms * MS)
    expected = [curve(T0 + (k + 1) * PERIOD)[0] for k in range(len(arm.told))]
    assert arm.told == pytest.approx(expected, abs=3e-6)  # what cubics miss of a sine


def test_the_newest_of_two_messages_counts():
    arm = Arm()
    arm.send(point(1 * S, [1.0]))
    arm.send(point(1 * S, [-1.0]))
    assert arm.update() < 0


def test_time_on_a_trajectory_is_the_sum_of_the_controllers_periods():
    arm = Arm()
    arm.send(point(1 * S, [1.0]))
    arm.run(S // 2)
    arm.now_ns -= 1000 * S  # the clock jumps; what runs goes on
    arm.run(S)
    assert arm.told[-1] == pytest.approx(1.0)
    arm.send(point(1 * S, [2.0]), stamp_ns=arm.now_ns)  # what is new counts by the new clock
    arm.run(S // 2)
    assert arm.told[-1] == pytest.approx(1.5, abs=0.02)


# -- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "names", "stamp_ns", "problem"),
    [
        ((), ("a", "b"), 0, "the trajectory is empty"),
        ((point(S, [1.0]),), ("a",), 0, "joint 'b' is missing"),
        ((point(S, [1.0, 1.0], [0.0, 1e-6]),), ("a", "b"), 0, "the last point moves: joint 'b'"),
        ((point(S, [1.0, 1.0]),), ("a", "b"), T0 - 2 * S, r"ended 1\.000 s ago"),
        ((point(S, [1.0, np.nan]),), ("a", "b"), 0, "joint 'b' is nan"),
    ],
)
def test_what_the_controller_refuses_changes_nothing(points, names, stamp_ns, problem):
    controller = TrajectoryController(("a", "b"), xarm6_settings())
    controller.activate([0.1, 0.2])
    with pytest.raises(TrajectoryError, match=problem):
        controller.receive(points, names, stamp_ns=stamp_ns, now_ns=T0)
    assert controller.update(T0, PERIOD, np.zeros(2)).tolist() == [0.1, 0.2]
    assert controller.state.holding


def test_joints_left_out_hold_where_the_controller_allows_it():
    allowed = replace(xarm6_settings(), allow_partial_joints_goal=True)
    controller = TrajectoryController(("a", "b"), allowed)
    controller.activate([0.1, 0.2])
    controller.receive([point(PERIOD, [0.15])], ["a"], stamp_ns=0, now_ns=T0)
    assert controller.update(T0, PERIOD, np.zeros(2)).tolist() == pytest.approx([0.15, 0.2])


def test_a_moving_end_is_commanded_where_the_controller_allows_it():
    arm = Arm(allow_nonzero_velocity_at_trajectory_end=True)
    arm.send(point(S // 10, [0.1], [1.0]))
    arm.run(S // 2)
    assert arm.told[-1] == 0.1
    assert arm.controller.state.velocities == [1.0]


# -- a clock that is behind the sender's ------------------------------------------------------


def test_a_first_point_50_ms_away_is_led_to_from_the_measured_arm():
    arm = Arm(lag_ns=40 * MS)
    chunks(arm, ramp(1.4), seconds=0.1, ahead_ns=50 * MS)  # under way before it counts
    since = len(arm.told)
    chunks(arm, ramp(1.4), seconds=1.0, ahead_ns=50 * MS)
    step, acceleration = arm.steps(since)
    assert step == pytest.approx(0.0376, abs=0.012)
    assert acceleration > 500


def test_from_the_desired_state_the_same_sender_makes_no_step():
    arm = Arm(lag_ns=40 * MS, interpolate_from_desired_state=True)
    chunks(arm, ramp(1.4), seconds=0.1, ahead_ns=50 * MS)
    since = len(arm.told)
    chunks(arm, ramp(1.4), seconds=1.0, ahead_ns=50 * MS)
    step, _ = arm.steps(since)
    assert step < 1.4 * PERIOD / S * 1.8  # at most the next period is skipped


def test_with_a_past_that_is_longer_than_the_skew_nothing_is_led_in():
    arm = Arm(lag_ns=40 * MS)
    arm.follow(ramp(1.4), from_ns=arm.now_ns)
    chunks(arm, ramp(1.4), seconds=0.5)
    assert arm.steps(1)[1] < 1e-3


# -- messages under way ----------------------------------------------------------------------


def braking(speed, begin_ns, deceleration=6.0):
    """A stop from constant speed: its curve by the clock."""
    end_s = speed / deceleration

    def curve(t):
        s = min(max((t - begin_ns) * 1e-9, 0.0), end_s)
        start = (begin_ns - T0) * 1e-9 * speed + min(t - begin_ns, 0) * 1e-9 * speed
        return start + speed * s - deceleration * s**2 / 2, speed - deceleration * s

    return curve


@pytest.mark.parametrize(
    ("delay_ms", "least", "most"), [(0, 5.9, 6.1), (20, 30.0, 60.0), (50, 150.0, 200.0)]
)
def test_a_stop_that_comes_late_is_followed_from_its_middle(delay_ms, least, most):
    arm = Arm()
    arm.follow(ramp(1.0), from_ns=arm.now_ns, points=60)
    arm.run(S // 2)
    arm.controller.delay_ns = delay_ms * MS
    since = len(arm.told) - 2
    arm.follow(braking(1.0, arm.now_ns + 8 * MS), from_ns=arm.now_ns + 8 * MS - TICK, points=10)
    arm.run(S)
    assert least < arm.steps(since)[1] < most  # rad/s^2; 150 of them are a step of 6.7 mrad


def test_a_message_that_ends_before_it_arrives_is_refused():
    arm = Arm()
    arm.controller.delay_ns = 50 * MS
    with pytest.raises(TrajectoryError, match=r"ended 0\.030 s ago"):
        arm.send(point(20 * MS, [1.0]), stamp_ns=arm.now_ns)


# -- tolerances ------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "step"), [(0.009, 0.0), (0.03, 0.03), (-0.05, 0.05)])
def test_half_a_second_after_the_end_a_standing_error_becomes_a_step(error, step):
    arm = Arm(error=error)
    arm.send(point(S // 2, [0.2], [0.0]))
    arm.run(S // 2 + S // 2 - 4 * PERIOD)
    assert not any(arm.holding)
    assert arm.told[-1] == 0.2
    since = len(arm.told)
    arm.run(S // 5)
    assert arm.steps(since - 1)[0] == pytest.approx(step, abs=1e-9)
    assert arm.told[-1] == pytest.approx(0.2 + (error if step else 0.0))
    assert arm.holding[-1] == (step > 0)


def test_an_arm_that_is_left_behind_is_held_where_it_is():
    arm = Arm(trajectory_tolerance_rad=0.3, lag_ns=400 * MS)
    arm.follow(ramp(1.4), from_ns=arm.now_ns, points=60)
    arm.run(S)
    assert arm.holding[-1]
    assert arm.steps()[0] > 0.2
    assert arm.told[-1] < 0.2


def test_a_timeout_holds_where_the_arm_is_measured():
    arm = Arm(error=0.005, cmd_timeout_s=1.0)
    arm.send(point(S // 10, [0.2], [0.0]))
    arm.run(S)
    assert arm.told[-1] == 0.2
    arm.run(S)
    assert arm.told[-1] == pytest.approx(0.205)


# -- off and on ------------------------------------------------------------------------------


def test_an_inactive_controller_drops_what_it_is_sent_and_is_silent():
    arm = Arm()
    arm.send(point(1 * S, [1.0]))
    arm.run(S // 2)
    stood = arm.told[-1]
    arm.controller.deactivate()
    assert arm.controller.state is None
    arm.send(point(1 * S, [1.0]))  # no error: the subscription is still there
    arm.run(S // 2)
    assert arm.told[-1] == stood
    arm.controller.activate(arm.measured()[0])
    arm.run(S // 2)
    assert arm.told[-1] == stood


@pytest.mark.parametrize(("keeps", "place"), [(True, 0.4), (False, 0.43)])
def test_activated_again_it_holds_what_was_told_last_or_what_is_measured(keeps, place):
    arm = Arm(error=0.03, set_last_command_interface_value_as_state_on_activation=keeps)
    arm.send(point(S // 10, [0.4], [0.0]))
    arm.run(S // 5)
    arm.controller.deactivate()
    arm.run(S // 10)
    arm.controller.activate(arm.measured()[0])
    assert arm.update() == pytest.approx(place)


def test_a_sender_that_went_on_meanwhile_steps_the_arm():
    arm = Arm()
    arm.follow(ramp(1.4), from_ns=arm.now_ns)
    chunks(arm, ramp(1.4), seconds=0.3)
    arm.controller.deactivate()
    chunks(arm, ramp(1.4), seconds=0.3)
    arm.controller.activate(arm.measured()[0])
    since = len(arm.told) - 1
    chunks(arm, ramp(1.4), seconds=0.2)
    assert arm.steps(since)[0] == pytest.approx(1.4 * 0.3, abs=0.03)


def test_every_default_is_the_controllers_own():
    assert ControllerSettings(update_rate_hz=150.0) == ControllerSettings(
        update_rate_hz=150.0,
        interpolate_from_desired_state=False,
        trajectory_tolerance_rad=0.0,
        goal_tolerance_rad=0.0,
        goal_time_s=0.0,
        cmd_timeout_s=0.0,
        allow_partial_joints_goal=False,
        allow_nonzero_velocity_at_trajectory_end=False,
        set_last_command_interface_value_as_state_on_activation=True,
    )
