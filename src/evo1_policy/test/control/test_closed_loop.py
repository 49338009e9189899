"""The promise, as properties: whatever the policy and its timing, the arm's motion is sound."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evo1_policy.control.policy_loop import LoopSettings
from evo1_policy.control.signals import LoopState, Request, StopCode
from evo1_policy.control.teleop_target import TeleopTarget
from evo1_policy.observation import Missing
from evo1_policy.robot_config import load_robot

MS = 1_000_000
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def policies(kit, kind, rng):
    """Chunks of many tempers, as functions of the clock; each chunk of its own where random."""
    home, speed, size = kit.home, rng.uniform(0.3, 8.0), rng.uniform(0.05, 2.5)
    if kind == "smooth":
        return kit.waves(rng.uniform(0.3, 2.0), rng.uniform(0.05, 0.3))
    if kind == "fast":
        return kit.waves(speed, 0.5)
    if kind == "beyond":
        return kit.waves(rng.uniform(0.3, 2.0), size)
    if kind == "steps":
        return lambda t: home + rng.choice([-0.5, 0.5]) * np.array([1.0, 0.7, 2.0])
    return lambda t: home + rng.normal(0.0, size / 5, 3)


@settings(max_examples=60, **COMMON)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["smooth", "fast", "beyond", "steps", "noise"]),
    latency_ms=st.integers(0, 600),
    jitter_ms=st.integers(0, 300),
    lost=st.sampled_from([0.0, 0.0, 0.3]),
    stop_at_s=st.floats(0.3, 3.0),
)
def test_published_motion_is_sound_for_any_policy_and_timing(
    kit, seed, kind, latency_ms, jitter_ms, lost, stop_at_s
):
    rng = np.random.default_rng(seed)

    def latency_ns():
        if rng.random() < lost:
            return None
        return int(np.clip(latency_ms + rng.integers(-jitter_ms, jitter_ms + 1), 0, 600)) * MS

    cell = kit.cell(
        kit.robot,
        actions=policies(kit, kind, rng),
        latency_ns=latency_ns,
        delivery_ns=lambda: int(rng.integers(0, 6 * MS)),
        settings=LoopSettings(max_inference_ns=900 * MS),
        horizon=int(rng.integers(8, 51)),
        start_ns=int(rng.integers(1, 10**15)),
    )
    cell.step(Request.START)
    while len(cell.outputs) < stop_at_s * 100:
        reason = cell.output.status.reason
        stuck = reason is not None and not reason.code.recovers and rng.random() < 0.1
        cell.step(*((Request.RESUME,) if stuck else ()))
    before = cell.active
    asked_ns = cell.now_ns
    cell.run(1.0, Request.STOP)
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)
    kit.assert_seamless(cell)
    reasons = [output.status.reason for output in cell.outputs]
    assert all(r is None or r.code is not StopCode.CHUNK_BREAKS_LIMITS for r in reasons)
    assert cell.state is LoopState.STOPPED
    assert not cell.moving()
    if before is not None:
        # Until a controller can be told, the arm goes on; then it brakes as fast as it may.
        lead_ns = cell.loop._motion.lead_ns
        at_ns = asked_ns + np.arange(0, lead_ns + kit.robot.step_ns // 2, MS)
        speed = np.max([np.abs(before.sample(int(t))[1]) for t in at_ns], axis=0)
        braking_ns = np.max(speed / kit.robot.acceleration_max) * 1e9
        bound_ns = lead_ns + braking_ns + kit.robot.step_ns
        # A trajectory in its tail ends at rest as soon as limits allow; none is sent then.
        sent_stop = cell.outputs[-100].command is not None
        assert kit.rest_ns(cell.active) <= asked_ns + bound_ns + 1000 or not sent_stop


def wish(cell, position):
    """A person's target."""
    return TeleopTarget(
        joint_names=cell.robot.joint_names,
        stamp_ns=cell.now_ns,
        offsets_ns=(60 * MS,),
        positions=position[np.newaxis],
    )


def disturb(cell, rng):
    """Something goes, or comes back."""
    faults = [
        None,
        Missing(stream="image_1", code="stale", message="a camera"),
        Missing(stream="joint_states", code="joint", message="a joint"),
        Missing(stream="image_2", code="skew", message="askew"),
        Missing(stream="image_2", code="pending", message="soon"),
    ]
    if rng.random() < 0.05:
        cell.missing = faults[int(rng.integers(len(faults)))]
    if rng.random() < 0.02:
        cell.controller_problem = rng.choice([None, "nobody listens"])
    if rng.random() < 0.02:
        cell.failure = rng.choice([None, "out of memory"])
    if rng.random() < 0.02:
        cell.dead_man = rng.choice([None, "released"])


@settings(max_examples=25, **COMMON)
@given(seed=st.integers(0, 2**32 - 1))
def test_published_motion_is_sound_whatever_happens(kit, seed):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["smooth", "fast", "beyond", "steps", "noise"])
    cell = kit.cell(
        kit.robot,
        actions=policies(kit, kind, rng),
        latency_ns=lambda: int(rng.integers(0, 500)) * MS,
        settings=LoopSettings(max_inference_ns=900 * MS),
        start_ns=int(rng.integers(10**12, 10**15)),
    )
    hand = None
    for _ in range(400):
        requests = rng.choice(list(Request), size=1) if rng.random() < 0.05 else ()
        disturb(cell, rng)
        if rng.random() < 0.03:  # a person, who is still or jumps
            hand = None if rng.random() < 0.5 else cell.position() + rng.normal(0.0, 0.4, 3)
        if hand is not None:
            cell.targets = (wish(cell, hand + rng.normal(0.0, 0.01, 3)),)
        before = cell.output.status if cell.outputs else None
        after = cell.step(*requests).status
        if before is not None and before.state is LoopState.STOPPED and Request.START in requests:
            assert after.state is LoopState.STOPPED
        if after.state is not LoopState.RUNNING:
            assert cell.output.chunk is None
            assert (after.reason is None) == (after.state is LoopState.IDLE)
    cell.missing = cell.controller_problem = cell.failure = None
    cell.run(1.0, Request.STOP)
    assert not cell.moving()
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)
    kit.assert_seamless(cell)


