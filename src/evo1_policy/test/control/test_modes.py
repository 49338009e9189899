"""Every execution mode keeps the promise, whatever the latency; what tells the modes apart."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evo1_policy.control.chunks import unseen
from evo1_policy.control.policy_loop import LoopSettings
from evo1_policy.control.signals import (
    ExecutionMode,
    LoopState,
    Request,
    Transition,
)

MS = 1_000_000
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
OVERLAPPED = [ExecutionMode.REPLACE, ExecutionMode.ENSEMBLE, ExecutionMode.RTC]


def unsteady(kit, rng):
    """Chunks that disagree: a wave, with an offset of each chunk's own."""
    wave, size = kit.waves(0.8, 0.15), 0.05

    def spoil(chunk):
        return replace(chunk, actions=chunk.actions + rng.normal(0.0, size, 3))

    return wave, spoil


def run(kit, mode, *, seed, latency_ms, jitter_ms=0, lost=0.0, seconds=3.0, **options):
    rng = np.random.default_rng(seed)
    wave, spoil = unsteady(kit, rng)

    def latency_ns():
        if rng.random() < lost:
            return None
        return max(latency_ms + int(rng.integers(-jitter_ms, jitter_ms + 1)), 0) * MS

    chosen = LoopSettings(mode=mode, max_inference_ns=900 * MS, **options)
    cell = kit.cell(kit.robot, actions=wave, latency_ns=latency_ns, settings=chosen)
    cell.spoil = spoil
    cell.run(seconds, Request.START)
    return cell


