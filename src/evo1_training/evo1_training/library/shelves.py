"""The folders below ~/evo1_episodes and ~/evo1_datasets, and a line for each episode in them.

A shelf is a folder that holds episodes: recordings, or a LeRobot dataset. What is listed comes
from small files only (episode.json, meta/), kept in a cache folder outside; no bag, table or video
is opened. Names come from a browser, so each is confined to its root.

Must not import ROS or torch.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from evo1_policy.command_line import printable
from evo1_policy.paths import confined, folders_below, write_whole
from evo1_policy.untrusted import UntrustedError, read_json
from evo1_training.datasets.reader.folder import DatasetFolder, read_folder
from evo1_training.datasets.reader.info import read_info
from evo1_training.datasets.reader.problems import SEVERITIES, Findings
from evo1_training.recording.episode import (
    SIDECAR,
    EpisodeError,
    Sidecar,
    bag_path,
    episode_folders,
    read_sidecar,
)

Kind = Literal["episodes", "datasets"]
CUT_OFF = "cut off"  # the grade of a take without an outcome
_MOST_SAID = 500  # characters of a text on a card
_INFO = Path("meta") / "info.json"


class LibraryError(ValueError):
    """Something that is not there or cannot be done; the message says what was expected."""


@dataclass(frozen=True, kw_only=True)
class Roots:
    """Where things lie, and where pictures of them are kept.

    Attributes:
        episodes: recordings.
        datasets: LeRobot datasets.
        runs: of training.
        trials: log books of trials in the real world.
        reports: folders below which reports of evaluations and checks are looked for, beside runs.
        cache: thumbnails, film strips, lists and findings; may be removed at any time.
    """

    episodes: Path = Path("~/evo1_episodes")
    datasets: Path = Path("~/evo1_datasets")
    runs: Path = Path("~/evo1_runs")
    trials: Path = Path("~/evo1_trials")
    reports: tuple[Path, ...] = ()
    cache: Path = Path("~/.cache/evo1/desk")

    def __post_init__(self) -> None:
        for name in ("episodes", "datasets", "runs", "trials", "cache"):
            object.__setattr__(self, name, getattr(self, name).expanduser().absolute())
        reports = tuple(path.expanduser().absolute() for path in self.reports)
        object.__setattr__(self, "reports", reports)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A folder of episodes.

    Attributes:
        kind: 'episodes' (recordings) or 'datasets'.
        name: below the root of its kind; '.' for the root itself.
        path: of the folder.
    """

    kind: Kind
    name: str
    path: Path

    @property
    def key(self) -> str:
        """Tells it from every other folder of this machine."""
        return digest(self.kind, self.path.resolve())


@dataclass(frozen=True, kw_only=True)
class Card:
    """An episode in a list.

    Attributes:
        name: of its folder, or its number in the dataset.
        instruction: its label; several are joined by '; '.
        seconds: its length [s]; 0 where it is not known.
        grade: 'pass', 'warn', 'fail' or CUT_OFF of a recording; the worst severity of what
            check-dataset found, '' where nothing was found or nobody looked.
        reasons: why.
        operator: who demonstrated.
        recorded: when, ISO 8601.
    """

    name: str
    instruction: str
    seconds: float
    grade: str
    reasons: tuple[str, ...] = ()
    operator: str = ""
    recorded: str = ""


