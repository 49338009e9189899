"""A person takes over and hands back: smooth, within every limit, and the policy waits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.control.limits import Limits
from evo1_policy.control.signals import LoopSettings, LoopState, Request, TakeoverMode
from evo1_policy.control.teleop_target import TeleopTarget, TeleopWindow
from evo1_policy.control.watchdog import DeadMan

NAMES = ("shoulder", "elbow", "jaw")
MS = 1_000_000
RUNNING, HOLDING = LoopState.RUNNING, LoopState.HOLDING
TAKEOVER, STOPPED, IDLE = LoopState.TAKEOVER, LoopState.STOPPED, LoopState.IDLE


class Hand:
    """A person who moves on from where the arm was when the driving began."""

    def __init__(self, cell, *, speed=0.3, offset=0.0):
        self.cell, self.speed, self.offset = cell, speed, offset
        self._window = TeleopWindow(NAMES)
        self._start_ns = cell.now_ns
        self._origin = cell.position().copy()

    def drive(self, seconds, *requests):
        """Steps with a target in each, 100 Hz."""
        for i in range(round(seconds * 100)):
            t = (self.cell.now_ns - self._start_ns) / 1e9
            wish = self._origin + self.offset + self.speed * np.sin(t) * np.array([1, -0.5, 0])
            self.cell.targets = (self._window.push(wish, self.cell.now_ns),)
            self.cell.step(*(requests if i == 0 else ()))
        return self.cell


@pytest.fixture
def make_cell(kit):
    def make(**settings):
        cell = kit.cell(kit.robot, actions=kit.waves(), settings=LoopSettings(**settings))
        cell.step(Request.START)
        cell.run_until(lambda: cell.state is RUNNING and cell.moving())
        cell.run(0.5)
        return cell

    return make


def assert_smooth(kit, cell):
    """No limit is broken by what was sent, and no switch changes position or velocity."""
    limits = Limits.of(cell.robot)
    for trajectory in cell.sent:
        _, _, v, a = kit.hermite(trajectory)
        assert (np.abs(v) <= limits.velocity_max * (1 + 1e-6) + 1e-6).all()
        assert (np.abs(a) <= limits.acceleration_max * (1 + 1e-6) + 1e-6).all()
        assert not trajectory.velocities[-1].any()
    for at_ns, before, after in cell.switches:
        if before is not None:
            for old, new in zip(before.sample(at_ns), after.sample(at_ns), strict=True):
                assert np.abs(old - new).max() < 1e-6


def test_the_first_target_takes_over_without_a_jump_and_drops_what_is_in_flight(kit, make_cell):
    cell = make_cell()
    accepted = cell.output.status.chunks_accepted
    Hand(cell).drive(1.5)
    assert cell.state is TAKEOVER
    assert cell.code == "takeover"
    assert cell.output.status.takeovers == 1
    assert cell.output.status.chunks_accepted == accepted
    assert_smooth(kit, cell)


def test_a_person_far_away_is_approached_slowly(kit, make_cell):
    cell = make_cell()
    hand = Hand(cell, offset=np.array([0.9, 0.0, 0.0]), speed=0.0)
    hand.drive(0.3)
    assert "slowly" in cell.output.status.reason.message
    hand.drive(0.4)
    slow = 0.2 * Limits.of(kit.robot).velocity_max
    speed = np.abs(cell.active.sample(cell.now_ns)[1])
    assert (speed <= slow + 1e-6).all()
    assert speed.max() > 0.5 * slow[0]
    assert_smooth(kit, cell)


def test_silence_brings_the_arm_to_rest_and_then_a_person_resumes(kit, make_cell):
    cell = make_cell()
    Hand(cell).drive(1.0)
    cell.run_until(lambda: cell.state is not TAKEOVER)
    assert (cell.state, cell.code) == (HOLDING, "handed_back")
    assert not cell.moving()
    cell.run(1.0)
    assert cell.state is HOLDING
    cell.step(Request.RESUME)
    cell.run_until(lambda: cell.state is RUNNING and cell.moving())
    cell.run(1.0)
    assert cell.state is RUNNING
    assert_smooth(kit, cell)


def test_hand_back_resumes_by_itself_from_rest_where_it_is_told_to(kit, make_cell):
    cell = make_cell(takeover_resumes=True)
    Hand(cell).drive(1.0)
    asked = len(cell.asked)
    cell.step(Request.HAND_BACK)
    assert (cell.state, cell.code) == (HOLDING, "handing_back")
    cell.run_until(lambda: len(cell.asked) > asked)
    assert not cell.moving()
    cell.run_until(lambda: cell.state is RUNNING and cell.moving())
    cell.run(0.5)
    assert_smooth(kit, cell)


def test_targets_that_go_on_after_a_hand_back_do_not_take_over_again(make_cell):
    cell = make_cell(takeover_resumes=True)
    hand = Hand(cell)
    hand.drive(0.5)
    hand.drive(2.0, Request.HAND_BACK)
    assert cell.state is RUNNING
    cell.run(1.2)  # silent; then the hand moves again
    Hand(cell).drive(0.1)
    assert cell.state is TAKEOVER
    assert cell.output.status.takeovers == 2


def test_a_request_takes_over_stops_the_arm_and_waits_for_targets_and_hand_back(kit, make_cell):
    cell = make_cell(takeover=TakeoverMode.SERVICE)
    Hand(cell).drive(0.2)
    assert cell.state is RUNNING  # targets alone do nothing here
    cell.step(Request.TAKE_OVER)
    cell.run(1.0)
    assert cell.state is TAKEOVER
    assert not cell.moving()
    Hand(cell).drive(0.5)
    assert cell.moving()
    cell.run(3.0)
    assert cell.state is TAKEOVER  # who takes over by request hands back by request
    cell.step(Request.HAND_BACK)
    assert (cell.state, cell.code) == (HOLDING, "handed_back")
    assert_smooth(kit, cell)


def test_take_over_at_rest_ends_at_rest(make_cell):
    cell = make_cell()
    cell.step(Request.FINISH)
    Hand(cell).drive(0.1)
    assert cell.state is IDLE
    assert "IDLE" in cell.output.refused
    cell.step(Request.TAKE_OVER)
    Hand(cell).drive(0.5)
    assert cell.moving()
    cell.step(Request.HAND_BACK)
    assert cell.state is IDLE


@pytest.mark.parametrize(
    ("request_", "state", "code"),
    [
        (Request.STOP, STOPPED, "stopped"),
        (Request.PAUSE, HOLDING, "paused"),
        (Request.FINISH, IDLE, None),
        (Request.RESUME, HOLDING, "handing_back"),
    ],
)
def test_a_driven_arm_obeys_people(kit, make_cell, request_, state, code):
    cell = make_cell()
    hand = Hand(cell)
    hand.drive(0.6)
    cell.step(request_)
    assert (cell.state, cell.code) == (state, code)
    cell.run(0.8)
    if request_ is not Request.RESUME:
        assert not cell.moving()
    assert_smooth(kit, cell)


def test_a_bad_target_does_not_take_over_and_is_told(make_cell):
    cell = make_cell()
    cell.targets = (
        TeleopTarget(
            joint_names=("wrist",), stamp_ns=0, offsets_ns=(0,), positions=np.zeros((1, 1))
        ),
    )
    cell.step()
    assert cell.state is RUNNING
    assert "wrist" in cell.output.refused


def test_an_arm_that_is_out_is_not_taken_over_and_one_that_was_goes_on_where_it_is(make_cell):
    cell = make_cell()
    cell.arm_fault = "the cable is out"
    Hand(cell).drive(0.3)
    assert (cell.state, cell.code) == (HOLDING, "arm_fault")
    assert cell.output.refused == "the cable is out"
    cell.arm_fault = None
    Hand(cell).drive(0.5)
    assert (cell.state, cell.code) == (HOLDING, "arm_fault")  # the end of a fault moves nothing
    cell.run(1.1)
    Hand(cell).drive(0.5)
    assert cell.state is TAKEOVER
    cell.arm_fault = "the cable is out"
    cell.run(1.5)
    cell.shove = np.array([0.6, 0.0, 0.0])  # somebody moved it meanwhile
    cell.arm_fault = None
    cell.run(0.3)
    assert (cell.state, cell.code) == (HOLDING, "arm_fault")
    hand = Hand(cell)
    hand.drive(0.01)
    cell.shove = np.zeros(3)  # from now on commanded from where it is
    hand.drive(0.3)
    assert cell.code == "takeover"


@pytest.mark.parametrize("fault", ["controller_problem", "arm_fault"])
def test_an_arm_that_is_out_ends_the_take_over_whatever_streams_on(kit, make_cell, fault):
    cell = make_cell()
    Hand(cell).drive(0.6)
    setattr(cell, fault, "the cable is out")
    hand = Hand(cell)
    hand.drive(0.6)
    assert cell.state is HOLDING
    assert cell.output.status.reason.message.startswith("the cable is out")
    assert not cell.moving()
    setattr(cell, fault, None)
    hand.drive(0.3)
    assert (cell.state, cell.code) == (HOLDING, fault.replace("problem", "gone"))
    assert not cell.moving()
    cell.run(1.1)
    Hand(cell).drive(0.3)
    assert cell.code == "takeover"
    assert_smooth(kit, cell)


def test_a_fault_that_lasts_is_no_silence_of_a_leader_that_streams_on(make_cell):
    cell = make_cell()
    hand = Hand(cell)
    hand.drive(0.6)
    cell.arm_fault = "the emergency stop is pressed"
    hand.drive(2.0)
    cell.arm_fault = None  # released
    hand.drive(2.0)
    assert (cell.state, cell.code) == (HOLDING, "arm_fault")
    assert not cell.moving()


@pytest.mark.parametrize("ended_by", [(Request.FINISH,), (Request.STOP, Request.CLEAR_STOP)])
def test_a_leader_that_streams_on_does_not_take_a_policy_that_is_started_again(
    make_cell, ended_by
):
    cell = make_cell()
    hand = Hand(cell)
    hand.drive(0.6)
    for request in ended_by:
        hand.drive(2.0, request)
    assert cell.state is IDLE
    hand.drive(1.0, Request.RESUME)
    assert cell.state is RUNNING


def test_a_driven_arm_that_does_not_follow_ends_the_take_over(make_cell):
    cell = make_cell()
    hand = Hand(cell)
    hand.drive(0.3)
    cell.shove = np.array([0.5, 0.0, 0.0])
    hand.drive(0.3)
    assert (cell.state, cell.code) == (HOLDING, "tracking_error")
    assert "shoulder" in cell.output.status.reason.message


def test_a_clock_that_jumps_back_ends_the_take_over_at_rest(make_cell):
    cell = make_cell(takeover_resumes=True)
    Hand(cell).drive(0.5)
    cell.clock_offset_ns = -5_000 * MS
    cell.run(1.0)
    assert (cell.state, cell.code) == (HOLDING, "handed_back")
    assert not cell.moving()


def test_a_dry_run_previews_the_persons_motion_from_the_measured_arm(kit, make_cell):
    cell = make_cell(dry_run=True)
    cell.shove = np.array([0.7, 0.0, 0.0])  # nothing is executed: plan and arm drift apart
    Hand(cell).drive(1.0)
    assert cell.state is TAKEOVER
    assert cell.output.command is not None


def test_a_released_dead_man_button_holds_and_resumes_when_held_again(kit, make_cell):
    cell = make_cell()
    cell.dead_man = "dead-man button 4 of '/joy' is released; hold it to go on"
    cell.step()
    assert (cell.state, cell.code) == (HOLDING, "dead_man")
    cell.run(1.0)
    assert not cell.moving()
    Hand(cell).drive(0.3)
    assert cell.state is TAKEOVER  # it is for chunks; a person may drive
    cell.step(Request.RESUME)
    cell.run(0.6)
    assert cell.code == "dead_man"
    cell.dead_man = None
    cell.run_until(lambda: cell.state is RUNNING and cell.moving())
    assert_smooth(kit, cell)


def test_the_dead_man_button_counts_only_while_its_messages_are_fresh():
    button = DeadMan(topic="/joy", button=2, max_age_ns=500 * MS)
    assert "nothing came on '/joy'" in (button.problem(0) or "")
    button.hear([0, 0, 1], 1_000 * MS)
    assert button.problem(1_400 * MS) is None
    assert "600 ms old" in (button.problem(1_600 * MS) or "")
    button.hear([0, 0, 0], 1_700 * MS)
    assert "released" in (button.problem(1_700 * MS) or "")
    button.hear([1], 1_800 * MS)
    assert "has 1 buttons" in (button.problem(1_800 * MS) or "")


def stopping_ns(cell, executing):
    """What the limits need from the fastest joint, from when a controller can be told."""
    limits, lead_ns = Limits.of(cell.robot), cell.loop._motion.lead_ns
    at_ns = cell.now_ns + np.arange(0, lead_ns + limits.step_ns, MS)
    speed = np.max([np.abs(executing.sample(int(t))[1]) for t in at_ns], axis=0)
    braking_ns = float((speed / limits.acceleration_max).max()) * 1e9
    return lead_ns + braking_ns + 2 * limits.step_ns


@settings(max_examples=25, deadline=None)
@given(
    ran_s=st.floats(0.2, 3.0),
    speed=st.floats(0.2, 2.5),
    driven=st.booleans(),
    request_=st.sampled_from([Request.STOP, Request.PAUSE, Request.TAKE_OVER, Request.FINISH]),
)
def test_stop_and_take_over_rest_within_the_lead_and_the_stopping_time(
    kit, ran_s, speed, driven, request_
):
    cell = kit.cell(kit.robot, actions=kit.waves(speed=speed))
    cell.step(Request.START)
    cell.run(ran_s)
    if driven:
        Hand(cell, speed=speed).drive(0.5)
        request_ = Request.STOP if request_ is Request.TAKE_OVER else request_
    executing = cell.loop._motion.executing
    asked_ns = cell.now_ns
    allowed_ns = 0.0 if executing is None else stopping_ns(cell, executing)
    cell.step(request_)
    command = cell.output.command
    if command is not None:
        assert kit.rest_ns(command.trajectory) - asked_ns <= allowed_ns
    assert cell.state in (STOPPED, HOLDING, TAKEOVER, IDLE)
    cell.run(1.0)
    assert not cell.moving()
