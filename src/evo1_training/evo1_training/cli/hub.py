"""push, pull: datasets and checkpoints to and from the Hugging Face hub. Must not import ROS."""

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evo1_policy.command_line import Parser, entry_point, printable

_PUSH = """\
Put a LeRobot dataset or a checkpoint on the Hugging Face hub: its files, and a card with its
licence; nothing else that lies in the folder. A dataset gets the tag of its format (v2.1, v3.0),
by which LeRobot finds it. Log in before with: hf auth login
example: evo1 push ~/datasets/cans user/cans --license apache-2.0
"""
_PULL = """\
Bring a dataset or a checkpoint of the hub into huggingface_hub's cache: nothing that could be
executed. train --dataset, adopt and checkpoint:= take hub:user/name, too, and do it themselves.
example: evo1 pull hub:lerobot/svla_so101_pickplace --to ~/datasets/pickplace
"""
_CARD = "README.md"


class HubError(ValueError):
    """Something that cannot be pushed; the message says what to do."""


@entry_point("push")
def push(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = Parser("evo1 push", description=_PUSH)
    parser.add_argument("folder", type=Path, help="a dataset or a checkpoint")
    parser.add_argument("name", metavar="USER/NAME", help="where to; made if it is not there")
    parser.add_argument(
        "--license", default="", metavar="NAME", help="such as apache-2.0, cc-by-4.0"
    )
    parser.add_argument("--private", action="store_true", help="if it is not there yet")
    options = parser.parse_args(arguments)
    from huggingface_hub import CommitOperationAdd, HfApi, errors  # lazily: half a second

    from evo1_policy.checkpoint_layouts.hub import CHECKPOINT_FILES, DATASET_FILES, HUB
    from evo1_training.next_commands import command

    folder, name = options.folder.expanduser(), options.name.removeprefix(HUB)
    kind, tag = _kind(folder)
    card = _card(folder, kind, options.license or _asked(folder))
    patterns = DATASET_FILES if kind == "dataset" else CHECKPOINT_FILES  # what pull brings
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    known = {name for name in there if any(fnmatchcase(name, one) for one in patterns)}
    files = sorted(known - {_CARD})
    added: list[Any] = [CommitOperationAdd(_CARD, card.encode())]
    added += [CommitOperationAdd(file, str(folder / file)) for file in files]
    hub = HfApi()
    try:
        hub.create_repo(name, repo_type=kind, private=options.private or None, exist_ok=True)
        hub.create_commit(name, added, commit_message="evo1 push", repo_type=kind)
        if tag:
            with suppress(errors.RevisionNotFoundError):
                hub.delete_tag(name, tag=tag, repo_type=kind)
            hub.create_tag(name, tag=tag, repo_type=kind)
    except (errors.HfHubHTTPError, errors.LocalTokenNotFoundError) as error:
        reason = printable(str(error).splitlines()[0])
        raise HubError(f"{name}: {reason}; may you write there? (hf auth login)") from error
    size = sum((folder / file).stat().st_size for file in files)
    print(f"{HUB}{name}: {len(files) + 1} files, {size / 1e6:.1f} MB{f', tag {tag}' * bool(tag)}")
    print(f"next, anywhere:  {command('pull', HUB + name)}")
    return 0


@entry_point("pull")
def pull(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = Parser("evo1 pull", description=_PULL)
    parser.add_argument("name", metavar="hub:USER/NAME[@REVISION]")
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="copy it there, out of the cache"
    )
    options = parser.parse_args(arguments)
    from evo1_policy.checkpoint_layouts.hub import (
        HUB,
        CheckpointError,
        local_checkpoint,
        local_dataset,
        origin,
    )
    from evo1_training.next_commands import command

    name = f"{HUB}{options.name.removeprefix(HUB)}"
    if options.to is not None and options.to.exists():
        raise HubError(f"{options.to}: exists already; choose another folder")
    try:
        found, dataset = local_dataset(name), True
    except CheckpointError:
        found, dataset = local_checkpoint(name), False
    for line in origin(name, found):
        print(line)
    if options.to is not None:
        found = Path(shutil.copytree(found, options.to))
    print(found)
    start = ("--dataset", found) if dataset else ("--from", found)
    print(f"next:  {command('check_dataset', found) if dataset else command('train', *start)}")
    return 0


def _kind(folder: Path) -> tuple[str, str]:
    """Which repository a folder becomes, and the tag of its format.

    Raises:
        HubError: it is neither.
        DatasetError: a dataset that cannot be read.
    """
    from evo1_policy.checkpoint_layouts.hub import CHECKPOINT_FILES

    if (folder / "meta" / "info.json").is_file():
        from evo1_training.datasets.reader import open_folder  # lazily: pyarrow takes a second

        return "dataset", open_folder(folder).info.version
    if any((folder / name).is_file() for name in CHECKPOINT_FILES if name.endswith((".pt", "rs"))):
        return "model", ""
    raise HubError(f"{folder}: neither a dataset (meta/info.json) nor a checkpoint (weights)")


def _asked(folder: Path) -> str:
    """The licence that the folder's card names, or a person.

    Raises:
        HubError: nobody does.
    """
    from evo1_policy.checkpoint_layouts.hub import licence

    said = licence(folder)
    if not said and sys.stdin.isatty():
        said = input("licence (apache-2.0, cc-by-4.0, ...): ").strip()
    if not said:
        raise HubError(f"{folder / _CARD}: names no licence; say under which with --license NAME")
    return said


def _card(folder: Path, kind: str, said: str) -> str:
    """The card as it is where it names this licence; else with it, and with LeRobot's words."""
    from huggingface_hub import DatasetCard, ModelCard

    from evo1_policy.checkpoint_layouts.hub import licence

    path = folder / _CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {folder.resolve().name}\n"
    known = licence(folder)
    if known == said:
        return text
    if known:
        raise HubError(f"{path}: names the licence {known}, not {said}; correct one of them")
    card = (DatasetCard if kind == "dataset" else ModelCard)(
        text if text.startswith("---\n") else f"---\n{{}}\n---\n{text}"
    )
    data: Any = card.data
    data.license = said
    if kind == "dataset":
        info = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
        robot = [str(info["robot_type"])] if info.get("robot_type") else []
        data.tags = ["LeRobot", *robot]
        data.task_categories = ["robotics"]
        data.configs = [{"config_name": "default", "data_files": "data/*/*.parquet"}]
        if not path.is_file():
            facts = {
                key: info[key] for key in sorted(info) if key.startswith(("total", "fps", "code"))
            }
            card.text += f"\nA LeRobot dataset:\n\n```json\n{json.dumps(facts, indent=2)}\n```\n"
    else:
        data.tags, data.pipeline_tag = ["robotics", "evo1"], "robotics"
    return str(card)
