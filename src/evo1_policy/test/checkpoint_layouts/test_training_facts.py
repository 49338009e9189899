"""What a checkpoint says of its training, and what is made of damaged files."""

import pytest

from evo1_policy.checkpoint import read_checkpoint, shipped_checkpoint
from evo1_policy.checkpoint_layouts.training_facts import (
    TRAINING,
    TrainingFacts,
    few_instructions,
    read_training,
    write_training,
)


@pytest.mark.parametrize("embodiment", ["xarm6", "so100"])
def test_policies_that_ship_say_that_they_come_from_simulation(embodiment):
    facts = read_checkpoint(shipped_checkpoint(embodiment)).training
    assert facts.trained_in == "simulation"
    assert "into" in facts.instructions[0]


def test_facts_come_back_as_they_were_written(tmp_path):
    facts = TrainingFacts(trained_in="real", instructions=("gieße das Wasser ein", "pour"))
    write_training(tmp_path, facts)
    assert read_training(tmp_path) == facts


def test_nothing_is_written_where_nothing_is_known(tmp_path):
    write_training(tmp_path, TrainingFacts())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"trained_in": "mars", "instructions": 3}', '{"instructions": [1]}']
)
def test_a_damaged_file_means_unknown(text, tmp_path):
    (tmp_path / TRAINING).write_text(text)
    assert read_training(tmp_path) == TrainingFacts()
    assert read_training(tmp_path / "nowhere") == TrainingFacts()


def test_more_sentences_than_anybody_can_list_are_not_kept():
    assert few_instructions([" b ", "a", "a", ""]) == ("a", "b")
    assert few_instructions(str(number) for number in range(101)) == ()
