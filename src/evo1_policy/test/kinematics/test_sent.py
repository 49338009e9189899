"""What is sent keeps clear: chunks are cut, no stop is refused, a person is led no further."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.action_chunk import ActionChunk, interpolate
from evo1_policy.control.chunks import Accepted, Chunks, InstructionWatch
from evo1_policy.control.execution import plan_hold
from evo1_policy.control.motion import Motion
from evo1_policy.control.signals import (
    LoopInput,
    LoopSettings,
    StopCode,
    StopReason,
    Transition,
)
from evo1_policy.control.teleop import TeleopFollower
from evo1_policy.control.teleop_target import RefusedTarget, TeleopTarget
from evo1_policy.observation import JointSample, Missing

NOW_NS = 100_000_000_000
HOME = np.array([0.0, -0.3, 0.6, 0.0])
MS = 1_000_000


def chunk_to(goal, now_ns, start, seconds=1.0) -> ActionChunk:
    """A straight way from where the arm is to a goal (D,) [rad]."""
    share = np.minimum(np.arange(1, 51)[:, np.newaxis] / (30.0 * seconds), 1.0)
    share = share * share * (3.0 - 2.0 * share)
    return ActionChunk(
        actions=start + share * (np.array(goal) - start),
        start_ns=now_ns + 33_333_333,
        step_ns=33_333_333,
        observation_stamp_ns=now_ns,
        instruction="go",
    )


def execute(robot, motion, goal, now_ns, seconds=1.0):
    """Have a chunk executed by an arm that is where it is commanded."""
    at = HOME if motion.executing is None else motion.executing.sample(now_ns)[0]
    for earlier_ns in (100 * MS, 0):
        motion.look(JointSample(positions=at, stamp_ns=now_ns - earlier_ns), None, now_ns)
    chunks = Chunks(robot, LoopSettings(), motion, 50)
    measured = JointSample(positions=at, stamp_ns=now_ns)
    chunk = chunk_to(goal, now_ns, at, seconds)
    return chunks.execute(chunk, measured, now_ns, lead_ns=2_000 * MS)


def test_a_chunk_into_the_table_is_cut_where_the_arm_still_comes_to_rest(robot, kit):
    verdict = execute(robot, Motion(robot), (0.0, 0.5, 0.6, 0.0), NOW_NS)
    assert isinstance(verdict, Accepted)
    assert "would touch 'table'" in verdict.cut
    assert " s on (safety.collision)" in verdict.cut
    sent = verdict.command.trajectory
    assert not sent.velocities[-1].any()
    assert 0.001 - 0.002 < kit.clearance(sent, sent.last_tick) < 0.06


def test_after_a_cut_the_next_chunk_is_asked_for_at_once(robot):
    motion = Motion(robot)
    due = []
    for goal in ((0.0, -0.2, 0.6, 0.0), (0.0, 0.5, 0.6, 0.0)):
        chunks = Chunks(robot, LoopSettings(), motion, 50)
        for earlier_ns in (100 * MS, 0):
            sample = JointSample(positions=HOME, stamp_ns=NOW_NS - earlier_ns)
            motion.look(sample, None, NOW_NS)
        chunk = chunk_to(goal, NOW_NS, HOME)
        chunks.execute(chunk, sample, NOW_NS, lead_ns=2_000 * MS)
        words = InstructionWatch(Transition.BLEND)
        words.words = chunk.instruction
        missing = Missing(code="pending", stream="image_1", message="")
        inputs = LoopInput(now_ns=NOW_NS + 20 * MS, observation=missing, measured=sample)
        due.append(chunks.next_is_due(inputs, words, lead_ns=100 * MS, running=True))
    assert due == [False, True]


def test_a_chunk_that_can_only_touch_is_refused_with_the_pair(robot, workspace):
    down = np.array([0.0, 1.0, 0.0, 0.0])
    low = next(x for x in np.arange(0.0, 1.0, 0.002) if workspace.touching(HOME + x * down))
    motion, near = Motion(robot), HOME + (low - 0.002) * down
    for earlier_ns in (100 * MS, 0):
        motion.look(JointSample(positions=near, stamp_ns=NOW_NS - earlier_ns), None, NOW_NS)
    measured = JointSample(positions=near, stamp_ns=NOW_NS)
    chunk = chunk_to(near + 0.5 * down, NOW_NS, near, 0.4)
    chunks = Chunks(robot, LoopSettings(), motion, 50)
    verdict = chunks.execute(chunk, measured, NOW_NS, lead_ns=2_000 * MS)
    assert isinstance(verdict, StopReason)
    assert verdict.code is StopCode.WOULD_TOUCH
    assert "'table'" in verdict.message


@settings(max_examples=15, deadline=None)
@given(
    goal=st.tuples(
        st.floats(-1.2, 1.2), st.floats(-0.6, 0.7), st.floats(-0.5, 1.8), st.floats(0.0, 0.08)
    ),
    seconds=st.sampled_from([0.4, 0.7, 1.2]),
    stop_ms=st.integers(100, 1200),
)
def test_whatever_a_policy_wants_and_whenever_it_is_stopped_nothing_is_touched(
    robot, kit, goal, seconds, stop_ms
):
    motion = Motion(robot)
    if isinstance(execute(robot, motion, goal, NOW_NS, seconds), StopReason):
        return
    before = motion.executing
    assert kit.clearance(before, before.last_tick) > -0.002
    stop = motion.stop(NOW_NS + stop_ms * MS)
    if stop is not None:
        sent = stop.trajectory
        assert not sent.velocities[-1].any()
        assert kit.clearance(sent, sent.last_tick) > -0.002
        assert motion.executing.end_ns <= before.end_ns + 500 * MS


def over_the_table(workspace) -> np.ndarray:
    """(50, D) joint positions of a wide turn on which the arm dips to 4 mm above the table."""
    down = np.array([0.0, 1.0, 0.0, 0.0])
    low = next(x for x in np.arange(0.0, 1.0, 0.001) if workspace.touching(HOME + x * down))
    share = np.minimum(np.arange(1, 51) / 36.0, 1.0)
    rows = np.tile(HOME + (low - 0.01) * down, (50, 1))
    rows[:, 0] += -1.3 + 1.4 * share * share * (3.0 - 2.0 * share)
    rows[:, 1] -= 0.35 * np.cos(np.pi * share) ** 2
    return rows


def test_a_stop_whose_straight_way_touches_brakes_along_the_way_that_was_clear(
    robot, workspace, kit
):
    rows = over_the_table(workspace)
    start = rows[0]
    straight_touches = 0
    for stop_ms in range(200, 1000, 50):
        motion = Motion(robot)
        for earlier_ns in (100 * MS, 0):
            sample = JointSample(positions=start, stamp_ns=NOW_NS - earlier_ns)
            motion.look(sample, None, NOW_NS)
        chunk = replace(chunk_to(start, NOW_NS, start), actions=rows)
        chunks = Chunks(robot, LoopSettings(smoothing_rad=0.0), motion, 50)
        assert chunks.execute(chunk, sample, NOW_NS, lead_ns=2_000 * MS).cut == ""
        before, now_ns = motion.executing, NOW_NS + stop_ms * MS
        straight = plan_hold(before, now_ns=now_ns, lead_ns=motion.lead_ns, limits=motion.limits)
        touches = workspace.contact(straight.sent, straight.splice_tick) is not None
        straight_touches += touches
        stop = motion.stop(now_ns)
        assert stop is not None
        assert kit.clearance(stop.trajectory, stop.trajectory.last_tick) > -0.002
        if touches:
            curve = interpolate(
                before.positions,
                before.velocities,
                before.step_ns / 1e9,
                np.linspace(0.0, (before.end_ns - before.start_ns) / 1e9, 2000),
            )[0]
            apart = np.abs(stop.trajectory.positions[:, np.newaxis] - curve).max(axis=2)
            assert apart.min(axis=1).max() < 0.004  # rad
            assert motion.executing.end_ns <= before.end_ns
    assert straight_touches >= 2


def test_an_arm_that_somebody_else_moved_into_the_table_is_stopped_all_the_same(robot, kit):
    motion = Motion(robot)
    motion.executing = kit.through((0, -0.3, 0.6, 0), (0, 0.8, 0.6, 0), points=60)
    now_ns = motion.executing.start_ns + 500 * MS  # of a course that was never checked
    assert motion.stop(now_ns) is not None


def test_a_persons_targets_into_the_table_are_followed_until_near_it_and_again_away(robot, kit):
    follower = TeleopFollower(robot)
    refused, cut, heights = [], [], []
    for k in range(120):
        now_ns = NOW_NS + k * 33 * MS
        executing = follower.motion.executing
        at = HOME if executing is None else executing.sample(now_ns)[0]
        for earlier_ns in (50 * MS, 0):
            sample = JointSample(positions=at, stamp_ns=now_ns - earlier_ns)
            follower.watch(sample, now_ns)
        lift = -0.3 + 1.0 * np.sin(np.pi * k / 100)  # down through the table, and up again
        target = TeleopTarget(
            joint_names=robot.joint_names,
            stamp_ns=now_ns,
            offsets_ns=(60 * MS,),
            positions=np.array([[0.0, lift, 0.6, 0.0]]),
        )
        verdict = follower.take(target, sample, now_ns)
        if isinstance(verdict, RefusedTarget):
            refused.append(verdict.reason)
        else:
            cut.append(follower.cut)
            sent = verdict.trajectory
            assert (
                kit.clearance(sent.knots(sent.last_tick - 1, sent.last_tick), sent.last_tick) > 0
            )
            heights.append(at[1])
    assert any("would touch 'table'" in reason for reason in [*refused, *cut])
    assert not follower.fault
    assert heights[-1] < 0.0


def test_without_a_model_nothing_is_looked_at(robot):
    free = replace(robot, safety=replace(robot.safety, collision=None))
    verdict = execute(free, Motion(free), (0.0, 0.5, 0.6, 0.0), NOW_NS)
    assert isinstance(verdict, Accepted)
    assert verdict.cut == ""
