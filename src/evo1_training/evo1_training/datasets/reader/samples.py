"""What training learns from one frame of one dataset. Must not import ROS or torch.

Letters: V views, H horizon or image height, W image width, D width of the robot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evo1_policy.interface import ActionSpace, Interface
from evo1_policy.kinematics.end_effector import EndEffector
from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.dataset_config import DatasetSpec
from evo1_training.datasets.reader.demonstrations import find_milestones, kept_rows
from evo1_training.datasets.reader.folder import DatasetFolder, open_folder
from evo1_training.datasets.reader.frame_cache import (
    FrameCache,
    Kind,
    Progress,
    open_frame_cache,
)
from evo1_training.datasets.reader.pictures import FrameSource, resize
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.datasets.reader.robot_check import (
    check_benchmark,
    check_ranges,
    check_robot,
    views_of,
)
from evo1_training.datasets.reader.tool_actions import ToolActions, tool_meaning
from evo1_training.datasets.worker_pool import available_cores

HELD_KEY, INTERVENTION_KEY = "evo1.held", "evo1.intervention"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One frame with the actions that follow it, in the robot's own width and units.

    Attributes:
        images: (V, H, W, 3) uint8 RGB by image slot; absent ones are black.
        view_mask: (V,) bool, False for absent slots.
        state: (D,) float32.
        actions: (H, D) float32; beyond the episode's end its last action repeats (a delta: 0).
            Of another width than D where joints become the end effector's numbers.
            Where pauses are shortened they are those of the frames that are left.
        action_mask: (H,) bool, False beyond the episode's end (and where `mask_held` says so).
        milestones: (2, D) float32, at the next grasp and release; see demonstrations.py.
        milestone_mask: (2,) bool, which of them the episode still has.
        instruction: the episode's task.
        embodiment: key of the norm stats.
        dataset: name of the dataset.
        episode: number of the episode in its dataset.
        frame: number of the frame in its episode.
    """

    images: npt.NDArray[np.uint8]
    view_mask: npt.NDArray[np.bool_]
    state: npt.NDArray[np.float32]
    actions: npt.NDArray[np.float32]
    action_mask: npt.NDArray[np.bool_]
    milestones: npt.NDArray[np.float32]
    milestone_mask: npt.NDArray[np.bool_]
    instruction: str
    embodiment: str
    dataset: str
    episode: int
    frame: int


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How frames become samples.

    Attributes:
        horizon: actions of a chunk.
        views: image slots of the model; None for as many as the dataset has cameras.
        image_size: edge that images are resized to [px]; None keeps their size.
        mask_held: leave actions out of the mask that stand in a gap of the recording.
        mask_policy: likewise those of the policy, in episodes in which a person corrected it.
        max_pause_s: shorten longer pauses inside chunks to this, see
            demonstrations.py [s]; None keeps them.
        cache_dir: folder of frame caches, which are built when they are missing; None for none.
        cache_kind: 'raw', or 'jpeg' for a tenth of the space.
        cache_jobs: threads that build them; None for one a core.
        open_videos: videos that stay open, in each process.
        action_space: 'ee_pose' or 'ee_delta' turn actions of joints into the end effector's;
            numbers that are its own already stay as they are, as all do in other spaces.
    """

    horizon: int
    views: int | None = None
    image_size: int | None = None
    mask_held: bool = False
    mask_policy: bool = False
    max_pause_s: float | None = None
    cache_dir: Path | None = None
    cache_kind: Kind = "raw"
    cache_jobs: int | None = None
    open_videos: int = 64
    action_space: ActionSpace = "joint"

    def __post_init__(self) -> None:
        for name in ("horizon", "views", "image_size", "cache_jobs", "open_videos"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")


class TrainingSamples:
    """All samples of one dataset, by number. Not for use by several threads at once.

    `corrected` (T,) tells rows in which a person corrected the policy, `by_policy` (T,) those that
    the policy drove in such an episode.

    Numbers are read once; images on demand. A copy in another process (a loader's worker) shares
    the frame cache and opens its own videos.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        options: SampleOptions,
        *,
        robot: RobotConfig | None = None,
        interface: Interface | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Open the dataset, check it, and build its frame cache where one is asked for.

        Args:
            spec: which dataset, and how its columns are meant.
            options: how frames become samples.
            robot: the robot file that joints, rate and cameras must agree with.
            interface: of a benchmark, whose widths, rate and cameras must agree.
            progress: called as frames enter the cache.

        Raises:
            DatasetError: the dataset cannot be used; names the file and the key.
        """
        self.spec, self.options = spec, options
        self.folder: DatasetFolder = open_folder(spec.path)
        if robot is not None:
            check_robot(self.folder, robot, spec)
            interface = robot.interface
        elif interface is not None:
            check_benchmark(self.folder, interface, spec)
        self._cameras = self._choose_cameras(interface)
        self._image_shape = self._choose_shape()
        self._read_numbers()
        if robot is not None:
            ee = spec.suite.end_effector
            forms = (None, None) if ee is None else (ee.state, ee.action)
            numbers = (("state", self._states, forms[0]), ("action", self._actions, forms[1]))
            check_ranges(self.folder, robot, numbers)
        self.tool_actions = self._make_tool_actions(robot)
        self._find_milestones(robot)
        self._starts = np.array([episode.first_row for episode in self.folder.episodes])
        self._lasts = np.array([e.first_row + e.length - 1 for e in self.folder.episodes])
        self._kept = self._choose_rows()
        limit = spec.frames_per_episode
        lengths = [episode.length for episode in self.folder.episodes]
        self._ends = np.cumsum([min(n, limit) if limit else n for n in lengths])
        self._source = FrameSource(self.folder, open_videos=options.open_videos)
        self._caches = self._open_caches(progress)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Camera features in the order of the image slots."""
        return self._cameras

    @property
    def state_width(self) -> int:
        """D of the state."""
        return int(self._states.shape[1])

    @property
    def action_width(self) -> int:
        """D of the actions, or of the end effector's numbers that they become."""
        tool = self.tool_actions
        return int(self._actions.shape[1]) if tool is None else len(tool.meaning.action.names)

    @property
    def end_effector(self) -> EndEffector | None:
        """What the actions mean, as samples hold them; None: joints, or a benchmark's numbers."""
        tool = self.tool_actions
        return self.spec.suite.end_effector if tool is None else tool.meaning

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < len(self):
            raise IndexError(f"{self.spec.path}: no sample {number}, there are {len(self)}")
        index = int(np.searchsorted(self._ends, number, side="right"))
        frame = number - (int(self._ends[index - 1]) if index else 0)
        episode = self.folder.episodes[index]
        row = episode.first_row + frame
        (rows,), (mask,) = self.chunks(np.array([row]))
        if self.tool_actions is None:
            actions = self._actions[rows]
        else:
            (actions,) = self.tool_actions.chunks(np.array([row]), rows[None])
        if self._still is not None:  # a delta that repeats moves on
            actions[~mask, : len(self._still)] = self._still
        if self._held is not None:
            mask &= ~self._held[rows]
        if self.options.mask_policy:
            mask &= ~self.by_policy[rows]
        images, present = self._images(row)
        return Sample(
            images=images,
            view_mask=present,
            state=self._states[row].copy(),
            actions=actions,
            action_mask=mask,
            milestones=self._milestones[row],
            milestone_mask=self._milestone_mask[row],
            instruction=self.folder.tasks[int(self._tasks[row])],
            embodiment=self.spec.embodiment,
            dataset=self.spec.name,
            episode=episode.index,
            frame=frame,
        )

    def close(self) -> None:
        """Close the videos; the next sample opens its own again."""
        self._source.close()

    def chunks(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The chunks of the frames in these rows (N,) of the tables.

        Returns:
            Rows (N, H) of their actions, the episode's last one beyond its end, and where the
            episode has them (N, H).
        """
        lasts = self._lasts[np.searchsorted(self._starts, rows, side="right") - 1]  # (N,)
        steps = np.arange(self.options.horizon)
        if self._kept is None:
            found = rows[:, None] + steps
        else:
            kept = np.append(self._kept, len(self._actions))
            begin = np.searchsorted(self._kept, rows)
            found = kept[np.minimum(begin[:, None] + steps, len(self._kept))]
        return np.minimum(found, lasts[:, None]), found <= lasts[:, None]

    def _images(self, row: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        views = self.options.views or len(self._cameras)
        images = np.zeros((views, *self._image_shape), dtype=np.uint8)
        present = np.arange(views) < len(self._cameras)
        for slot, camera in enumerate(self._cameras):
            if self._caches:
                images[slot] = self._caches[slot].read(row)
                continue
            image = self._source.read(camera, row)
            size = self.options.image_size
            images[slot] = resize(image, size) if size else image
        return images, present

    def _read_numbers(self) -> None:
        suite, info = self.spec.suite, self.folder.info
        keys = [*suite.columns, "task_index"]
        held = self.options.mask_held and HELD_KEY in info.features
        marked = INTERVENTION_KEY in info.features
        own = [HELD_KEY] * held + [INTERVENTION_KEY] * marked
        columns = read_columns(self.folder, [*keys, *own])
        self._states = suite.states(columns)
        self._actions = suite.actions(columns)
        ee = suite.end_effector
        self._still = None if ee is None or ee.reference == "base" else ee.action.still
        self._tasks = columns["task_index"]
        self._held = columns[HELD_KEY].astype(bool) if held else None
        none = np.zeros(len(self._actions), np.bool_)
        self.corrected = columns[INTERVENTION_KEY].astype(bool) if marked else none
        self.by_policy = none.copy()
        for episode in self.folder.episodes:
            rows = slice(episode.first_row, episode.first_row + episode.length)
            self.by_policy[rows] = self.corrected[rows].any() & ~self.corrected[rows]

    def _make_tool_actions(self, robot: RobotConfig | None) -> ToolActions | None:
        meaning = None if robot is None else tool_meaning(self.options.action_space, robot)
        if robot is None or meaning is None or self.spec.suite.end_effector is not None:
            return None
        root = self.folder.root
        return ToolActions(meaning, robot, self._states, self._actions, source=root)

    def _choose_rows(self) -> npt.NDArray[np.int64] | None:
        """The rows that chunks are made of; None for all."""
        longest_s = self.options.max_pause_s
        if longest_s is None:
            return None
        frames, places = round(longest_s * self.folder.info.fps), self._actions
        if self._still is not None:  # deltas: where they lead
            count = len(self._still)
            moved = np.cumsum(self._actions[:, :count] - self._still, axis=0, dtype=np.float64)
            places = np.concatenate([moved, self._actions[:, count:]], axis=1)
        return kept_rows(places, self._starts.tolist(), longest=frames)

    def _find_milestones(self, robot: RobotConfig | None) -> None:
        rows, width = len(self._actions), self.action_width
        self._milestones = np.zeros((rows, 2, width), np.float32)
        self._milestone_mask = np.zeros((rows, 2), np.bool_)
        if robot is not None and self.end_effector is None and robot.width == width:
            starts = [episode.first_row for episode in self.folder.episodes]
            found = find_milestones(self._actions, starts, robot)
            self._milestones, self._milestone_mask = found

    def _choose_cameras(self, interface: Interface | None) -> tuple[str, ...]:
        info = self.folder.info
        if self.spec.view_map:
            cameras = tuple(self.spec.view_map.values())
        else:
            cameras = info.cameras
            if interface is not None:
                cameras = views_of(interface, cameras)
        for camera in cameras:
            if not info.feature(camera).is_camera:
                raise DatasetError(f"{info.path}: features.{camera}: no pictures")
        slots = self.options.views
        if not cameras or (slots is not None and len(cameras) > slots):
            raise DatasetError(
                f"{info.path}: {len(cameras)} cameras ({', '.join(cameras)}) for "
                f"{slots or 'at least 1'} image slots; choose them with view_map in a dataset "
                f"file, or train with model.views={len(cameras) or 1}"
            )
        return cameras

    def _choose_shape(self) -> tuple[int, ...]:
        size = self.options.image_size
        if size is not None:
            return (size, size, 3)
        shapes = {camera: self.folder.info.feature(camera).shape for camera in self._cameras}
        if len(set(shapes.values())) > 1:
            listing = ", ".join(f"{camera} {list(shape)}" for camera, shape in shapes.items())
            raise DatasetError(
                f"{self.folder.info.path}: cameras of different sizes ({listing}) need an "
                "image_size"
            )
        return next(iter(shapes.values()))

    def _open_caches(self, progress: Progress | None) -> tuple[FrameCache, ...]:
        options = self.options
        if options.cache_dir is None:
            return ()
        return tuple(
            open_frame_cache(
                self.folder,
                camera,
                size=options.image_size,
                cache_dir=options.cache_dir,
                kind=options.cache_kind,
                jobs=options.cache_jobs or available_cores(),
                progress=progress,
            )
            for camera in self._cameras
        )


def check_embodiments(datasets: Sequence[TrainingSamples]) -> None:
    """Refuse datasets of one embodiment that mean other numbers.

    Raises:
        DatasetError: they have other widths, rates or names.
    """
    first: dict[str, TrainingSamples] = {}
    for dataset in datasets:
        other = first.setdefault(dataset.spec.embodiment, dataset)
        for what, ours, theirs in (
            ("state width", dataset.state_width, other.state_width),
            ("action width", dataset.action_width, other.action_width),
            ("fps", dataset.folder.info.fps, other.folder.info.fps),
            ("names", _names(dataset), _names(other)),
            ("end_effector", dataset.end_effector, other.end_effector),
        ):
            if ours != theirs and (what == "end_effector" or None not in (ours, theirs)):
                raise DatasetError(
                    f"{dataset.folder.info.path}: {what}: {ours}, but {other.spec.path} of the "
                    f"same embodiment '{dataset.spec.embodiment}' has {theirs}; give it another "
                    "embodiment"
                )


def _names(dataset: TrainingSamples) -> tuple[str, ...] | None:
    """Names of the numbers of the actions, where every column has some."""
    if dataset.spec.joints is not None:
        return dataset.spec.joints
    names: tuple[str, ...] = ()
    for key in dataset.spec.suite.action:
        part = dataset.folder.info.feature(key).names
        if part is None:
            return None
        names += part
    return names
