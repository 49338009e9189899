"""A policy for Meta-World that knows nothing, and the suites where they are installed."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from evo1_policy.checkpoint import save_checkpoint, shipped_checkpoint
from evo1_policy.interface import load_interface
from evo1_policy.model.evo1 import new_model
from evo1_policy.normalization import FeatureStats, NormStats
from evo1_training.suites.simulation import SuiteError, suites_python

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from swaying_arm import MODEL

CONFIG = dataclasses.replace(MODEL, views=1, horizon=15)


@pytest.fixture(scope="session")
def installed():
    try:
        suites_python()
    except SuiteError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def ignorant(tmp_path_factory):
    """Its folder."""
    folder, interface = (
        tmp_path_factory.mktemp("policies") / "ignorant",
        load_interface("metaworld"),
    )
    state, action = (
        FeatureStats(
            min=np.full(width, -1.0),
            max=np.full(width, 1.0),
            mean=np.zeros(width),
            std=np.ones(width),
            q01=np.full(width, -0.9),
            q99=np.full(width, 0.9),
        )
        for width in interface.widths
    )
    save_checkpoint(
        folder,
        model=new_model(CONFIG, seed=0),
        stats=NormStats(
            embodiment=interface.embodiment, state=state, action=action, action_space="raw"
        ),
        interface=interface,
        tokenizer_dir=shipped_checkpoint("xarm6") / "tokenizer",
    )
    return folder