@settings(max_examples=24, **COMMON)
@given(
    mode=st.sampled_from(list(ExecutionMode)),
    seed=st.integers(0, 2**32 - 1),
    latency_ms=st.integers(20, 400),
    jitter_ms=st.integers(0, 60),
    lost=st.sampled_from([0.0, 0.2]),
)
def test_no_mode_breaks_a_limit_or_shows_a_seam(kit, mode, seed, latency_ms, jitter_ms, lost):
    cell = run(kit, mode, seed=seed, latency_ms=latency_ms, jitter_ms=jitter_ms, lost=lost)
    for trajectory in cell.sent:
        kit.assert_sound(trajectory)
    kit.assert_seamless(cell)
    step_s = kit.robot.step_ns / 2e9
    for time_ns, old, new in cell.switches:
        if old is not None:  # in one control period no velocity step above the limit's
            before, after = old.sample(time_ns)[1], new.sample(time_ns + kit.robot.step_ns // 2)[1]
            assert np.all(np.abs(after - before) <= kit.robot.acceleration_max * step_s + 1e-6)
    cell.run(1.0, Request.STOP)
    assert not cell.moving()
    if mode in OVERLAPPED and not lost:
        assert cell.output.status.holds == 0
        assert cell.output.status.idle_fraction == 0.0


def test_synchronous_rests_between_chunks_and_loses_no_action(kit):
    cell = run(kit, ExecutionMode.SYNCHRONOUS, seed=0, latency_ms=300, seconds=5.0)
    status = cell.output.status
    assert status.holds == 0
    assert 0.15 < status.idle_fraction < 0.6
    seams = [output.seam for output in cell.outputs if output.seam is not None]
    assert len(seams) >= 3
    assert all(seam.dropped_actions == 0 for seam in seams)


def test_ensemble_asks_as_often_as_inference_allows(kit):
    often = run(kit, ExecutionMode.ENSEMBLE, seed=0, latency_ms=100)
    seldom = run(kit, ExecutionMode.REPLACE, seed=0, latency_ms=100)
    assert len(often.asked) > 3 * len(seldom.asked)


def test_ensemble_averages_chunks_that_disagree(kit):
    """The spread of where the arm ends up is smaller than that of single chunks."""
    far = {}
    for mode in (ExecutionMode.ENSEMBLE, ExecutionMode.REPLACE):
        cell = run(kit, mode, seed=1, latency_ms=50, seconds=4.0)
        wave, off = kit.waves(0.8, 0.15), []
        for _ in range(300):
            cell.step()
            at = cell.now_ns - 10 * MS
            off.append(np.abs(cell.position(at) - wave(at / 1e9)).max())
        far[mode] = float(np.mean(off))
    assert far[ExecutionMode.ENSEMBLE] < far[ExecutionMode.REPLACE]


def test_rtc_asks_for_what_was_sent_by_the_clock(kit):
    cell = run(kit, ExecutionMode.RTC, seed=0, latency_ms=200, seconds=3.0)
    assert cell.asked[0].guidance is None
    request = cell.asked[-1]
    assert request.guidance is not None
    weights, step_ns = request.guidance.weights, kit.robot.step_ns
    first_ns = request.observation.stamp_ns + step_ns
    sent = next(out for out in reversed(cell.outputs) if out.infer is request)
    index = cell.outputs.index(sent)
    commanded = [out.command for out in cell.outputs[:index] if out.command is not None][-1]
    for k, action in enumerate(request.guidance.actions):
        at_ns = first_ns + k * step_ns
        if at_ns >= commanded.trajectory.start_ns:
            assert action == pytest.approx(commanded.trajectory.sample(at_ns)[0], abs=1e-9)
    # 200 ms and the splice's 40 ms, from an observation that was up to 50 ms old
    frozen = int(np.count_nonzero(weights == 1.0))
    assert 6 <= frozen <= 9
    assert np.all(np.diff(weights[frozen - 1 :]) < 0.0)
    assert len(weights) <= frozen + LoopSettings().rtc_fall_actions


@pytest.mark.parametrize("mode", OVERLAPPED)
@pytest.mark.parametrize("transition", list(Transition))
def test_no_chunk_for_the_old_instruction_is_executed(kit, mode, transition):
    cell = run(kit, mode, seed=0, latency_ms=200, seconds=2.0, transition=transition)
    cell.run_until(lambda: cell.output.infer is not None)  # one for the old words is in flight
    cell.step()
    cell.instruction = "put it down"
    cell.run_until(lambda: cell.output.chunk is not None)
    assert cell.output.chunk.instruction == "put it down"
    assert cell.state is LoopState.RUNNING
    assert cell.output.status.holds == 0


def test_flush_brakes_at_once_and_begins_anew_from_rest(kit):
    cell = run(kit, ExecutionMode.REPLACE, seed=0, latency_ms=100, transition=Transition.FLUSH)
    cell.instruction = "put it down"
    cell.step()
    assert cell.output.command is not None
    assert cell.output.chunk is None
    cell.run_until(lambda: cell.output.infer is not None)
    assert not cell.moving()
    cell.run_until(lambda: cell.output.chunk is not None)
    assert cell.output.chunk.instruction == "put it down"


def test_finish_executes_the_present_chunk_as_far_as_blend_would_not(kit):
    changed = {}
    for transition in (Transition.BLEND, Transition.FINISH):
        cell = run(
            kit, ExecutionMode.REPLACE, seed=0, latency_ms=50, seconds=2.0, transition=transition
        )
        cell.run_until(lambda cell=cell: cell.output.chunk is not None)
        began = cell.now_ns
        cell.instruction = "put it down"
        cell.run_until(lambda cell=cell: cell.output.chunk is not None)
        changed[transition] = (cell.now_ns - began) / 1e9
        assert cell.output.status.holds == 0
    assert changed[Transition.BLEND] < 0.2
    assert changed[Transition.FINISH] > 0.5


def test_unknown_words_are_refused_with_the_list():
    with pytest.raises(ValueError, match="flush, blend, finish, got 'now'"):
        Transition.of("now")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("Put the can into the box.", ""),
        ("put  the can into the box", ""),
        ("fetch me a beer", "the policy never saw 'fetch me a beer' in training"),
    ],
)
def test_an_instruction_that_the_policy_never_saw_is_told(words, told):
    learnt = ("put the can into the box", "close the box")
    assert unseen(words, learnt).startswith(told)
    assert bool(unseen(words, learnt)) == bool(told)
    assert not unseen(words, ())
