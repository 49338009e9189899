"""One process of several that train together: python rank.py KIND STAGE RUNS DATASET."""

import dataclasses
import sys
from pathlib import Path

from accelerate import DistributedType, PartialState

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "evo1_policy/test/model"))
from swaying_arm import choices

from evo1_training.training.session import train

kind, stage, runs, dataset = sys.argv[1:]
config = choices(Path(runs), Path(dataset))
section = dataclasses.replace(getattr(config, stage), batch_size=2, steps=3)
if kind == "fsdp":
    section = dataclasses.replace(section, ema=0.0)
    PartialState(
        cpu=True
    )  # accelerate shards on accelerators only; its state says that this is one
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
train(dataclasses.replace(config, **{stage: section}), stage)
