"""The videos of a dataset, by their packets: every frame there, at its time, in its size.

Decodes nothing but a first frame. Must not import ROS or torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from evo1_policy.untrusted import refuse_lfs_pointer
from evo1_training.datasets.reader.folder import DatasetFolder
from evo1_training.datasets.reader.info import Feature
from evo1_training.datasets.reader.layouts import Episode
from evo1_training.datasets.reader.problems import Findings
from evo1_training.datasets.reader.video import TOLERANCE_S


@dataclass(frozen=True, kw_only=True, eq=False)
class _Packets:
    """What a video says of its frames without decoding: times [s] in order, and size [px]."""

    times_s: npt.NDArray[np.float64]
    precision_s: float
    size: tuple[int, int]


def check_videos(meta: DatasetFolder, findings: Findings) -> set[tuple[int, str]]:
    """Check every video file.

    Returns:
        (episode, camera) pairs whose pictures cannot be looked at.
    """
    info = meta.info
    keys = info.videos
    named = {place.path for episode in meta.episodes for place in episode.videos.values()}
    for path in sorted((info.root / "videos").glob("**/*.mp4")):
        if path not in named:
            findings.add("video-extra", path, "no episode of meta/ lies in this file")
    bad: set[tuple[int, str]] = set()
    for key in keys:
        for path, episodes in _by_file(meta.episodes, key).items():
            wrong = _check_file(meta, key, path, episodes, findings)
            bad |= {(episode.index, key) for episode in wrong}
    return bad


def _by_file(episodes: Iterable[Episode], key: str) -> Mapping[Path, list[Episode]]:
    files: dict[Path, list[Episode]] = {}
    for episode in episodes:
        files.setdefault(episode.videos[key].path, []).append(episode)
    return files


def _check_file(
    meta: DatasetFolder, key: str, path: Path, episodes: list[Episode], findings: Findings
) -> list[Episode]:
    """Check one file; returns the episodes whose frames cannot be read."""
    if not path.is_file():
        findings.add("video-missing", path, "missing, although meta/ names it")
        return episodes
    try:
        refuse_lfs_pointer(path)
        packets = _packets(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        findings.add("video-unreadable", path, f"cannot be read: {error}")
        return episodes
    _check_size(meta.info.features[key], path, packets, findings)
    promised = sum(episode.length for episode in episodes)
    if len(packets.times_s) != promised:
        only = episodes[0].index if len(episodes) == 1 else None
        findings.add(
            "video-frames",
            path,
            f"{len(packets.times_s)} frames, but meta/ promises {promised}",
            episode=only,
        )
        return episodes
    wrong = []
    for episode in episodes:
        what = _misplaced(episode, key, packets, meta.info.fps)
        if what:
            findings.add("video-times", path, f"{episode.label}: {what}", episode=episode.index)
            wrong.append(episode)
    return wrong


def _packets(path: Path) -> _Packets:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video in this file")
        stream = container.streams.video[0]
        if stream.codec_context is None or not stream.time_base:
            raise ValueError("no codec can decode it, or it has no clock")
        base = float(stream.time_base)
        ticks = [
            packet.pts
            for packet in container.demux(stream)
            # What an edit list cuts away is in the file, and never shown.
            if packet.pts is not None and not packet.is_discard
        ]
        size = (stream.codec_context.height, stream.codec_context.width)
    times = np.sort(np.array(ticks, np.float64)) * base
    return _Packets(times_s=times, precision_s=base / 2, size=size)


def _check_size(feature: Feature, path: Path, packets: _Packets, findings: Findings) -> None:
    expected = feature.shape[:2]
    if packets.size != expected:
        findings.add(
            "picture-size",
            path,
            f"{packets.size[1]}x{packets.size[0]} pixels, expected {expected[1]}x{expected[0]}",
        )


def _misplaced(episode: Episode, key: str, packets: _Packets, fps: int) -> str:
    """Say which frame is not at its time; empty where all are."""
    place = episode.videos[key]
    tolerance = TOLERANCE_S + packets.precision_s
    first = int(np.searchsorted(packets.times_s, place.start_s - tolerance))
    found = packets.times_s[first : first + episode.length]
    if len(found) < episode.length:
        return (
            f"from_timestamp {place.start_s:.4f} s leaves {len(found)} of {episode.length} frames"
        )
    wanted = place.start_s + np.arange(episode.length) / fps
    wrong = np.flatnonzero(np.abs(found - wanted) > tolerance)
    late_s = float(packets.times_s[0])
    if wrong.size and late_s > tolerance and not place.start_s:
        return f"the video starts at {late_s:.4f} s, expected 0"
    if wrong.size:
        row = int(wrong[0])
        return f"frame {row} is at {found[row]:.4f} s, expected {wanted[row]:.4f} s"
    end_s = place.start_s + episode.length / fps
    if place.end_s is not None and abs(place.end_s - end_s) > 0.5 / fps:
        return f"to_timestamp {place.end_s:.4f} s, expected {end_s:.4f} s"
    return ""
