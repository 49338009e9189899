"""An episode as a film strip with its joints, made once and kept in the cache folder.

A film is three files: the strip (a line of pictures for each camera, a JPEG), a thumbnail, and the
curves with everything else as JSON. Must not import ROS or torch. Letters: T samples, D joints.
"""

import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from evo1_policy.command_line import printable
from evo1_policy.paths import write_whole
from evo1_policy.untrusted import UntrustedError, read_json
from evo1_training.datasets.reader.problems import DatasetError, Findings
from evo1_training.library.shelves import (
    LibraryError,
    Shelf,
    digest,
    find_episode,
    findings_by_episode,
    open_dataset,
    read_findings,
)
from evo1_training.recording.episode import EpisodeError, bag_path, read_sidecar
from evo1_training.viewing.episode_view import Curve, EpisodeView, ViewError
from evo1_training.viewing.in_dataset import view_episode
from evo1_training.viewing.recorded import labels_of, view_recording

MOST_BYTES = 512 << 20  # of the cache
COLUMNS = 12  # pictures of each camera
_CELL = 176  # width of a picture [pixels]
_THUMBNAIL = 128
_QUALITY = 78
_MOST_POINTS = 400  # of a curve; more cannot be told apart on a screen
_DIGITS = 4
_VERSION = 1  # of these files; another one makes them anew


@dataclass(frozen=True, kw_only=True)
class Film:
    """Where a film is."""

    facts: Path
    strip: Path
    thumbnail: Path

    @property
    def there(self) -> bool:
        """Whether it was made; the facts are written last."""
        return self.facts.is_file()


def film_of(shelf: Shelf, name: str, cache: Path) -> Film:
    """Where the film of an episode is, as the episode is now.

    Raises:
        LibraryError: no such episode.
    """
    if shelf.kind == "episodes":
        source = bag_path(find_episode(shelf, name))
    else:
        source = _dataset_source(shelf, name)
    try:
        found = source.stat()
    except OSError as error:
        raise LibraryError(f"{source}: {error.strerror}; nothing to show") from error
    key = digest(_VERSION, shelf.key, name, found.st_mtime_ns, found.st_size)
    folder = cache / "films" / key[:2]
    return Film(
        facts=folder / f"{key}.json",
        strip=folder / f"{key}.jpg",
        thumbnail=folder / f"{key}_small.jpg",
    )


def make_film(shelf: Shelf, name: str, cache: Path) -> Film:
    """Make the film of an episode, unless it is there.

    Raises:
        LibraryError: the episode cannot be read.
    """
    film = film_of(shelf, name, cache)
    if film.there:
        return film
    try:
        if shelf.kind == "episodes":
            view = view_recording(find_episode(shelf, name), columns=COLUMNS)
        else:
            folder = open_dataset(shelf.path)
            view = view_episode(folder, folder.episodes[int(name)], Findings(), columns=COLUMNS)
    except (EpisodeError, ViewError, DatasetError, OSError) as error:
        raise LibraryError(printable(error, 1000)) from error
    film.facts.parent.mkdir(parents=True, exist_ok=True)
    strip, cell = _strip(view)
    film.strip.write_bytes(_jpeg(strip))
    film.thumbnail.write_bytes(_jpeg(_thumbnail(view)))
    write_whole(film.facts, json.dumps({**facts_of(view), "cell": cell}), sync=False)
    bound(cache)
    return film


