"""What lies where in the folder of a run, and how it gets there without ever being half there.

    ~/evo1_runs/<name>/stage1/
        train.yaml                   every choice of this stage
        mappings.json                how its datasets were read: what each was adopted as, hashed
        run_id                       for Weights & Biases
        metrics.jsonl                one line every few steps
        summary.md                   what came out, at the end
        open_loop/step_000500.png    held-out episodes: demonstrated and predicted
        tokenizer/                   copied into every checkpoint
        last, best                   links to a policy that evaluate and the launch files load
        checkpoints/step_000500/
            policy/                  config.json, model.safetensors, norm_stats.json, ...
            trainer/                 what the same command goes on from

Must not import ROS or torch.
"""

import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from evo1_policy.checkpoint_layouts.contents import appearing
from evo1_policy.paths import point_link, write_whole
from evo1_policy.untrusted import parse_json, read_json, read_text
from evo1_training.training.config_values import (
    TrainConfigError,
    build,
    differences,
    plain,
    to_yaml,
)
from evo1_training.training.train_config import Stage, TrainConfig, read_yaml

CONFIG, METRICS, SUMMARY = "train.yaml", "metrics.jsonl", "summary.md"
MAPPINGS = "mappings.json"
IDENTITY = "run_id"  # of this very run: another one of the same name has another
POLICY, TRAINER, STATE = "policy", "trainer", "state.json"
STAGES: tuple[Stage, ...] = ("stage1", "stage2", "single")
_MOST_METRICS_BYTES = 4 << 30
# What may change between a run and its continuation: nothing that moves a weight.
_FREE = (
    *("saving", "watching", "rollouts.every", "runs", "device"),
    *("data.workers", "data.prefetch", "data.cache_dir"),
)


@dataclass(frozen=True, kw_only=True)
class SavedStep:
    """A complete checkpoint of a run."""

    path: Path
    step: int

    @property
    def policy(self) -> Path:
        """The folder that the policy loads."""
        return self.path / POLICY

    @property
    def trainer(self) -> Path:
        """The folder with the rest of what training goes on from."""
        return self.path / TRAINER

    def state(self) -> Mapping[str, Any]:
        """The small part of it: counters, and what was measured."""
        data = read_json(self.trainer / STATE, what="state of a run")
        if not isinstance(data, Mapping):
            raise TrainConfigError(f"{self.trainer / STATE}: expected a mapping")
        return data


