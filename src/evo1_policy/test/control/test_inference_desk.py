"""Which observation is inferred from, and what becomes of a damaged one or a late failure."""

from dataclasses import replace

import numpy as np
import pytest

from evo1_policy.control.inference import InferenceDesk
from evo1_policy.control.signals import InferenceFailed, LoopSettings, StopCode
from evo1_policy.observation import Observation
from evo1_policy.perception.frames import DamagedImageError
from evo1_policy.perception.messages import MessageError

MS = 1_000_000
NOW = 1_000_000 * MS
SEEN = Observation(
    images={}, state=np.zeros(2), instruction="pick", stamp_ns=NOW, received_ns=NOW, skew_ns=0
)


def test_observation_stamped_a_little_ahead_is_inferred_from_at_once() -> None:
    ahead = replace(SEEN, stamp_ns=NOW + 30 * MS)
    request = InferenceDesk(LoopSettings()).ask(ahead, NOW)
    assert request is not None
    assert request.observation is ahead


def test_observation_of_a_clock_that_jumped_back_is_not() -> None:
    assert InferenceDesk(LoopSettings()).ask(replace(SEEN, stamp_ns=NOW + 5000 * MS), NOW) is None


def test_observation_that_comes_again_is_inferred_from_once() -> None:
    desk = InferenceDesk(LoopSettings())
    request = desk.ask(SEEN, NOW)
    assert request is not None
    desk.receive(InferenceFailed(request_id=request.request_id, error="?"))
    assert desk.ask(SEEN, NOW + MS) is None


def test_damaged_image_costs_no_more_than_its_observation_and_is_named() -> None:
    desk = InferenceDesk(LoopSettings())
    request = desk.ask(SEEN, NOW)
    assert request is not None
    error = MessageError("wrist/image_raw: is corrupt or cut off")
    damaged = DamagedImageError(error, camera="image_2", stamp_ns=NOW)
    failed = InferenceFailed(request_id=request.request_id, error=str(error), damaged=damaged)
    assert desk.receive(failed) is None
    assert "the last one could not be used: wrist/image_raw" in desk.waiting_for(NOW)
    assert desk.ask(replace(SEEN, stamp_ns=NOW + 33 * MS), NOW + 40 * MS) is not None


@pytest.mark.parametrize("code", ["inference_failed", "remote_gone"])
def test_a_failure_that_comes_long_after_the_arm_held_is_told(kit, code):
    cell = kit.moving_cell()
    cell.latency_ns = lambda: 4_000 * MS
    cell.failure, cell.failure_code = "nobody answers", StopCode(code)
    cell.run_until(lambda: cell.code == "inference_late")
    cell.run(3.0)
    assert cell.output.status.reason.message.endswith("resume to go on")
    cell.run(3.0)
    assert cell.code == code
    assert "nobody answers" in cell.output.status.reason.message
    kit.stays(cell)
