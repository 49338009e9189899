"""What a checkpoint is once its small files were read, whichever layout it came in.

Must not import ROS or torch.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evo1_policy.checkpoint_layouts.tensor_names import EmbodimentTable
from evo1_policy.checkpoint_layouts.training_facts import UNKNOWN, TrainingFacts
from evo1_policy.model.config import Evo1Config
from evo1_policy.normalization import Mode, NormStats
from evo1_policy.robot_config import RobotConfig

Layout = Literal["own", "official_deepspeed", "official_flash", "lerobot"]
_NAMES_SHOWN = 5


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; names the directory, the file and the tensor or key."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a caller adds to what a directory says by itself.

    Attributes:
        robot: for directories that hold no robot file; it must not contradict one that they do.
        embodiment: key of the norm stats, 'arm' or 'arm/dataset', where there are several.
        semantics: a published line (model.variants) instead of the one that the layout implies.
        norm_mode: a normalisation mode instead of the one that the directory implies.
        tokenizer: folder of the tokenizer, for directories that hold none.
        units: file with the units of the statistics, where they are not radians.
    """

    robot: RobotConfig | None = None
    embodiment: str | None = None
    semantics: str | None = None
    norm_mode: Mode | None = None
    tokenizer: Path | None = None
    units: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint directory whose small files were read; the weights stay on disk.

    Attributes:
        directory: where it is.
        config: sizes and semantics.
        stats: norm stats of the robot's embodiment.
        robot: the robot that it moves.
        layout: how the directory is laid out.
        weights: the file with the tensors.
        sources: the files that decide what the policy does, for the hash.
        tokenizer: folder of the tokenizer, None where none was found.
        overridden: whether the caller changed what the directory says.
        table: of embodiments, where the head of the weights has one.
        training: what is known of how it was trained.
    """

    directory: Path
    config: Evo1Config
    stats: NormStats
    robot: RobotConfig
    layout: Layout
    weights: Path
    sources: tuple[Path, ...]
    tokenizer: Path | None
    overridden: bool = False
    table: EmbodimentTable | None = None
    training: TrainingFacts = UNKNOWN

    @property
    def tokenizer_dir(self) -> Path:
        """The folder for model.preprocessing.load_tokenizer.

        Raises:
            CheckpointError: none was found.
        """
        if self.tokenizer is None:
            raise CheckpointError(
                f"{self.directory}: no tokenizer; {self.layout} checkpoints carry none. Copy the "
                "tokenizer files of InternVL3-1B (tokenizer.json, or vocab.json with merges.txt) "
                f"into {self.directory / 'tokenizer'}, or convert with --tokenizer FOLDER"
            )
        return self.tokenizer

    def model_hash(self) -> str:
        """12 hex digits that change with the weights, the config or the norm stats."""
        digest = hashlib.sha256()
        for path in self.sources:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        if self.overridden:
            said = [self.config.to_dict(), self.stats.to_dict()]
            digest.update(json.dumps(said, sort_keys=True).encode())
        return digest.hexdigest()[:12]


def shown(names: list[str]) -> str:
    """The first few of many names, for an error message."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
