"""Pairs of processes that train together: python rank.py RUNS DATASET

One pair by DDP, one by FSDP, over gloo; what each says goes to RUNS/KIND_RANK.txt. They are forks
of one process that has imported everything once; its status is 1 where one of them failed.
"""

import dataclasses
import os
import signal
import socket
import sys
import traceback
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

STAGE = "single"
SHARED = {
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "ACCELERATE_USE_CPU": "true",
}


def train_as(kind: str, runs: Path, dataset: Path) -> None:
    """Train as one of a pair; that of DDP is stopped by a signal to its second, and goes on."""
    config = choices(runs, dataset)
    section = dataclasses.replace(getattr(config, STAGE), batch_size=2, steps=3)
    if kind == "fsdp":
        section = dataclasses.replace(section, ema=0.0)
        os.environ.update(FSDP)
        PartialState(cpu=True)  # accelerate shards on accelerators only: its state says it is one
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    config = dataclasses.replace(config, name=kind, **{STAGE: section})
    if kind == "ddp" and os.environ["RANK"] == "1":
        record = Watcher.record

        def terminate_at_step_2(watcher: Watcher, step: int, values: dict[str, object]) -> None:
            record(watcher, step, values)
            if step == 2:
                signal.raise_signal(signal.SIGTERM)

        Watcher.record = terminate_at_step_2  # type: ignore[method-assign]
    if kind == "ddp":
        end, Accelerator.end_training = Accelerator.end_training, lambda accelerator: None
        interrupted = train(config, STAGE).outcome.interrupted
        sys.stdout.write(f"rank {os.environ['RANK']}: {interrupted}\n")
        Accelerator.end_training = end
    train(config, STAGE)


def fork(kind: str, rank: int, port: int, runs: Path, dataset: Path) -> int:
    """Start one process of a pair; its number."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        said = os.open(runs / f"{kind}_{rank}.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.environ |= {**SHARED, "MASTER_PORT": str(port), "RANK": str(rank)}
        os.environ["LOCAL_RANK"] = str(rank)
        train_as(kind, runs, dataset)
        status = 0
    except BaseException:  # noqa: BLE001  told by its text and its status
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> int:
    """Train both pairs at once."""
    runs, dataset = map(Path, sys.argv[1:])
    ports = {"ddp": free_port(), "fsdp": free_port()}
    ranks = [fork(kind, rank, ports[kind], runs, dataset) for kind in ports for rank in (0, 1)]
    return int(any(os.waitpid(number, 0)[1] for number in ranks))


if __name__ == "__main__":
    sys.exit(main())
