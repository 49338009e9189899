"""An episode of a LeRobot dataset as people look at it.

Must not import ROS or torch. Letters: T rows, D joints.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_training.datasets.checker import timing
from evo1_training.datasets.reader.adoption import Adoption, read_adoption
from evo1_training.datasets.reader.columns import read_file
from evo1_training.datasets.reader.demonstrations import runs
from evo1_training.datasets.reader.folder import DatasetFolder, open_folder
from evo1_training.datasets.reader.info import ACTION_KEY, IMAGE_PREFIX, STATE_KEY
from evo1_training.datasets.reader.layouts import Episode
from evo1_training.datasets.reader.pictures import FrameSource
from evo1_training.datasets.reader.problems import Findings, Refusing
from evo1_training.viewing.episode_view import (
    Curve,
    EpisodeView,
    Floats,
    GapSpan,
    Picture,
    ViewError,
    spread,
)


def view_dataset(root: Path, number: int, *, columns: int = 12) -> EpisodeView:
    """Read an episode of a dataset.

    Args:
        root: of the dataset.
        number: of the episode.
        columns: how many rows to take pictures of.

    Raises:
        DatasetError: the dataset cannot be read; check_dataset says more.
        ViewError: no such episode.
    """
    folder = open_folder(root)
    if not 0 <= number < len(folder.episodes):
        raise ViewError(f"{root}: no episode {number}; there are 0 .. {len(folder.episodes) - 1}")
    return view_episode(folder, folder.episodes[number], Refusing(), columns=columns)


def view_episode(
    folder: DatasetFolder, episode: Episode, problems: Findings, *, columns: int = 12
) -> EpisodeView:
    """Read an episode of a dataset whose metadata is known, as it was adopted where it was.

    Args:
        folder: the dataset.
        episode: of it.
        problems: told what is wrong with its numbers; those that are sound are shown.
        columns: how many rows to take pictures of.

    Raises:
        DatasetError: a picture cannot be read.
        ViewError: its table cannot be read.
    """
    columns_of = _numbers(folder, episode, problems)
    if not columns_of:
        raise ViewError(f"{episode.data_path}: no numbers that can be read")
    times_s = _times(columns_of, folder.info.fps)
    adoption = read_adoption(folder.info)
    if adoption is None:
        keys = (
            _first(columns_of, STATE_KEY, "state", "observation."),
            _first(columns_of, ACTION_KEY, "actions", "action."),
        )
        named = [folder.info.feature(key).labels(key) if key else () for key in keys]
        empty = np.empty((len(times_s), 0))
        parts = [columns_of[key].reshape(len(times_s), -1) if key else empty for key in keys]
        over = parts[0].shape == parts[1].shape
        if over and folder.info.feature(keys[0]).names != named[0]:
            named[0] = named[1]
        joints, state, action = _curves(named, parts, times_s, over=over)
        remarks = [*_remarks(folder, columns_of, keys, episode)]
    else:
        joints, state, action = _adopted_curves(adoption, columns_of, times_s)
        remarks = [*_remarks(folder, columns_of, (STATE_KEY, ACTION_KEY), episode)]
        tool = adoption.suite.end_effector
        remarks.append(f"as {adoption.robot}, {tool.action_space if tool else 'in radians'}")
    sentences = dict.fromkeys(columns_of.get("task_index", np.empty(0, np.int64)).tolist())
    slots = {key: f"{slot}: " for slot, key in (adoption.cameras if adoption else {}).items()}
    cameras = {
        key: slots.get(key, "") + key.removeprefix(IMAGE_PREFIX) for key in folder.info.cameras
    }
    return EpisodeView(
        name=f"{folder.root.resolve().name} episode {episode.index:06d}",
        title="; ".join(folder.tasks.get(task, "") for task in sentences),
        remarks=tuple(remarks),
        duration_s=float(times_s[-1]),
        joints=joints,
        state=state,
        action=action,
        cameras=tuple(cameras.values()),
        pictures=tuple(_pictures(folder, episode, times_s, cameras, columns)),
        gaps=tuple(_gaps(columns_of, times_s, folder.info.fps)),
        labels=tuple(_labels(folder, columns_of, times_s)),
    )


def _adopted_curves(
    adoption: Adoption, columns: timing.Columns, times_s: Floats
) -> tuple[tuple[str, ...], Curve, Curve]:
    """The robot's joints in radians, or the end effector's numbers as they are.

    Raises:
        ViewError: a column of theirs could not be read.
    """
    suite = adoption.suite
    if not set(suite.columns) <= set(columns):
        raise ViewError(f"{adoption.source}: {', '.join(suite.columns)}: cannot all be read")
    names = [adoption.joint_names or ()]
    if (tool := suite.end_effector) is not None:
        forms = (("state", tool.state), ("action", tool.action))
        names = [tuple(f"{what} {name}" for name in form.names) for what, form in forms if form]
    parts = [suite.states(columns), suite.actions(columns)]
    return _curves(names, parts, times_s, over=tool is None)


def _numbers(folder: DatasetFolder, episode: Episode, problems: Findings) -> timing.Columns:
    """The numbers of an episode, (T, *shape) by key."""
    file = next(file for file in folder.data_files if episode in file.episodes)
    keys = [key for key, feature in folder.info.features.items() if feature.is_number]
    found = read_file(folder, file, keys, problems) or {}
    first = episode.first_row - file.first_row
    return {key: values[first : first + episode.length] for key, values in found.items()}


def _first(columns: timing.Columns, key: str, other: str, prefix: str) -> str:
    """The key, or what other people call it, or the first vector below a prefix; else empty."""
    vectors = [name for name, values in columns.items() if values.ndim == 2]
    named = [name for name in (key, other) if name in vectors]
    return next(iter(named or [name for name in vectors if name.startswith(prefix)]), "")


def _times(columns: timing.Columns, fps: int) -> Floats:
    """Seconds since the first row: true ones where the dataset has them."""
    if timing.TICKS not in columns:
        return np.arange(len(next(iter(columns.values())))) / fps
    ticks = columns[timing.TICKS]
    seconds: Floats = (ticks - ticks[0]) / 1e9
    return seconds


def _curves(
    labels: Sequence[tuple[str, ...]],
    parts: Sequence[npt.NDArray[Any]],
    times_s: Floats,
    *,
    over: bool,
) -> tuple[tuple[str, ...], Curve, Curve]:
    """Names of what is drawn, and both curves: over each other, or beside each other."""
    widths = [part.shape[1] for part in parts]
    names, pads = labels[0], ((0, 0), (0, 0))
    if not over:
        names, pads = labels[0] + labels[1], ((0, widths[1]), (widths[0], 0))
    curves = [
        Curve(
            times_s=times_s,
            values=np.pad(part.astype(np.float64), ((0, 0), pad), constant_values=np.nan),
        )
        for part, pad in zip(parts, pads, strict=True)
    ]
    return names, curves[0], curves[1]


def _remarks(
    folder: DatasetFolder, columns: timing.Columns, keys: tuple[str, str], episode: Episode
) -> Iterator[str]:
    yield f"{folder.info.version}, {episode.length} frames at {folder.info.fps} fps"
    for wanted, found in zip((STATE_KEY, ACTION_KEY), keys, strict=True):
        if found != wanted:
            yield f"no {wanted}" + (f", {found} is shown" if found else "")
    if timing.HELD in columns:
        held = int(np.sum(columns[timing.HELD]))
        yield from [f"{held} frames only fill gaps"] * bool(held)


def _labels(
    folder: DatasetFolder, columns: timing.Columns, times_s: Floats
) -> Iterator[tuple[float, str]]:
    """The sentences of an episode, each from the row on where it begins."""
    tasks = columns.get("task_index", np.empty(0, np.int64))
    for row in [*range(min(1, len(tasks))), *(np.flatnonzero(np.diff(tasks)) + 1).tolist()]:
        yield float(times_s[row]), folder.tasks.get(int(tasks[row]), "")


def _gaps(columns: timing.Columns, times_s: Floats, fps: int) -> Iterator[GapSpan]:
    if timing.TICKS not in columns:
        return
    for row in timing.gaps(columns, fps=fps).tolist():
        yield GapSpan(
            begin_s=float(times_s[row]), end_s=float(times_s[row + 1]), stream="the recording"
        )
    for begin, end in runs(timing.held_rows(columns, len(times_s))):
        first_s = float(times_s[max(begin - 1, 0)])
        last_s = float(times_s[min(end, len(times_s) - 1)])
        yield GapSpan(begin_s=first_s, end_s=last_s, stream="the recording (filled)")


def _pictures(
    folder: DatasetFolder,
    episode: Episode,
    times_s: Floats,
    cameras: Mapping[str, str],
    columns: int,
) -> Iterator[Picture]:
    source = FrameSource(folder)
    for row in spread(episode.length, columns):
        for key, name in cameras.items():
            image = source.read(key, episode.first_row + row)
            yield Picture(camera=name, time_s=float(times_s[row]), image=image)
    source.close()