def bound(cache: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove what was made first from the cache until it is no larger than `most_bytes`.

    The files of a film go together, its facts first: what has facts can be shown.
    """
    made: dict[Path, list[tuple[int, int, Path]]] = {}
    for folder, _, files in os.walk(cache):
        for name in files:
            path = Path(folder, name)
            with suppress(FileNotFoundError):
                found = path.stat()
                one = path.with_name(path.stem.removesuffix("_small"))
                made.setdefault(one, []).append((found.st_mtime_ns, found.st_size, path))
    total = sum(size for parts in made.values() for _, size, _ in parts)
    for parts in sorted(made.values()):
        if total <= most_bytes:
            return
        for _, size, path in sorted(parts, key=lambda part: part[2].suffix != ".json"):
            path.unlink(missing_ok=True)
            total -= size


def episode_facts(shelf: Shelf, name: str, film: Film, cache: Path) -> Mapping[str, Any]:
    """All that the page of an episode shows: its film's facts, labels and findings as of now.

    Raises:
        LibraryError: the film or the episode is gone.
    """
    try:
        facts = dict(read_json(film.facts, what="facts of a film"))
        if shelf.kind == "episodes":
            sidecar = read_sidecar(find_episode(shelf, name))
            facts["labels"] = labels_of(sidecar, int(facts["begin_ns"]))
            facts["grade"] = sidecar.outcome.grade if sidecar.outcome is not None else ""
            facts["reasons"] = list(sidecar.outcome.reasons) if sidecar.outcome else []
            facts["findings"] = []
        else:
            found = findings_by_episode(read_findings(shelf, cache))
            facts["findings"] = found.get(int(name), [])
            facts["frames"] = open_dataset(shelf.path).episodes[int(name)].length
    except (UntrustedError, EpisodeError) as error:
        raise LibraryError(printable(error, 1000)) from error
    return facts


def facts_of(view: EpisodeView) -> dict[str, Any]:
    """An episode as JSON can hold it: curves thinned and rounded, unknown numbers as null."""
    return {
        "name": printable(view.name),
        "title": printable(view.title, 1000),
        "remarks": [printable(remark) for remark in view.remarks],
        "seconds": round(view.duration_s, 3),
        "joints": [printable(joint) for joint in view.joints],
        "state": _curve(view.state),
        "action": _curve(view.action),
        "cameras": [printable(camera) for camera in view.cameras],
        "times": [
            [round(picture.time_s, 3) for picture in view.pictures if picture.camera == camera]
            for camera in view.cameras
        ],
        "gaps": [[gap.begin_s, gap.end_s, printable(gap.stream)] for gap in view.gaps],
        "labels": [[begin_s, printable(words, 1000)] for begin_s, words in view.labels],
        "begin_ns": view.begin_ns,
    }


def _dataset_source(shelf: Shelf, name: str) -> Path:
    """The table that an episode of a dataset lies in."""
    episodes = open_dataset(shelf.path).episodes
    if not name.isdecimal() or len(name) > 9 or int(name) >= len(episodes):
        raise LibraryError(
            f"{shelf.path}: no episode {printable(name)}; there are 0 .. {len(episodes) - 1}"
        )
    return episodes[int(name)].data_path


def _curve(curve: Curve) -> Mapping[str, Any]:
    """Times (T,) [s], and for each of the D joints its values."""
    every = max(1, -(-len(curve.times_s) // _MOST_POINTS))
    times = np.asarray(curve.times_s[::every], np.float64)
    values = np.asarray(curve.values[::every], np.float64)
    return {"times": times.round(_DIGITS).tolist(), "values": [*map(_finite, values.T)]}


def _finite(values: Any) -> list[float | None]:
    known = np.isfinite(values)
    rounded = np.where(known, values, 0.0).round(_DIGITS).tolist()
    return [value if told else None for value, told in zip(rounded, known, strict=True)]


def _strip(view: EpisodeView) -> tuple[Image.Image, Sequence[int]]:
    """Pictures of a camera beside each other, a line a camera; and the size of one of them."""
    shapes = [picture.image.shape for picture in view.pictures] or [(3, 4)]
    height = max(1, round(_CELL * max(shape[0] / shape[1] for shape in shapes)))
    lines = max(1, len(view.cameras))
    strip = Image.new("RGB", (_CELL * COLUMNS, height * lines), (24, 24, 27))
    for line, camera in enumerate(view.cameras):
        pictures = [picture.image for picture in view.pictures if picture.camera == camera]
        for column, image in enumerate(pictures[:COLUMNS]):
            small = ImageOps.contain(Image.fromarray(image), (_CELL, height))
            strip.paste(small, (column * _CELL, line * height))
    return strip, (_CELL, height)


def _thumbnail(view: EpisodeView) -> Image.Image:
    """The first camera in the middle of the episode, where something happens."""
    pictures = [one.image for one in view.pictures if one.camera == view.cameras[0]]
    if not pictures:
        return Image.new("RGB", (_THUMBNAIL, _THUMBNAIL * 3 // 4), (24, 24, 27))
    small = Image.fromarray(pictures[len(pictures) // 2])
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return small


def _jpeg(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=_QUALITY)
    return target.getvalue()
