"""An episode of a LeRobot dataset as people look at it.

Must not import ROS or torch. Letters: T rows, D joints.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from evo1_training.datasets.checker import timing
from evo1_training.datasets.reader.folder import DatasetFolder, Episode, open_folder
from evo1_training.datasets.reader.frame_source import FrameSource
from evo1_training.datasets.reader.info import ACTION_KEY, IMAGE_PREFIX, STATE_KEY
from evo1_training.datasets.reader.layouts import read_table
from evo1_training.viewing.episode_view import (
    Curve,
    EpisodeView,
    Floats,
    GapSpan,
    Picture,
    ViewError,
    empty_curve,
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
    episode = folder.episodes[number]
    table = _table(folder, episode)
    times_s = _times(table, folder.info.fps)
    state, action = _vectors(table, STATE_KEY), _vectors(table, ACTION_KEY)
    task = int(table.column("task_index")[0].as_py())
    cameras = folder.info.cameras
    names = tuple(key.removeprefix(IMAGE_PREFIX) for key in cameras)
    return EpisodeView(
        name=f"{root.resolve().name} episode {number:06d}",
        title=folder.tasks.get(task, ""),
        remarks=tuple(_remarks(folder, table)),
        duration_s=float(times_s[-1]),
        joints=_joint_names(folder, state),
        state=_curve(times_s, state, state),
        action=_curve(times_s, action, state),
        cameras=names,
        frames_s=dict.fromkeys(names, times_s),
        pictures=tuple(_pictures(folder, episode, times_s, columns)),
        gaps=tuple(_gaps(table, times_s, folder.info.fps)),
    )


def _table(folder: DatasetFolder, episode: Episode) -> pa.Table:
    """The rows of an episode, without pictures."""
    file = max(
        (file for file in folder.data_files if file.first_row <= episode.first_row),
        key=lambda file: file.first_row,
    )
    keys = [key for key, feature in folder.info.features.items() if not feature.is_camera]
    table = read_table(file.path, keys)
    return table.slice(episode.first_row - file.first_row, episode.length)


def _times(table: pa.Table, fps: int) -> Floats:
    """Seconds since the first row: true ones where the dataset has them."""
    if timing.TICKS not in table.column_names:
        return np.arange(table.num_rows) / fps
    ticks = table.column(timing.TICKS).to_numpy()
    seconds: Floats = (ticks - ticks[0]) / 1e9
    return seconds


def _vectors(table: pa.Table, key: str) -> Floats:
    """Rows (T, D); (T, 0) where the dataset has no such column."""
    if key not in table.column_names:
        return np.empty((table.num_rows, 0))
    return np.array(table.column(key).to_pylist(), np.float64).reshape(table.num_rows, -1)


def _curve(times_s: Floats, values: Floats, state: Floats) -> Curve:
    if values.shape != state.shape:  # of something else than the joints
        return empty_curve(state.shape[1])
    return Curve(times_s=times_s, values=values)


def _joint_names(folder: DatasetFolder, state: Floats) -> tuple[str, ...]:
    feature = folder.info.features.get(STATE_KEY)
    if feature is not None and feature.names is not None:
        return feature.names
    return tuple(f"state[{j}]" for j in range(state.shape[1]))


def _remarks(folder: DatasetFolder, table: pa.Table) -> Iterator[str]:
    yield f"{folder.info.layout}, {table.num_rows} frames at {folder.info.fps} fps"
    if timing.HELD in table.column_names:
        held = int(np.sum(table.column(timing.HELD).to_numpy()))
        yield from [f"{held} frames only fill gaps"] * bool(held)


def _gaps(table: pa.Table, times_s: Floats, fps: int) -> Iterator[GapSpan]:
    if timing.TICKS not in table.column_names:
        return
    columns = {timing.TICKS: table.column(timing.TICKS).to_numpy()}
    for row in timing.gaps(columns, fps=fps).tolist():
        yield GapSpan(
            begin_s=float(times_s[row]), end_s=float(times_s[row + 1]), stream="the recording"
        )
    if timing.HELD not in table.column_names:
        return
    held = np.concatenate([[False], table.column(timing.HELD).to_numpy(), [False]])
    edges = np.flatnonzero(np.diff(held.astype(np.int8)))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        first_s = float(times_s[max(begin - 1, 0)])
        last_s = float(times_s[min(end, len(times_s) - 1)])
        yield GapSpan(begin_s=first_s, end_s=last_s, stream="the recording (filled)")


def _pictures(
    folder: DatasetFolder, episode: Episode, times_s: Floats, columns: int
) -> Iterator[Picture]:
    source = FrameSource(folder)
    for row in spread(episode.length, columns):
        for key in folder.info.cameras:
            image = source.read(key, episode.first_row + row)
            name = key.removeprefix(IMAGE_PREFIX)
            yield Picture(camera=name, time_s=float(times_s[row]), image=image)
    source.close()
