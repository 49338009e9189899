"""Many recorded episodes to one dataset: in parallel, in parts, and on again after a kill.

Episodes are encoded side by side into `.work` inside the dataset's folder; once all are, they are
added together, in order. Whatever stops a conversion, the same call goes on: what is encoded is
not encoded again, and the dataset is as it was until it has all of them.
Must not import ROS or torch.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

from evo1_policy.checkpoint_layouts.training_facts import (
    TRAINING,
    TrainingFacts,
    read_training,
    write_training,
)
from evo1_policy.paths import confined, write_whole
from evo1_policy.untrusted import UntrustedError, read_json
from evo1_training.datasets.conversion_job import (
    Job,
    convert_episode,
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
from evo1_training.datasets.lerobot.encoding import load_encoded
from evo1_training.datasets.lerobot.schema import DatasetSchema
from evo1_training.datasets.lerobot.writing import DatasetWriter, open_dataset
from evo1_training.datasets.worker_pool import run_all
from evo1_training.recording.episode import EpisodeError, episode_folders
from evo1_training.recording.foreign_files import bags_below

WORK = ".work"
ORIGIN = "meta/evo1"  # the folder with what is known of the recordings
_REQUEST = "conversion.json"


def write_simulated(root: Path, schema: DatasetSchema, encoded: Iterable[Path]) -> None:
    """Make a dataset of what a simulation had encoded below its `.work`, and say so in it.

    Called again after a kill, it leaves out what was added.

    Args:
        root: of the dataset.
        schema: of all of it.
        encoded: folders of encoded episodes, in their order.

    Raises:
        DatasetWriteError: the folder is in use, or holds something else.
        OSError: the disk is full or gone.
    """
    writer = open_dataset(root, schema, version="v2.1", append=True)
    try:
        for episode in map(load_encoded, encoded):
            if episode.source not in writer.sources:
                writer.add(episode)
        writer.close()
    finally:
        writer.abandon()
    write_training(root / ORIGIN, TrainingFacts(trained_in="simulation"))
    shutil.rmtree(root / WORK)


def convert(request: Request, progress: Progress) -> Summary:
    """Convert episodes to a dataset.

    Args:
        request: what.
        progress: told how far it is.

    Returns:
        What came of each; an episode that cannot be used stops no other.

    Raises:
        EpisodeError: a given folder holds no episode.
        ConversionError: the dataset is there and not to be appended to, an unfinished conversion
            was begun differently, no episode can be used, or a worker was killed.
        DatasetWriteError: what is there is another dataset, or in use.
        OSError: the disk is full or gone.
    """
    summary = Summary()
    below = episode_folders if request.foreign is None else bags_below
    folders = [folder for root in request.episodes for folder in below(root)]
    candidates = look_at(folders, request, summary, progress)
    if not candidates:
        raise ConversionError(nothing_to_convert(summary))
    schema = candidates[0].schema
    candidates = fitting(candidates, schema, summary, progress)
    work, resumed = _begin(request)
    if request.shard is not None:
        part, parts = request.shard
        _encode(candidates[part - 1 :: parts], request, schema, summary, progress)
        return summary
    try:
        writer = open_dataset(
            request.dataset, schema, version=request.version, append=request.append or resumed
        )
    except BaseException:
        if not resumed:
            shutil.rmtree(work)
        raise
    try:
        wanted = [one for one in candidates if not _is_added(one, writer, work, summary)]
        _encode(wanted, request, schema, summary, progress)
        summary.added = _add(writer, work, summary)
        writer.close()
    finally:
        writer.abandon()
    _note_origin(request, simulated=all(one.simulated for one in candidates))
    shutil.rmtree(work)
    if not any(request.dataset.iterdir()):
        request.dataset.rmdir()
    return summary


def _add(writer: DatasetWriter, work: Path, summary: Summary) -> int:
    """Add what was encoded, unless an earlier run did; returns how many segments."""
    added = 0
    for result in summary.results:
        for index, source in enumerate(result.sources()):
            if source not in writer.sources:
                writer.add(load_encoded(segment_folder(work, result.key, index)))
                added += 1
    return added


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


def _begin(request: Request) -> tuple[Path, bool]:
    """Make the work folder, or find the one of a conversion that was stopped.

    Returns:
        The folder, and whether this goes on with an earlier conversion.
    """
    root = request.dataset
    work = _work(root)
    asked = {
        "version": request.version,
        "storage": request.storage,
        "gaps": request.gaps,
        "min_frames": request.min_frames,
    }
    note = work / _REQUEST
    if note.is_file():
        try:
            begun = {**read_json(note, what="options of an unfinished conversion")}
        except (UntrustedError, TypeError) as error:
            raise ConversionError(f"{note}: cannot be read: {error}; delete {work}") from error
        for name, value in asked.items():
            if begun.get(name) != value:
                raise ConversionError(
                    f"{work}: an unfinished conversion with {name} {begun.get(name)!s:.50}, now "
                    f"{value} is asked for; give the same options to go on, or delete that folder"
                )
        return work, True
    if root.exists() and any(root.iterdir()) and not request.append:
        raise ConversionError(
            f"{root}: exists already; give another folder, or --append to add to a dataset"
        )
    if work.is_dir() and any(path.name != f".{_REQUEST}.tmp" for path in work.iterdir()):
        raise ConversionError(
            f"{work}: no conversion left this; move it away, or choose another folder"
        )
    work.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps(asked), sync=False)
    return work, False


def _work(root: Path) -> Path:
    try:
        return confined(root, WORK, f"{root}: the folder of unfinished conversions")
    except ValueError as error:
        raise ConversionError(str(error)) from error


def _encode(
    wanted: Sequence[Candidate],
    request: Request,
    schema: DatasetSchema,
    summary: Summary,
    progress: Progress,
) -> None:
    """Encode the episodes side by side."""
    progress.expect(sum(one.recorded for one in wanted))
    jobs = (
        Job(
            folder=one.folder,
            foreign=one.foreign,
            work=request.dataset / WORK,
            schema=schema,
            gaps=request.gaps,
            min_frames=request.min_frames,
            read_ahead=len(wanted) < request.workers,
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
    except BrokenProcessPool as error:
        raise ConversionError(
            "a worker process was killed, mostly because memory ran out; the same command goes "
            "on where it stopped: give fewer --workers"
        ) from error


def _is_added(candidate: Candidate, writer: DatasetWriter, work: Path, summary: Summary) -> bool:
    """Whether an episode is in the dataset, and no result of it waits to be added."""
    if (work / f"{candidate.key}.json").exists():
        return False
    if source_name(candidate.key, 0) not in writer.sources:
        return False
    summary.left_out.append((candidate.folder, "is in the dataset already"))
    return True
