"""One process of several that train together: python rank.py RUNS DATASET KIND STAGE"""

import dataclasses
import os
import sys
from pathlib import Path

from accelerate import DistributedType, PartialState

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "evo1_policy/test/model"))
from swaying_arm import choices

from evo1_training.training.session import train

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "InternVLVisionLayer,Qwen2DecoderLayer,ActionBlock",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


runs, dataset, kind, stage = sys.argv[1:]
config = choices(Path(runs), Path(dataset))
section = dataclasses.replace(getattr(config, stage), batch_size=2, steps=3)
if kind == "fsdp":
    section = dataclasses.replace(section, ema=0.0)
    os.environ.update(FSDP)
    PartialState(cpu=True)  # accelerate shards on accelerators only: its state says it is one
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
train(dataclasses.replace(config, name=kind, **{stage: section}), stage)
