"""hub:user/name, or hub:user/name@revision: checkpoints and datasets of the Hugging Face hub.

huggingface_hub brings it into its cache, and only the files of a closed list: nothing that could
be executed. What is in the cache is taken as it is: a policy does not change because its author
pushed another one. Must not import ROS or torch.
"""

import re
from functools import partial
from pathlib import Path

import yaml

from evo1_policy.checkpoint_layouts.contents import CheckpointError as CheckpointError
from evo1_policy.checkpoint_layouts.own import TOKENIZER_FILES
from evo1_policy.command_line import printable
from evo1_policy.untrusted import UntrustedError, parse_yaml, read_text

HUB = "hub:"
CHECKPOINT_FILES = (
    *("README.md", "config.json", "model.safetensors", "norm_stats.json", "robot.yaml"),
    *("training.json", "evo1_ros2.json"),  # what our layout and our exports add
    *("mp_rank_00_model_states.pt", "checkpoint.pt", "checkpoint.json", "model_config.json"),
    *("policy_preprocessor.json", "policy_postprocessor.json", "policy_*processor_*.safetensors"),
    *TOKENIZER_FILES,
    *(f"tokenizer/{name}" for name in TOKENIZER_FILES),
)
DATASET_FILES = (
    *("meta/*.json", "meta/*.jsonl", "meta/*.parquet", "meta/evo1/*.yaml"),
    *("data/*.parquet", "videos/*.mp4", "images/*.png", "README.md"),
)
_NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_CARD, _MOST_CARD_BYTES = "README.md", 1 << 20


def local_dataset(named: Path | str) -> Path:
    """The same for a dataset; what a broken download left out of the cached revision is fetched.

    Raises:
        CheckpointError: see local_checkpoint.
    """
    return local_checkpoint(named, DATASET_FILES, kind="dataset")


def local_checkpoint(
    named: Path | str, files: tuple[str, ...] = CHECKPOINT_FILES, *, kind: str = "model"
) -> Path:
    """The folder that a text means; downloads what of 'hub:user/name' is not in the cache yet.

    Args:
        named: a folder, which comes back as it is, or 'hub:user/name', 'hub:user/name@revision'.
        files: names that are wanted; nothing else is downloaded.
        kind: of repository, 'model' or 'dataset'.

    Raises:
        CheckpointError: no such repository or revision, or neither cached nor reachable.
    """
    text = str(named)
    if not text.startswith(HUB):
        return Path(named)
    match = _NAME.fullmatch(text)
    if match is None:
        raise CheckpointError(f"{printable(text)}: expected hub:user/name or hub:user/name@rev")
    from huggingface_hub import errors, snapshot_download  # lazily: half a second

    name, revision = match.groups()
    download = partial(snapshot_download, name, repo_type=kind, allow_patterns=list(files))
    at = revision
    try:
        try:
            folder = Path(download(revision=revision, local_files_only=True))
            if kind == "model" and _has_any(folder, files):
                return folder
            at = folder.name  # the rest of what is there, not of what was pushed since
        except errors.LocalEntryNotFoundError:
            pass
        return Path(download(revision=at))
    except errors.LocalEntryNotFoundError as error:
        flags = " --repo-type dataset" * (kind == "dataset")
        flags += f" --revision {revision}" if revision else ""
        raise CheckpointError(
            f"{text}: not in the cache, and the hub cannot be reached. Where there is a network, "
            f"type: hf download {name}{flags} --local-dir {name.split('/')[1]}; bring that folder "
            "here and give it in place of hub:..."
        ) from error
    except errors.HfHubHTTPError as error:
        said = printable(str(error).splitlines()[0])
        reason = f"the download failed: {said}"
        if isinstance(error, errors.GatedRepoError):  # a kind of RepositoryNotFoundError
            reason = (
                "its authors ask for an agreement: accept it on the page of the repository, then "
                "type: hf auth login"
            )
        elif isinstance(error, errors.RepositoryNotFoundError):
            reason = "the hub has no such repository, or it is private (hf auth login)"
        elif isinstance(error, errors.RevisionNotFoundError):
            reason = f"the repository has no revision '{revision}'"
        raise CheckpointError(f"{text}: {reason}") from error


def origin(named: Path | str, folder: Path) -> tuple[str, ...]:
    """What to tell of a folder that came from the hub: revision and licence; nothing of others."""
    if not str(named).startswith(HUB):
        return ()
    said = licence(folder)
    told = f"licence {said}" if said else "its card names no licence: ask its authors"
    return (f"{named}: revision {folder.name[:12]}, {told}",)


def licence(folder: Path) -> str:
    """The licence that a model card names, '' where there is none that can be read."""
    try:
        card = read_text(folder / _CARD, what="model card", max_bytes=_MOST_CARD_BYTES)
        head = card.split("---\n", 2)
        data = parse_yaml(head[1], source=_CARD) if len(head) == 3 and not head[0] else None
    except (UntrustedError, yaml.YAMLError):
        return ""
    said = data.get("license_name") or data.get("license") if isinstance(data, dict) else None
    return printable(said, 80) if isinstance(said, str) else ""


def _has_any(folder: Path, files: tuple[str, ...]) -> bool:
    """Whether a snapshot holds one of the weights, or whatever else was wanted."""
    weights = [name for name in files if name.endswith((".pt", "model.safetensors"))]
    return any((folder / name).is_file() for name in weights or files)
