"""Statistics of a dataset: there, of the right shape, and those of its data.

Must not import ROS or torch.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.info import (
    ACTION_KEY,
    STATE_KEY,
    DatasetInfo,
    read_meta_json,
    read_meta_lines,
)
from evo1_training.datasets.reader.layouts import Episode, episode_tables, read_table
from evo1_training.datasets.reader.problems import Findings

Stats = Mapping[str, Any]
_KINDS = ("min", "max", "mean", "std")
_NEAR = 1e-3  # of the range: how far statistics may lie from the data


class Extremes:
    """Smallest and largest numbers of the vectors, gathered over all episodes: each (D,).

    Args:
        more: columns beside LeRobot's own of state and action.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._keys = dict.fromkeys([STATE_KEY, ACTION_KEY, *more])
        self.found: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}

    def add(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take the columns of an episode, (T, D) each."""
        for key in self._keys:
            if key in columns and len(columns[key]):
                before = (one[np.newaxis] for one in self.found.get(key, ()))
                rows = np.concatenate([columns[key], *before])
                self.found[key] = (rows.min(axis=0), rows.max(axis=0))


def read_episode_stats(info: DatasetInfo, findings: Findings) -> Mapping[int, Stats]:
    """The statistics that meta/ has of each episode, by its number."""
    if info.version == "v2.0":
        return {}
    if info.layout == "v2.1":
        records = read_meta_lines(info.root, "meta/episodes_stats.jsonl", findings)
        return {
            record["episode_index"]: record["stats"]
            for record in records or ()
            if isinstance(record.get("stats"), dict)
            and isinstance(record.get("episode_index"), int)
        }
    found: dict[int, Stats] = {}
    for file in episode_tables(info, findings):
        table = read_table(file, None, findings)
        for record in table.to_pylist() if table is not None else ():
            stats: dict[str, dict[str, Any]] = {}
            for column, value in record.items():
                parts = column.split("/")
                if parts[0] == "stats" and len(parts) == 3 and value is not None:
                    stats.setdefault(parts[1], {})[parts[2]] = value
            if stats:
                found[record["episode_index"]] = stats
    return found


def check_episode_stats(
    info: DatasetInfo,
    episode: Episode,
    stats: Stats | None,
    columns: Mapping[str, npt.NDArray[Any]],
    findings: Findings,
) -> None:
    """Compare an episode's statistics with its numbers."""
    if stats is None:
        if info.version == "v2.1":
            findings.add(
                "stats-missing", episode.label, "no statistics in meta/", episode=episode.index
            )
        return
    where = f"meta/: statistics of {episode.label}"
    if not _check_shapes(info, stats, where, findings, episode=episode.index):
        return
    extremes = Extremes()
    extremes.add(columns)
    _compare(stats, extremes, where, findings, episode=episode.index)


def check_dataset_stats(meta: DatasetFolder, extremes: Extremes, findings: Findings) -> None:
    """Compare meta/stats.json with the numbers of all episodes; v2.1 may do without."""
    path = meta.info.root / "meta" / "stats.json"
    if not path.exists():
        if meta.info.layout == "v3.0":
            findings.add("stats-missing", path, "missing")
        return
    stats = read_meta_json(meta.root, "meta/stats.json", findings)
    if stats is None:
        return
    # In v2.1 only other tools read this file, each with a layout of its own.
    if meta.info.layout == "v2.1":
        return
    if _check_shapes(meta.info, stats, str(path), findings):
        _compare(stats, extremes, str(path), findings)


def _check_shapes(
    info: DatasetInfo,
    stats: Mapping[str, Any],
    where: str,
    findings: Findings,
    *,
    episode: int | None = None,
) -> bool:
    """Whether every statistic that training needs is there in its shape."""
    before = len(findings)
    for key, feature in info.features.items():
        if not (key == ACTION_KEY or key.startswith("observation.")) or feature.dtype in (
            "string",
            "language",
        ):
            continue
        entry = stats.get(key)
        entry = entry if isinstance(entry, dict) else {}
        missing = [kind for kind in _KINDS if kind not in entry]
        if missing:
            findings.add(
                "stats-missing", where, f"{key}: no {', '.join(missing)}", episode=episode
            )
            continue
        expected = (feature.shape[2], 1, 1) if feature.is_picture else feature.shape
        for kind in _KINDS:
            shape = _shape(entry[kind])
            if shape != expected:
                findings.add(
                    "stats-shape",
                    where,
                    f"{key}: {kind} has shape {shape}, expected {expected}",
                    episode=episode,
                )
                break
    return len(findings) == before


def _shape(value: object) -> tuple[int, ...] | None:
    try:
        return np.array(value, np.float64).shape
    except (TypeError, ValueError):
        return None


def _compare(
    stats: Mapping[str, Any],
    extremes: Extremes,
    where: str,
    findings: Findings,
    *,
    episode: int | None = None,
) -> None:
    for key, (low, high) in extremes.found.items():
        allowed = _NEAR * (high - low) + 1e-4
        for kind, found in (("min", low), ("max", high)):
            claimed = np.array(stats[key][kind], np.float64)
            wrong = np.flatnonzero(np.abs(claimed - found) > allowed)
            if wrong.size:
                place = int(wrong[0])
                findings.add(
                    "stats-wrong",
                    where,
                    f"{key}: {kind}[{place}] is {claimed[place]:.4f}, the data has "
                    f"{found[place]:.4f}",
                    episode=episode,
                )
                break
