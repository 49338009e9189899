"""Checks one dataset from its metadata to its last picture, an episode in memory at a time.

Must not import ROS or torch. Letters: T frames, D joints.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.checker import timing
from evo1_training.datasets.checker.joints import HORIZON, JointFacts, JointWatch
from evo1_training.datasets.checker.motion import moved_share, moving
from evo1_training.datasets.checker.pictures import PictureWatch
from evo1_training.datasets.checker.statistics import (
    Extremes,
    check_dataset_stats,
    check_episode_stats,
    read_episode_stats,
)
from evo1_training.datasets.checker.videos import check_videos
from evo1_training.datasets.lerobot.staging import is_interrupted
from evo1_training.datasets.reader.adoption import adoption_path, read_adoption
from evo1_training.datasets.reader.columns import read_file
from evo1_training.datasets.reader.dataset_config import adopted, dataset_spec
from evo1_training.datasets.reader.folder import (
    DataFile,
    DatasetFolder,
    check_tables,
    read_folder,
)
from evo1_training.datasets.reader.info import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, read_info
from evo1_training.datasets.reader.layouts import Episode, column_names
from evo1_training.datasets.reader.pictures import FrameSource, PictureSizeError
from evo1_training.datasets.reader.problems import DatasetError, Finding, Findings
from evo1_training.datasets.reader.robot_check import (
    ROBOT_COPY,
    check_benchmark,
    check_robot,
    own_interface,
)
from evo1_training.datasets.reader.suites import ABSOLUTE, Suite

Progress = Callable[[int, int], None]  # episodes done, episodes in all
Image = npt.NDArray[np.uint8]
Columns = Mapping[str, npt.NDArray[Any]]
_QUICK_FRAMES = 12
_STUCK_S = 0.5
_STUCK_MOVED = 0.2  # of a joint's range
_REPEATED = 0.2
_FAST = 0.01  # of a joint's range in one step


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckReport:
    """All that is known after a check.

    Attributes:
        root: the dataset.
        findings: worst first.
        meta: what meta/ says; None where it cannot be read.
        joints: over all episodes; None where there are no vectors of joints.
        quick: only some pictures of each video were looked at.
    """

    root: Path
    findings: tuple[Finding, ...]
    meta: DatasetFolder | None
    joints: JointFacts | None
    quick: bool

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def check_dataset(
    root: Path, *, quick: bool = False, progress: Progress | None = None
) -> CheckReport:
    """Check a LeRobot dataset of v2.1 or v3.0.

    Args:
        root: its folder.
        quick: look at a few pictures of each video only.
        progress: called after each episode.
    """
    findings = Findings()
    info = read_info(root, findings)
    meta = read_folder(info, findings) if info is not None else None
    if meta is None:
        return CheckReport(
            root=root, findings=tuple(findings), meta=None, joints=None, quick=quick
        )
    return _Check(meta, findings, quick=quick).run(progress)


class _Check:
    """One run over a dataset whose metadata could be read."""

    def __init__(self, meta: DatasetFolder, findings: Findings, *, quick: bool) -> None:
        self._meta = meta
        self._findings = findings
        self._quick = quick
        self._pictures = FrameSource(meta, open_videos=4)
        self._stats = read_episode_stats(meta.info, findings)
        self._suite, self._robot = _robot(meta, findings)
        self._extremes = Extremes(self._suite.columns)
        self._joints = self._joint_watch()

    def run(self, progress: Progress | None) -> CheckReport:
        meta, findings = self._meta, self._findings
        self._check_leftovers()
        unreadable = check_videos(meta, findings)
        check_tables(meta, findings)
        done = 0
        for file in meta.data_files:
            columns = self._read(file)
            for episode in file.episodes if columns else ():
                first = episode.first_row - file.first_row
                part = slice(first, first + episode.length)
                numbers = {key: values[part] for key, values in (columns or {}).items()}
                self._check_episode(episode, numbers, unreadable)
                done += 1
                if progress is not None:
                    progress(done, len(meta.episodes))
        self._pictures.close()
        check_dataset_stats(meta, self._extremes, findings)
        self._check_tool()
        joints = self._joints.finish(findings) if self._joints is not None else None
        return CheckReport(
            root=meta.info.root,
            findings=tuple(findings),
            meta=meta,
            joints=joints,
            quick=self._quick,
        )

    def _joint_watch(self) -> JointWatch | None:
        features, robot = self._meta.info.features, self._robot
        if self._suite.end_effector is not None:
            return None  # poses and their changes: nothing to compare
        if self._suite.state_picks and robot is not None:
            return JointWatch(robot.joint_names, fps=self._meta.info.fps, robot=robot)
        if STATE_KEY not in features or ACTION_KEY not in features:
            return None
        state, action = features[STATE_KEY], features[ACTION_KEY]
        if len(state.shape) != 1 or state.shape != action.shape:
            return None  # an arm's end effector, say: nothing to compare
        return JointWatch(state.labels(STATE_KEY), fps=self._meta.info.fps, robot=robot)

    def _check_tool(self) -> None:
        """What no end effector of the form that was said does."""
        suite = self._suite
        tool = suite.end_effector
        for keys, form in ((suite.state, tool.state), (suite.action, tool.action)) if tool else ():
            ends = self._extremes.found.get(keys[0])
            if form is not None and ends is not None and (problem := form.misfit(*ends)):
                self._findings.add("adoption", adoption_path(self._meta.info.root), problem)

    def _check_leftovers(self) -> None:
        root = self._meta.info.root
        if any((root / "images").glob("**/*.png")):
            self._findings.add("leftovers", root / "images", "pictures that were never encoded")
        if is_interrupted(root):
            self._findings.add("half-changed", root, "a change to it was cut off half-way")

    def _read(self, file: DataFile) -> Columns | None:
        """The numbers of a table as far as they are sound; None where it cannot be read."""
        info = self._meta.info
        expected = {key for key, feature in info.features.items() if feature.dtype != "video"}
        names = column_names(file.path, self._findings)
        if names is None:
            return None
        missing, surplus = sorted(expected - names), sorted(names - expected)
        if missing:
            self._findings.add("columns", file.path, f"no column {', '.join(missing)}")
        if surplus:
            what = f"columns that info.json does not name: {', '.join(surplus)}"
            code = "columns" if info.layout == "v3.0" else "columns-extra"
            self._findings.add(code, file.path, what)
        keys = [key for key in names & expected if info.features[key].is_number]
        return read_file(self._meta, file, keys, self._findings)

    def _check_episode(
        self, episode: Episode, columns: Columns, unreadable: set[tuple[int, str]]
    ) -> None:
        fps = self._meta.info.fps
        if episode.length < HORIZON:
            what = f"{episode.length} frames; a chunk has {HORIZON} actions"
            self._findings.add("short-episode", episode.label, what, episode=episode.index)
        for code, what in timing.problems(columns, fps=fps):
            self._findings.add(code, episode.label, what, episode=episode.index)
        finite = {
            key: values
            for key, values in columns.items()
            if values.dtype.kind != "f" or np.isfinite(values).all()
        }
        stats = self._stats.get(episode.index)
        check_episode_stats(self._meta.info, episode, stats, finite, self._findings)
        self._extremes.add(finite)
        if self._joints is not None and set(self._suite.columns) <= set(finite):
            self._joints.add(
                episode.index,
                self._suite.states(finite),
                self._suite.actions(finite),
                self._findings,
                held=timing.held_rows(columns, episode.length),
            )
        for key in self._meta.info.cameras:
            if (episode.index, key) not in unreadable:
                watch = PictureWatch()
                for row, image in self._decode(episode, key):
                    watch.add(row, image)
                self._judge(episode, columns, key, watch)

    def _decode(self, episode: Episode, key: str) -> Iterator[tuple[int, Image]]:
        """Decode what is wanted of one camera, in order; stops where that fails."""
        rows: list[int] = list(range(episode.length))
        if self._quick:
            few = np.linspace(0, episode.length - 1, min(_QUICK_FRAMES, episode.length))
            rows = sorted(set(few.astype(int).tolist()))
        video = self._meta.info.features[key].dtype == "video"
        for row in rows:
            try:
                image = self._pictures.read(key, episode.first_row + row)
            except DatasetError as error:
                code = "video-unreadable" if video else "picture-unreadable"
                if isinstance(error, PictureSizeError):
                    code = "picture-size"
                if code == "picture-size" and video:
                    return  # reported already, of the file
                where = f"{episode.label}: {key}"
                self._findings.add(code, where, str(error), episode=episode.index)
                return
            yield row, image

    def _judge(self, episode: Episode, columns: Columns, key: str, watch: PictureWatch) -> None:
        where = f"{episode.label}: {key}"
        if watch.black:
            what = f"{len(watch.black)} black frames, the first is {watch.black[0]}"
            first = watch.black[0]
            self._findings.add("black-frames", where, what, episode=episode.index, frame=first)
        state = columns.get(STATE_KEY)
        if state is None or state.ndim != 2 or not np.isfinite(state).all():
            return
        fps = self._meta.info.fps
        stuck = [
            (first, last)
            for first, last in watch.runs
            if (last - first) / fps >= _STUCK_S and moved_share(state, first, last) > _STUCK_MOVED
        ]
        if stuck:
            first, last = max(stuck, key=lambda run: run[1] - run[0])
            what = f"the same picture for {(last - first) / fps:.1f} s from frame {first} on"
            self._findings.add("stuck-frames", where, what, episode=episode.index, frame=first)
            return
        known = {name for name, _ in timing.camera_stamps(columns)}
        share = watch.repeated_share(moving(state, threshold=_FAST))
        if share > _REPEATED and key.removeprefix(IMAGE_PREFIX) not in known:
            what = f"{100 * share:.0f} % of the frames in motion repeat the one before"
            self._findings.add("repeated-frames", where, what, episode=episode.index)


def _robot(meta: DatasetFolder, findings: Findings) -> tuple[Suite, RobotConfig | None]:
    """How joints are read, and whose they are: as adopted, or the recordings' where it fits."""
    try:
        adoption = read_adoption(meta.info)
        if adoption is not None:
            robot = adoption.load_robot()
            check_robot(meta, robot, adopted(dataset_spec(meta.info.root, read=False), adoption))
            return adoption.suite, robot
    except DatasetError as error:
        findings.add("adoption", adoption_path(meta.info.root), str(error))
    path = meta.info.root / ROBOT_COPY
    try:
        interface, own = own_interface(meta.info.root)
        if interface is not None and own is None:
            check_benchmark(meta, interface, dataset_spec(meta.info.root, read=False))
    except DatasetError as error:
        findings.add("robot-file", path, str(error).removeprefix(f"{path}: "))
        return ABSOLUTE, None
    if own is None:
        return ABSOLUTE, None
    state = meta.info.features.get(STATE_KEY)
    names = state.names if state is not None else None
    if names != own.joint_names or own.rate_hz != meta.info.fps:
        findings.add(
            "robot-file",
            path,
            f"joints {', '.join(own.joint_names)} at {own.rate_hz:g} Hz, but the dataset has "
            f"{', '.join(names or ())} at {meta.info.fps} Hz",
        )
        return ABSOLUTE, None
    return ABSOLUTE, own
