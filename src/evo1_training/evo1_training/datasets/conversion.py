"""Many recorded episodes to one dataset: in parallel, in parts, and on again after a kill.

Episodes are encoded side by side into `.work` inside the dataset's folder and then added in order.
Whatever stops a conversion, the same call goes on: what is encoded or added is not done again.
Must not import ROS or torch.
"""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

from evo1_policy.checkpoint_layouts.training_facts import (
    TRAINING,
    TrainingFacts,
    read_training,
    write_training,
)
from evo1_training.datasets.conversion_job import (
    EpisodeResult,
    Job,
    convert_episode,
    forget,
    segment_folder,
    source_name,
)
from evo1_training.datasets.conversion_request import (
    Candidate,
    ConversionError,
    Progress,
    Request,
    Summary,
    fail,
    fitting,
    look_at,
    nothing_to_convert,
)
from evo1_training.datasets.dataset_format import DatasetFormat, DatasetWriter, lerobot
from evo1_training.datasets.frames import DatasetSchema
from evo1_training.datasets.worker_pool import run_all
from evo1_training.recording.episode import EpisodeError, episode_folders

WORK = ".work"
ORIGIN = "meta/evo1"  # the folder with what is known of the recordings
_REQUEST = "conversion.json"


def convert(request: Request, progress: Progress, format: DatasetFormat | None = None) -> Summary:
    """Convert episodes to a dataset.

    Args:
        request: what.
        progress: told how far it is.
        format: None for LeRobot's.

    Returns:
        What came of each; an episode that cannot be used stops no other.

    Raises:
        EpisodeError: a given folder holds no episode.
        ConversionError: the dataset is there and not to be appended to, an unfinished conversion
            was begun differently, no episode can be used, or a worker was killed.
        OSError: the disk is full or gone.
    """
    summary = Summary()
    folders = [folder for root in request.episodes for folder in episode_folders(root)]
    candidates = look_at(folders, request, summary, progress)
    if not candidates:
        raise ConversionError(nothing_to_convert(summary))
    schema = candidates[0].schema
    candidates = fitting(candidates, schema, summary, progress)
    work, resumed = _begin(request)
    if request.shard is not None:
        part, parts = request.shard
        _encode(candidates[part - 1 :: parts], request, schema, summary, progress, format, None)
        return summary
    try:
        target = _Target(request, schema, format or lerobot(), append=request.append or resumed)
    except BaseException:
        if not resumed:
            shutil.rmtree(work)
        raise
    _encode(candidates, request, schema, summary, progress, format, target)
    target.close()
    _note_origin(request, simulated=all(one.simulated for one in candidates))
    shutil.rmtree(work)
    if not any(request.dataset.iterdir()):
        request.dataset.rmdir()
    return summary


def _note_origin(request: Request, *, simulated: bool) -> None:
    """Say beside the dataset where it was recorded; training hands it on to the checkpoint."""
    folder = request.dataset / ORIGIN
    if not folder.is_dir():
        return
    before = read_training(folder).trained_in if request.append else "simulation"
    if simulated and before == "simulation":
        write_training(folder, TrainingFacts(trained_in="simulation"))
    else:
        (folder / TRAINING).unlink(missing_ok=True)


class _Target:
    """The dataset, created with its first episode: a conversion that fails leaves none behind."""

    def __init__(
        self, request: Request, schema: DatasetSchema, format: DatasetFormat, *, append: bool
    ) -> None:
        self._request = request
        self._schema = schema
        self._format = format
        self._append = append
        begun = any(path.name != WORK for path in request.dataset.iterdir())
        self._writer = self._open() if begun else None

    @property
    def sources(self) -> frozenset[str]:
        """What is in it already."""
        return self._writer.sources if self._writer is not None else frozenset()

    def add(self, folder: Path) -> None:
        """Append an encoded segment."""
        if self._writer is None:
            self._writer = self._open()
        self._writer.add(self._format.load(folder))

    def close(self) -> None:
        """Finish the dataset."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> DatasetWriter:
        return self._format.open(
            self._request.dataset,
            self._schema,
            version=self._request.version,
            append=self._append,
        )


def _begin(request: Request) -> tuple[Path, bool]:
    """Make the work folder, or find the one of a conversion that was stopped.

    Returns:
        The folder, and whether this goes on with an earlier conversion.
    """
    root = request.dataset
    work = root / WORK
    asked = {
        "version": request.version,
        "storage": request.storage,
        "gaps": request.gaps,
        "min_frames": request.min_frames,
    }
    note = work / _REQUEST
    if note.is_file():
        begun = json.loads(note.read_text(encoding="utf-8"))
        for name, value in asked.items():
            if begun.get(name) != value:
                raise ConversionError(
                    f"{work}: an unfinished conversion with {name} {begun.get(name)}, now {value} "
                    "is asked for; give the same options to go on, or delete that folder"
                )
        return work, True
    if root.exists() and any(root.iterdir()) and not request.append:
        raise ConversionError(
            f"{root}: exists already; give another folder, or --append to add to a dataset"
        )
    work.mkdir(parents=True, exist_ok=True)
    temporary = work / f".{_REQUEST}.tmp"
    temporary.write_text(json.dumps(asked), encoding="utf-8")
    temporary.replace(note)
    return work, False


def _encode(
    candidates: Sequence[Candidate],
    request: Request,
    schema: DatasetSchema,
    summary: Summary,
    progress: Progress,
    format: DatasetFormat | None,
    target: _Target | None,
) -> None:
    """Encode the episodes side by side; add each to the dataset as soon as it is its turn."""
    work = request.dataset / WORK
    wanted = [one for one in candidates if not _is_added(one, target, work, summary)]
    progress.expect(sum(one.recorded for one in wanted))
    jobs = (
        Job(
            folder=one.folder,
            work=work,
            schema=schema,
            gaps=request.gaps,
            min_frames=request.min_frames,
            horizon=request.horizon,
            read_ahead=len(wanted) < request.workers,
            format=format,
        )
        for one in wanted
    )
    workers = min(request.workers, len(wanted))
    try:
        with closing(
            run_all(convert_episode, jobs, workers=workers, advance=progress.advance)
        ) as outcomes:
            for job, outcome in outcomes:
                if isinstance(outcome, EpisodeError):
                    fail(job.folder, outcome, summary, progress)
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    summary.results.append(outcome)
                    if target is not None:
                        summary.added += _add(outcome, target, work)
    except BrokenProcessPool as error:
        raise ConversionError(
            "a worker process was killed, mostly because memory ran out; the same command goes "
            "on where it stopped: give fewer --workers"
        ) from error


def _is_added(candidate: Candidate, target: _Target | None, work: Path, summary: Summary) -> bool:
    """Whether an episode is in the dataset with all its segments."""
    if target is None or (work / f"{candidate.key}.json").exists():
        return False
    if source_name(candidate.key, 0) not in target.sources:
        return False
    summary.left_out.append((candidate.folder, "is in the dataset already"))
    return True


def _add(result: EpisodeResult, target: _Target, work: Path) -> int:
    """Add an episode's segments, unless an earlier run did; returns how many."""
    present = target.sources
    added = 0
    for index, source in enumerate(result.sources()):
        if source not in present:
            target.add(segment_folder(work, result.key, index))
            added += 1
    forget(work, result.key)
    return added