def digest(*parts: object) -> str:
    """A name for a file of the cache, made of whatever it depends on."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def below(root: Path, name: str) -> Path:
    """What a browser names below a root, file or folder; '.' is the root itself.

    Raises:
        LibraryError: it is not there, or the name leads elsewhere.
    """
    try:
        path = root if name == "." else confined(root, name, "what was asked for")
    except ValueError as error:
        raise LibraryError(str(error)) from error
    if not path.exists():
        raise LibraryError(f"{printable(name)}: not there below {root}")
    return path


def shelves(roots: Roots) -> list[Shelf]:
    """Every folder of recordings and every dataset, by name."""
    found: list[Shelf] = []
    try:
        places = {folder.parent for folder in episode_folders(roots.episodes)}
    except EpisodeError:
        places = set()
    for place in sorted(places):
        name = place.relative_to(roots.episodes).as_posix()
        found.append(Shelf(kind="episodes", name=name, path=place))
    for place in sorted(_datasets_below(roots.datasets)):
        name = place.relative_to(roots.datasets).as_posix()
        found.append(Shelf(kind="datasets", name=name, path=place))
    return found


def find_shelf(roots: Roots, kind: str, name: str) -> Shelf:
    """The shelf that a browser names.

    Raises:
        LibraryError: no such folder, or a name that leads elsewhere.
    """
    if kind == "episodes":
        path = below(roots.episodes, name)
        return Shelf(kind="episodes", name=name, path=path)
    if kind == "datasets":
        path = below(roots.datasets, name)
        if (path / _INFO).is_file():
            return Shelf(kind="datasets", name=name, path=path)
    raise LibraryError(f"{printable(kind)} {printable(name)}: no such folder of episodes")


def find_episode(shelf: Shelf, name: str) -> Path:
    """The folder of a recording.

    Raises:
        LibraryError: no such episode.
    """
    path = below(shelf.path, name)
    if not name.startswith("episode_") or "/" in name:
        raise LibraryError(f"{printable(name)}: expected the name of an episode")
    return path


def cards(shelf: Shelf, cache: Path) -> list[Card]:
    """A card for each episode, the newest recording first, a dataset in its order.

    Raises:
        LibraryError: the dataset's metadata cannot be read.
    """
    if shelf.kind == "episodes":
        return _recorded_cards(shelf, cache)
    folder = open_dataset(shelf.path)
    found = findings_by_episode(read_findings(shelf, cache))
    return [
        Card(
            name=str(episode.index),
            instruction=printable("; ".join(episode.tasks), _MOST_SAID),
            seconds=round(episode.length / folder.info.fps, 3),
            grade=_worst(found.get(episode.index, ())),
            reasons=tuple(f"{one['code']}: {one['what']}" for one in found.get(episode.index, ())),
        )
        for episode in folder.episodes
    ]


def open_dataset(path: Path) -> DatasetFolder:
    """Read the metadata of a dataset, whatever else is wrong with it.

    Raises:
        LibraryError: it cannot be read.
    """
    return _opened(path, _written(path))


@functools.lru_cache(maxsize=8)  # a list of thousands asks for each of its episodes
def _opened(path: Path, written: tuple[int, ...]) -> DatasetFolder:
    problems = Findings()
    info = read_info(path, problems)
    folder = read_folder(info, problems) if info is not None else None
    if folder is None:
        why = next((one.what for one in problems), "cannot be read")
        raise LibraryError(f"{path}: {why}; check-dataset says more")
    return folder


def findings_path(shelf: Shelf, cache: Path) -> Path:
    """Where the findings about a dataset as it is now are kept; another one after each change."""
    return cache / "findings" / f"{digest(shelf.key, *_written(shelf.path))}.json"


def _written(dataset: Path) -> tuple[int, ...]:
    """When the metadata of a dataset was written [ns], which tells it from what it was before."""
    files = sorted([*(dataset / "meta").glob("*.json*"), *(dataset / "meta").rglob("*.parquet")])
    return tuple(file.stat().st_mtime_ns for file in files)


def read_findings(shelf: Shelf, cache: Path) -> Mapping[str, Any]:
    """What check-dataset found (viewing.dataset_report.to_json); empty where nobody looked."""
    try:
        found = read_json(findings_path(shelf, cache), what="findings")
    except (UntrustedError, OSError):
        return {}
    return found if isinstance(found, Mapping) else {}


def findings_by_episode(report: Mapping[str, Any]) -> Mapping[int, Sequence[Mapping[str, Any]]]:
    """The findings that are about one episode, by its number."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for one in report.get("findings", ()):
        if one["episode"] is not None:
            found.setdefault(int(one["episode"]), []).append(one)
    return found


def card_of(name: str, sidecar: Sidecar) -> Card:
    """The card of a recording."""
    facts, outcome = sidecar.facts, sidecar.outcome
    later = outcome.labels if outcome is not None else ()
    labels = [facts.instruction, *(label.instruction for label in later)]
    seconds = (outcome.ended_ns - facts.started_ns) / 1e9 if outcome is not None else 0.0
    return Card(
        name=name,
        instruction=printable("; ".join(dict.fromkeys(filter(None, labels))), _MOST_SAID),
        seconds=round(max(seconds, 0.0), 3),
        grade=printable(outcome.grade) if outcome is not None else CUT_OFF,
        reasons=tuple(printable(reason) for reason in outcome.reasons) if outcome else (),
        operator=printable(facts.operator),
        recorded=printable(facts.started_utc),
    )


def _recorded_cards(shelf: Shelf, cache: Path) -> list[Card]:
    """Read each sidecar once: its card is kept until the file changes."""
    kept_at = cache / "lists" / f"{shelf.key}.json"
    try:
        kept = read_json(kept_at, what="list of episodes")
    except (UntrustedError, OSError):
        kept = {}
    listed: dict[str, tuple[int, Card]] = {}
    changed = False
    for folder in shelf.path.glob("episode_*"):
        stamp = _stamp(folder)
        if stamp is None:
            continue
        card = _kept_card(kept, folder.name, stamp)
        if card is None:
            card, changed = _read_card(folder), True
        listed[folder.name] = stamp, card
    if changed or len(kept) != len(listed):
        kept_at.parent.mkdir(parents=True, exist_ok=True)
        told = {name: [stamp, asdict(card)] for name, (stamp, card) in listed.items()}
        write_whole(kept_at, json.dumps(told), sync=False)
    return [listed[name][1] for name in sorted(listed, reverse=True)]


def _stamp(folder: Path) -> int | None:
    """When the facts of a recording were written [ns]; None for what is no episode."""
    for path in (folder / SIDECAR, bag_path(folder)):
        try:
            return path.stat().st_mtime_ns
        except OSError:
            continue
    return None


def _kept_card(kept: Mapping[str, Any], name: str, stamp: int) -> Card | None:
    try:
        known, fields = kept[name]
        card = Card(**fields)
    except (KeyError, TypeError, ValueError):
        return None
    return replace(card, reasons=tuple(card.reasons)) if known == stamp else None


def _read_card(folder: Path) -> Card:
    try:
        return card_of(folder.name, read_sidecar(folder))
    except EpisodeError as error:
        why = (printable(error),)
        return Card(name=folder.name, instruction="", seconds=0.0, grade=CUT_OFF, reasons=why)


def _worst(findings: Sequence[Mapping[str, Any]]) -> str:
    found = {one["severity"] for one in findings}
    return next((severity for severity in SEVERITIES if severity in found), "")


def _datasets_below(root: Path) -> Iterator[Path]:
    try:
        for folder, inner, _ in folders_below(root, "the datasets"):
            if (folder / _INFO).is_file():
                inner.clear()
                yield folder
    except ValueError as error:
        raise LibraryError(str(error)) from error
