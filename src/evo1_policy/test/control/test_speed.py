"""The pace of the policy's chunks: time is slowed, the path stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.control.chunks import at_speed
from evo1_policy.control.signals import SLOWEST, ExecutionMode, LoopSettings, LoopState, Request

MS = 1_000_000
AHEAD = np.array([0.2, -0.1, 0.05])  # [rad/s] at full speed


def straight(cell):
    """A policy that goes on in a straight line from where it sees the arm."""

    def spoil(chunk):
        seen = cell.position(chunk.observation_stamp_ns)
        steps = np.arange(1, chunk.horizon + 1)[:, np.newaxis]
        actions = seen + AHEAD * steps * cell.robot.step_ns / 1e9
        return ActionChunk(**{**vars(chunk), "actions": actions})

    return spoil


def velocity(cell):
    """What the arm is commanded now [rad/s]."""
    return (cell.position() - cell.position(cell.now_ns - 20 * MS)) / 20e-3


def running(kit, **options):
    cell = kit.moving_cell(**options)
    cell.spoil = straight(cell)
    cell.run(1.5)
    return cell


def test_half_speed_takes_twice_as_long_for_the_same_path():
    chunk = ActionChunk(
        actions=np.linspace(0.0, 1.0, 10)[:, np.newaxis],
        start_ns=1_033 * MS,
        step_ns=33 * MS,
        observation_stamp_ns=1_000 * MS,
        instruction="",
    )
    slow = at_speed(chunk, 0.5)
    assert (slow.start_ns, slow.step_ns) == (1_066 * MS, 66 * MS)
    assert slow.actions is chunk.actions
    assert slow.observation_stamp_ns == chunk.observation_stamp_ns


@pytest.mark.parametrize("speed", [1.0, 0.5, 0.1])
def test_the_arm_moves_at_the_asked_share_of_the_policys_velocity(kit, speed):
    cell = running(kit)
    cell.speed = speed
    cell.run(1.5)
    np.testing.assert_allclose(velocity(cell), AHEAD * speed, atol=0.004)


@pytest.mark.parametrize("mode", [mode for mode in ExecutionMode if mode != "synchronous"])
def test_a_change_is_felt_within_one_inference_and_without_a_step(kit, mode):
    cell = running(kit, settings=LoopSettings(mode=mode))
    cell.speed = 0.2
    cell.run(0.6)  # inference and cross-fade
    assert (np.abs(velocity(cell)) <= np.abs(AHEAD) * 0.2 + 0.01).all()
    cell.speed = 1.0
    cell.run(1.5)
    np.testing.assert_allclose(velocity(cell), AHEAD, atol=0.03)
    kit.assert_seamless(cell)
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)


def test_the_arm_never_acts_longer_on_what_it_saw_than_at_full_speed(kit):
    cell = running(kit)
    cell.speed = SLOWEST
    cell.run(2.0)
    seen = [request.observation.stamp_ns for request in cell.asked[-4:]]
    assert max(np.diff(seen)) < 1_000 * MS  # 25 actions at 30 Hz are 833 ms


def test_a_synchronous_chunk_is_slowed_and_rests_in_between(kit):
    cell = kit.moving_cell(settings=LoopSettings(mode=ExecutionMode.SYNCHRONOUS))
    cell.spoil, cell.speed = straight(cell), 0.5
    cell.run(6.0)
    assert cell.state is LoopState.RUNNING, cell.output.status
    speeds = [np.abs(trajectory.velocities).max() for trajectory in cell.sent[-2:]]
    assert max(speeds) < AHEAD[0]  # though it catches up with the path that began without it


@settings(max_examples=10)
@given(speeds=st.lists(st.floats(SLOWEST, 1.0), min_size=1, max_size=8), every=st.integers(5, 60))
def test_whatever_is_asked_no_limit_breaks_and_no_seam_shows(kit, speeds, every):
    cell = kit.moving_cell()
    for speed in speeds:
        cell.speed = speed
        cell.run(every / 100)
    assert cell.state is LoopState.RUNNING, cell.output.status
    cell.run(2.0, Request.PAUSE)
    assert not cell.moving()
    kit.assert_seamless(cell)
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)
