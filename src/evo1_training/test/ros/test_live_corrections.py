import os
import sys

import pytest

pytestmark = pytest.mark.ros


@pytest.fixture
def system():
    from stand_in_system import StandInSystem

    running = StandInSystem()
    yield running
    running.close()


@pytest.fixture
def keyboard(monkeypatch):
    """What a person types."""
    reads, writes = os.pipe()
    with os.fdopen(reads) as stdin, os.fdopen(writes, "w", buffering=1) as typed:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield typed


def test_a_trial_with_a_person_is_recorded_driven_ended_by_enter_and_saved(
    system, keyboard, tmp_path, monkeypatch
):
    from evo1_policy.checkpoint import read_checkpoint, shipped_checkpoint
    from evo1_training.evaluation.outcomes import EvaluationError
    from evo1_training.ros import live_corrections
    from evo1_training.ros.live_cell import LiveCell

    made = tmp_path / "episode_000000"
    there = []
    monkeypatch.setattr(live_corrections, "episode_folders", lambda root: list(there))
    policy = shipped_checkpoint("xarm6")
    system.model_hash = read_checkpoint(policy).model_hash()
    with LiveCell(namespace="", timeout_s=10.0) as cell:
        rig = live_corrections.LiveRig(cell, tmp_path)
        rig.load(policy)
        rig.begin("take the can")
        keyboard.write("\n")
        rig.drive("take the can", 20.0)
        assert rig.end(keep=False) is None
        rig.begin("take the can")
        with pytest.raises(EvaluationError, match="saved nothing below"):
            rig.end(keep=True)
        made.mkdir()
        system.saves.append(lambda: there.append(made))
        rig.begin("take the can")
        assert rig.end(keep=True) == made
    begin = ["instruct take the can", "start"]
    run = "run 20.0 take the can"
    assert system.calls == [*begin, run, "discard", *begin, "save", *begin, "save"]