def test_smooth_chunks_inside_limits_are_reproduced(kit):
    cell = kit.moving_cell()
    cell.run(3.0)
    wanted = kit.waves()
    for _ in range(100):
        cell.step()
        at = cell.now_ns - 10 * MS
        assert np.abs(cell.position(at) - wanted(at / 1e9)).max() < 1e-3
    seams = [output.seam for output in cell.outputs[200:] if output.seam is not None]
    assert len(seams) >= 2
    assert all(not seam.intervened for seam in seams)


@pytest.mark.parametrize("latency_ms", [0, 50, 300, 600])
def test_next_chunk_arrives_before_the_last_is_used_up(kit, latency_ms):
    cell = kit.moving_cell(latency_ns=lambda: latency_ms * MS)
    cell.run(5.0)
    assert cell.output.status.holds == 0
    assert cell.output.status.chunks_accepted >= 5


def test_inference_is_asked_for_by_the_learnt_lead(kit):
    cell = kit.moving_cell(latency_ns=lambda: 400 * MS)
    cell.run(3.0)
    assert cell.output.status.lead_ms == pytest.approx(440.0)


def test_a_chunk_too_fast_is_slowed_and_keeps_its_shape(kit):
    def line(t):
        return kit.home + np.array([0.4, 0.2, 0.0]) * np.sin(6.0 * t)

    start = line(1e6 / 1e3 + 0.1)
    cell = kit.cell(kit.robot, actions=line, start=start, start_ns=1_000 * 1_000 * MS)
    cell.run(0.5, Request.START)
    seam = next(output.seam for output in cell.outputs if output.seam is not None)
    assert 1.2 < seam.stretch < 4.0
    path = cell.sent[0].positions
    # Joints stay in proportion: the same line in space, walked more slowly.
    across = (path[:, 0] - path[0, 0]) * 0.5 - (path[:, 1] - path[0, 1])
    assert np.abs(across).max() < 0.02


def test_a_gripper_that_snaps_shut_does_not_slow_the_arm(kit):
    calm = kit.waves()

    def snapping(t):
        return np.array([*calm(t)[:2], 0.85 if int(t * 2) % 2 else 0.0])

    cell = kit.moving_cell(actions=snapping)
    cell.run(2.0)
    seams = [output.seam for output in cell.outputs[150:] if output.seam is not None]
    assert max(seam.stretch for seam in seams) < 1.01
    assert max(seam.limited_points for seam in seams) > 0
    assert cell.output.status.holds == 0


def test_actions_beyond_the_limits_are_clipped_and_reported(kit):
    cell = kit.cell(
        kit.robot, actions=lambda t: np.array([0.0, 1.3, 0.1]), start=np.array([0.0, 0.9, 0.1])
    )
    cell.run(2.0, Request.START)
    seam = next(output.seam for output in cell.outputs if output.seam is not None)
    assert seam.clipped_points > 30
    assert cell.position()[1] == pytest.approx(1.0, abs=1e-3)
    assert cell.position()[1] <= 1.0


def test_an_arm_slightly_outside_its_limits_moves_inwards_only(kit):
    start = np.array([0.0, 1.04, 0.1])
    cell = kit.cell(kit.robot, actions=lambda t: np.array([0.0, 0.8, 0.1]), start=start)
    cell.run(2.0, Request.START)
    assert cell.output.status.holds == 0
    kit.assert_sound(cell.sent[0], inwards_from=start)
    assert np.all(np.diff(cell.sent[0].positions[:10, 1]) <= 1e-12)
    assert cell.position()[1] < 1.0


def test_the_same_inputs_give_the_same_commands(kit):
    runs = [kit.moving_cell() for _ in range(2)]
    assert len(runs[0].sent) == len(runs[1].sent)
    for one, other in zip(runs[0].sent, runs[1].sent, strict=True):
        assert one.first_tick == other.first_tick
        assert np.array_equal(one.positions, other.positions)


@pytest.mark.parametrize("name", ["xarm6", "so100"])
def test_the_shipped_robots_follow_a_smooth_policy_untouched(kit, robots_dir, name):
    robot = load_robot(robots_dir / f"{name}.yaml")
    home, phase = np.array(robot.home), np.arange(robot.width)
    home += np.array([0.0] * (robot.width - 1) + [0.4])

    def wanted(t):
        return home + 0.15 * np.sin(1.5 * t + phase)

    cell = kit.cell(robot, actions=wanted, start=wanted(1_000.0), latency_ns=lambda: 200 * MS)
    cell.run(2.0, Request.START)
    for _ in range(200):
        cell.step()
        at = cell.now_ns - 10 * MS
        assert np.abs(cell.position(at) - wanted(at / 1e9)).max() < 1e-3
    assert cell.output.status.holds == 0
    kit.assert_seamless(cell)
    for trajectory in cell.sent:
        type(kit)(robot).assert_sound(trajectory)
