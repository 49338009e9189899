"""Statistics of a dataset: there, of the right shape, and those of its data.

Must not import ROS or torch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.datasets.checker.episodes import DatasetMeta, EpisodeMeta
from evo1_training.datasets.checker.findings import Findings
from evo1_training.datasets.checker.info import CheckedInfo
from evo1_training.datasets.reader.info import ACTION_KEY, STATE_KEY, DatasetError, read_json

_KINDS = ("min", "max", "mean", "std")
_NEAR = 1e-3  # of the range: how far statistics may lie from the data


class Extremes:
    """Smallest and largest numbers of the vectors, gathered over all episodes."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}

    def add(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take the columns of an episode, (T, D) each."""
        for key in (STATE_KEY, ACTION_KEY):
            if key in columns and len(columns[key]):
                low, high = columns[key].min(axis=0), columns[key].max(axis=0)
                if key in self._found:
                    low = np.minimum(low, self._found[key][0])
                    high = np.maximum(high, self._found[key][1])
                self._found[key] = (low, high)

    def items(self) -> Iterator[tuple[str, npt.NDArray[Any], npt.NDArray[Any]]]:
        """Give feature, minimum (D,) and maximum (D,)."""
        for key, (low, high) in self._found.items():
            yield key, low, high


def check_episode_stats(
    info: CheckedInfo,
    episode: EpisodeMeta,
    columns: Mapping[str, npt.NDArray[Any]],
    findings: Findings,
) -> None:
    """Compare an episode's statistics with its numbers."""
    if episode.stats is None:
        if info.version == "v2.1":
            findings.add(
                "stats-missing", episode.label, "no statistics in meta/", episode=episode.index
            )
        return
    where = f"meta/: statistics of {episode.label}"
    if not _check_shapes(info, episode.stats, where, findings, episode=episode.index):
        return
    extremes = Extremes()
    extremes.add(columns)
    _compare(episode.stats, extremes, where, findings, episode=episode.index)


def check_dataset_stats(meta: DatasetMeta, extremes: Extremes, findings: Findings) -> None:
    """Compare meta/stats.json with the numbers of all episodes; v2.1 may do without."""
    path = meta.info.root / "meta" / "stats.json"
    if not path.exists():
        if meta.info.layout == "v3.0":
            findings.add("stats-missing", path, "missing")
        return
    try:
        stats = read_json(path)
    except DatasetError as error:
        findings.add("meta-unreadable", path, str(error).removeprefix(f"{path}: "))
        return
    if not isinstance(stats, dict):
        findings.add("meta-unreadable", path, f"expected an object, got {type(stats).__name__}")
        return
    # In v2.1 only other tools read this file, each with a layout of its own.
    if meta.info.layout == "v2.1":
        return
    if _check_shapes(meta.info, stats, str(path), findings):
        _compare(stats, extremes, str(path), findings)


def _check_shapes(
    info: CheckedInfo,
    stats: Mapping[str, Any],
    where: str,
    findings: Findings,
    *,
    episode: int | None = None,
) -> bool:
    """Whether every statistic that training needs is there in its shape."""
    before = len(findings)
    for key, feature in info.features.items():
        if not (key == ACTION_KEY or key.startswith("observation.")) or feature.dtype == "string":
            continue
        entry = stats.get(key)
        entry = entry if isinstance(entry, dict) else {}
        missing = [kind for kind in _KINDS if kind not in entry]
        if missing:
            findings.add(
                "stats-missing", where, f"{key}: no {', '.join(missing)}", episode=episode
            )
            continue
        channels = feature.shape[2] if feature.is_camera else 0
        expected = (channels, 1, 1) if feature.is_camera else feature.shape
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
    for key, low, high in extremes.items():
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
