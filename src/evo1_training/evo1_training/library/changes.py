"""What a person does with episodes in a list: delete, name anew, mark what is shown when.

Recordings are changed where they lie, in the formats that `convert` reads: an episode that is
deleted goes to the recorder's trash, labels and who demonstrated stand in episode.json. Datasets
are never changed here: the `edit-dataset` command that does it is put together to be typed.
Must not import ROS or torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evo1_policy.observation import instruction_problem
from evo1_training.library.shelves import LibraryError, Shelf, find_episode
from evo1_training.next_commands import command
from evo1_training.recording.episode import (
    EpisodeError,
    Label,
    Sidecar,
    read_sidecar,
    write_sidecar,
)
from evo1_training.recording.episode_store import EpisodeStore

_KEPT = 20  # deletions, each of any number of episodes, that stay in the trash


@dataclass(frozen=True, kw_only=True)
class DatasetEdit:
    """What `edit-dataset` shall do, by numbers of episodes.

    Attributes:
        delete: episodes to leave out.
        keep: leave all others out.
        tasks: another label, by episode.
        trims: frames to keep, the end left out, by episode.
        splits: frames at which a new episode begins, by episode.
    """

    delete: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()
    tasks: Mapping[int, str] = field(default_factory=dict)
    trims: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    splits: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def delete(shelf: Shelf, names: Sequence[str]) -> str:
    """Move recordings to the trash of their folder, all as one thing; says where they are.

    Raises:
        LibraryError: one is not there, still runs, or cannot be moved.
    """
    folders = [find_episode(shelf, name) for name in dict.fromkeys(names)]
    if not folders:
        raise LibraryError("no episode is chosen")
    for folder in folders:
        _ended(shelf, folder.name)
    try:
        moved = EpisodeStore(shelf.path, keep_deleted=_KEPT).discard(*folders)
    except OSError as error:
        raise LibraryError(f"{shelf.path}: cannot be moved: {error.strerror}") from error
    return f"{len(folders)} moved to {moved.parent}"


def relabel(shelf: Shelf, names: Sequence[str], instruction: str) -> str:
    """Give recordings another label, but for what is left out of them.

    Raises:
        LibraryError: the text is no label, or an episode still runs.
    """
    text = _label(instruction)
    for name in names:
        sidecar = _ended(shelf, name)
        assert sidecar.outcome is not None
        labels: list[Label] = []
        for label in sidecar.outcome.labels:
            words = text if label.instruction else ""
            if words != (labels[-1].instruction if labels else text):
                labels.append(replace(label, instruction=words))
        _write(shelf, name, _labelled(sidecar, text, labels))
    return f"{len(names)} named anew"


def mark(shelf: Shelf, name: str, begin_ns: int, spans: Iterable[tuple[float, str]]) -> str:
    """Say what is demonstrated in which part of a recording.

    Args:
        shelf: where it lies.
        name: of the episode.
        begin_ns: the stamp from which the spans count [ns], EpisodeView.begin_ns.
        spans: from when on [s] which words hold; the first begins at 0. What has no words is
            left out by `convert`.

    Raises:
        LibraryError: no span begins at 0, two begin together, none has words, or a text is no
            label.
    """
    told = sorted((float(begin_s), words.strip() and _label(words)) for begin_s, words in spans)
    times = [begin_s for begin_s, _ in told]
    if not told or times[0] != 0.0 or len(set(times)) != len(times):
        raise LibraryError(f"{name}: expected spans from 0 on, each with its own beginning")
    instruction = next((words for _, words in told if words), "")
    if not instruction:
        raise LibraryError(f"{name}: nothing would be left of it; delete it instead")
    labels = [
        Label(from_ns=begin_ns + round(begin_s * 1e9), instruction=words)
        for begin_s, words in told[bool(told[0][1]) :]
    ]
    _write(shelf, name, _labelled(_ended(shelf, name), instruction, labels))
    return f"{len(told)} spans"


def _labelled(sidecar: Sidecar, instruction: str, labels: Sequence[Label]) -> Sidecar:
    assert sidecar.outcome is not None
    return replace(
        sidecar,
        facts=replace(sidecar.facts, instruction=instruction),
        outcome=replace(sidecar.outcome, labels=tuple(labels)),
    )


def demonstrated_by(shelf: Shelf, names: Sequence[str], operator: str) -> str:
    """Say who demonstrated.

    Raises:
        LibraryError: the text is no name, or an episode still runs.
    """
    text = operator.strip()
    if text and (problem := instruction_problem(text)):
        raise LibraryError(problem.replace("instruction", "name"))
    for name in names:
        sidecar = _ended(shelf, name)
        _write(shelf, name, replace(sidecar, facts=replace(sidecar.facts, operator=text)))
    return f"{len(names)} by {text or 'nobody known'}"


def edit_command(shelf: Shelf, edit: DatasetEdit) -> str:
    """The command that makes a new dataset in place of the old one, which it keeps beside it.

    Raises:
        LibraryError: nothing is to be done, or a text is no label.
    """
    words: list[object] = []
    if edit.delete:
        words += ["--delete", numbers(edit.delete)]
    if edit.keep:
        words += ["--keep", numbers(edit.keep)]
    by_task: dict[str, set[int]] = {}
    for episode, task in edit.tasks.items():
        by_task.setdefault(_label(task), set()).add(episode)
    for task, episodes in by_task.items():
        words += ["--task", f"{numbers(episodes)}={task}"]
    for episode, (first, end) in sorted(edit.trims.items()):
        words += ["--trim", f"{episode}:{first}-{end}"]
    for episode, frames in sorted(edit.splits.items()):
        words += ["--split", f"{episode}:{','.join(map(str, sorted(frames)))}"]
    if not words:
        raise LibraryError("nothing is chosen to be changed")
    return command("edit_dataset", shelf.path, "--in-place", *words)


def numbers(episodes: Iterable[int]) -> str:
    """Numbers as `edit-dataset` takes them: 3,7-9."""
    parts: list[list[int]] = []
    for number in sorted(set(episodes)):
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _label(text: str) -> str:
    if problem := instruction_problem(text):
        raise LibraryError(problem)
    return text.strip()


def _ended(shelf: Shelf, name: str) -> Sidecar:
    """The facts of an episode that is not being written."""
    try:
        sidecar = read_sidecar(find_episode(shelf, name))
    except EpisodeError as error:
        raise LibraryError(str(error)) from error
    if sidecar.outcome is None:
        raise LibraryError(
            f"{name}: still runs, or was cut off; save it, or: {command('recover', shelf.path)}"
        )
    return sidecar


def _write(shelf: Shelf, name: str, sidecar: Sidecar) -> None:
    try:
        write_sidecar(find_episode(shelf, name), sidecar)
    except OSError as error:
        raise LibraryError(f"{name}: cannot be written: {error.strerror}") from error