class RunFolder:
    """One stage of one run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @property
    def checkpoints(self) -> Path:
        """Where complete checkpoints lie."""
        return self.path / "checkpoints"

    def saved(self) -> list[SavedStep]:
        """Complete checkpoints, oldest first."""
        found = [
            SavedStep(path=path, step=int(path.name.removeprefix("step_")))
            for path in self.checkpoints.glob("step_*")
            if path.name.removeprefix("step_").isdigit()
        ]
        return sorted(found, key=lambda saved: saved.step)

    def newest(self) -> SavedStep | None:
        """The checkpoint that training goes on from."""
        saved = self.saved()
        return saved[-1] if saved else None

    def begin(self, config: TrainConfig, mappings: Mapping[str, str]) -> None:
        """Make the folder, keep others out of it, and write what the run is.

        Args:
            config: all choices.
            mappings: how each dataset is read, see data_selection.mappings.

        Raises:
            TrainConfigError: another process trains here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / ".lock").open("w")
        try:
            # Unlike flock's, this lock is not shared with forked readers that outlive a kill.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainConfigError(
                f"{self.path}: another process trains here; wait for it, or choose another --name"
            ) from error
        for partial in self.checkpoints.glob("*.partial"):
            shutil.rmtree(partial)
        write_whole(self.path / CONFIG, to_yaml(plain(config)), sync=False)
        write_whole(self.path / MAPPINGS, json.dumps(mappings, indent=1) + "\n", sync=False)
        if not (self.path / IDENTITY).is_file():
            write_whole(self.path / IDENTITY, f"{uuid.uuid4().hex[:12]}\n", sync=False)

    def end(self) -> None:
        """Let others in again."""
        if self._lock is not None:
            self._lock.close()

    def config(self) -> TrainConfig:
        """What the run is.

        Raises:
            TrainConfigError: its train.yaml cannot be read.
        """
        return build(TrainConfig, read_yaml(self.path / CONFIG), source=str(self.path / CONFIG))

    def check_same(self, config: TrainConfig, stage: Stage, mappings: Mapping[str, str]) -> None:
        """Refuse to go on with a run under other choices than it began with.

        Args:
            config: all choices now.
            stage: the section that counts.
            mappings: as in begin, now.

        Raises:
            TrainConfigError: names the keys, and how to go on.
        """
        ours, theirs = plain(config), plain(self.config())
        others = tuple(section for section in STAGES if section != stage)
        changed = [
            f"{key}: {old!r} then, {new!r} now"
            for key, new, old in differences(ours, theirs)
            if not key.startswith((*_FREE, *others))
        ]
        changed += [
            f"{name} was adopted anew since, or changed"
            for name, now in mappings.items()
            if self._mappings().get(name, now) != now
        ]
        if changed:
            raise TrainConfigError(
                f"{self.path}: this run began with other choices ({'; '.join(changed)}); go on "
                "with those, give this one another --name, or set the old one aside with --restart"
            )

    def _mappings(self) -> dict[str, str]:
        path = self.path / MAPPINGS
        if not path.is_file():  # a run of an earlier version
            return {}
        data = read_json(path, what="mappings of a run")
        return data if isinstance(data, dict) else {}

    def set_aside(self) -> Path | None:
        """Rename the folder, so that a new run can begin here; its new place."""
        if not self.path.exists():
            return None
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        return self.path.rename(aside)

    @contextmanager
    def appearing(self, step: int) -> Iterator[SavedStep]:
        """A checkpoint to write into, that is there when all of it is on the disk.

        Raises:
            CheckpointError: see checkpoint_layouts.contents.appearing.
        """
        with appearing(self.checkpoints / f"step_{step:06d}") as partial:
            (partial / TRAINER).mkdir()
            yield SavedStep(path=partial, step=step)

    def point(self, name: str, step: int) -> None:
        """Let the link `last` or `best` mean the policy of a step."""
        point_link(self.path / name, Path("checkpoints") / f"step_{step:06d}" / POLICY)

    def prune(self, *, keep_last: int, keep_every: int = 0, best: int | None) -> None:
        """Remove all checkpoints but the newest, the best, and those of every so many steps."""
        for saved in self.saved()[:-keep_last]:
            if saved.step != best and not (keep_every and saved.step % keep_every == 0):
                doomed = saved.path.with_name(saved.path.name + ".partial")
                saved.path.rename(doomed)  # half removed, it must not pass for a checkpoint
                shutil.rmtree(doomed)

    def keep_metrics_until(self, step: int) -> None:
        """Drop the lines that a killed run wrote after its last checkpoint."""
        path = self.path / METRICS
        if not path.is_file():
            return
        text = read_text(path, what="numbers of a run", max_bytes=_MOST_METRICS_BYTES)
        lines = text.splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        write_whole(path, "".join(f"{line}\n" for line in kept), sync=False)


def find_stage1(runs: Path, name: str) -> RunFolder:
    """The stage 1 that a stage 2 goes on from: of the named run, or the newest.

    Raises:
        TrainConfigError: there is none, or it has not come to its end.
    """
    places = [runs / name / "stage1"] if name else list(runs.glob("*/stage1"))
    found = [RunFolder(path) for path in places if (path / CONFIG).is_file()]
    with_weights = [(run, saved) for run in found if (saved := run.newest()) is not None]
    if not with_weights:
        where = places[0] if name else f"{runs}/*/stage1"
        raise TrainConfigError(
            f"{where}: no checkpoint of a stage 1; train it first (train --stage 1), or give a "
            "checkpoint with --from FOLDER"
        )
    run, saved = max(with_weights, key=lambda pair: pair[1].path.stat().st_mtime_ns)
    steps = run.config().stage1.steps
    if saved.step < steps:
        raise TrainConfigError(
            f"{run.path}: stage 1 stands at step {saved.step} of {steps}; run train --stage 1 "
            f"again to finish it, or start from it as it is: --from {run.path / 'last'}"
        )
    return run


def _step_of(line: str) -> float:
    try:
        return float(parse_json(line, source=METRICS)["step"])
    except (ValueError, LookupError, TypeError):
        return float("inf")  # torn by the kill
