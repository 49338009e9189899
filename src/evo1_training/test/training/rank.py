"""One process of several that train together: python rank.py RUNS DATASET KIND STAGE"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

from accelerate import Accelerator, DistributedType, PartialState

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "evo1_policy/test/model"))
from swaying_arm import choices

from evo1_training.training.session import train
from evo1_training.training.watching import Watcher

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
config = dataclasses.replace(config, name=kind, **{stage: section})
if kind == "ddp" and os.environ["RANK"] == "1":
    record = Watcher.record

    def terminate_at_step_2(watcher: Watcher, step: int, values: dict[str, object]) -> None:
        record(watcher, step, values)
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    Watcher.record = terminate_at_step_2  # type: ignore[method-assign]
if kind == "ddp":
    end, Accelerator.end_training = Accelerator.end_training, lambda accelerator: None
    interrupted = train(config, stage).outcome.interrupted
    sys.stdout.write(f"rank {os.environ['RANK']}: {interrupted}\n")
    Accelerator.end_training = end
train(config, stage)
