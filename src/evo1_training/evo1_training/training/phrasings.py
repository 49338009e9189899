"""Several phrasings of an instruction, of which training sees one at a time.

Which one follows from the seed, the epoch and the frame, so that a run that was killed and resumed
sees the words of the run that was not. Must not import ROS or torch.
"""

import difflib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from evo1_policy.untrusted import MOST_YAML_BYTES, UntrustedError, parse_yaml, read_text
from evo1_training.datasets.reader.problems import DatasetError

Phrasings = Mapping[str, Sequence[str]]  # words by task, at least one for each


def read_phrasings(path: Path, tasks: Collection[str]) -> Phrasings:
    """The phrasings of a YAML or JSON file, {task: [words, words]}.

    Tasks that are not in it keep their own words; a list that shall have those too names them.

    Args:
        path: of the file.
        tasks: those of the datasets.

    Raises:
        DatasetError: it cannot be read, holds something else, or names a task that is in none of
            the datasets.
    """
    try:
        text = read_text(path, what="phrasings", max_bytes=MOST_YAML_BYTES)
        data = parse_yaml(text, source=str(path))
    except UntrustedError as error:
        raise DatasetError(str(error)) from error
    if not isinstance(data, Mapping):
        raise DatasetError(f"{path}: expected tasks with lists of words")
    for task, words in data.items():
        if task not in tasks:
            near = difflib.get_close_matches(str(task), list(tasks), n=1) or sorted(tasks)[:3]
            raise DatasetError(
                f"{path}: {task!r}: no dataset has this task; near it: "
                f"{', '.join(map(repr, near))}"
            )
        sound = isinstance(words, list) and words
        if not sound or not all(isinstance(word, str) and word.strip() for word in words):
            raise DatasetError(f"{path}: {task!r}: expected a list of sentences, got {words!r}")
    return {task: tuple(words) for task, words in data.items()}


def chosen(phrasings: Phrasings, task: str, *place: int) -> str:
    """The words of a task for a place in the run, which whole numbers say."""
    words = phrasings.get(task)
    if words is None:
        return task
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return words[int.from_bytes(digest[:8], "big") % len(words)]
