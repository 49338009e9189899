"""Several phrasings of an instruction, and how often datasets come."""

import dataclasses
import json

import pytest
from swaying_arm import MODEL, write_dataset

from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.training.data_selection import dataset_weights, mappings, open_data, resolved
from evo1_training.training.phrasings import chosen, read_phrasings
from evo1_training.training.train_config import DataConfig

WORDS = {"pour": ["pour it", "fill the cup", "empty the can"]}


def test_every_phrasing_comes_and_a_place_has_always_the_same():
    found = [chosen(WORDS, "pour", 0, epoch, 0, frame) for epoch in (0, 1) for frame in range(40)]
    assert set(found) == set(WORDS["pour"])
    assert found[:40] != found[40:]
    assert found[7] == chosen(WORDS, "pour", 0, 0, 0, 7)
    assert chosen(WORDS, "stack", 0, 0, 0, 7) == "stack"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{puor: [fill it]}", "'puor': no dataset has this task; near it: 'pour'"),
        ("{pour: fill it}", "'pour': expected a list of sentences, got 'fill it'"),
        ("{pour: []}", "'pour': expected a list of sentences"),
        ("[pour]", "expected tasks with lists of words"),
        ("{pour: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_named_with_its_task(tmp_path, text, message):
    file = tmp_path / "words.yaml"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_phrasings(file, ["pour", "stack"])


def test_training_sees_the_phrasings_and_the_measurement_does_not(tmp_path, dataset):
    data = open_data(DataConfig(datasets=(str(dataset),)), MODEL, seed=0)
    task = data.train[0][0].instruction
    file = tmp_path / "words.json"
    file.write_text(json.dumps({task: ["one", "two"]}))
    config = DataConfig(datasets=(str(dataset),), phrasings=str(file))
    told = open_data(config, MODEL, seed=0)
    words = [told[0, number, 0].instruction for number in range(8)]
    assert {"one", "two"} <= set(words)
    assert words == [told[0, number, 0].instruction for number in range(8)]
    assert words != [told[0, number, 1].instruction for number in range(8)]
    assert told.held_out[0][0].instruction in data.instructions
    assert {"one", "two", task} <= set(told.facts.instructions)
    before = mappings(config)
    file.write_text(json.dumps({task: ["one"]}))
    assert mappings(config) != before


def test_a_number_behind_a_dataset_is_how_often_its_frames_come(tmp_path, dataset, robot):
    other = write_dataset(tmp_path / "other:2", robot)
    config = DataConfig(datasets=(f"{dataset}:0.5", str(other)))
    data = open_data(config, MODEL, seed=0)
    assert data.order.weights == (0.5, 1.0)
    assert "each 0.5 times an epoch" in data.describe()[0]
    assert resolved(config).datasets == (f"{dataset}:0.5", str(other))
    again = dataclasses.replace(config, datasets=(f"{other}:0.25",))
    assert dataset_weights(again) == {other: 0.25}
    with pytest.raises(DatasetError, match="given twice"):
        dataset_weights(dataclasses.replace(config, datasets=(str(dataset), f"{dataset}:2")))
    with pytest.raises(DatasetError, match="nowhere: no such dataset folder"):
        dataset_weights(DataConfig(datasets=("/nowhere:0.3",)))
