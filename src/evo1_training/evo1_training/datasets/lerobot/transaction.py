"""Files of a dataset that change together or not at all. Must not import ROS or torch.

New contents are staged beside the dataset, then a journal names them, then they are moved to their
places. A crash before the journal leaves the dataset as it was; after it, the moves that are left
can be done at any time (`recover`), because each is a plain rename.
"""

import json
import os
import shutil
from pathlib import Path

STAGING = ".adding"  # hidden, so that no reader's glob finds what is in it
_JOURNAL = "journal.json"
_FILES = "files"


class Transaction:
    """Changes to a dataset that appear together with commit()."""

    def __init__(self, root: Path) -> None:
        """Begin.

        Args:
            root: folder of the dataset; what an earlier attempt staged is removed.
        """
        self._root = root
        self._files = root / STAGING / _FILES
        shutil.rmtree(self._files, ignore_errors=True)
        self._staged: list[str] = []
        self._deleted: list[str] = []

    def stage(self, relative: str) -> Path:
        """Return where to write the new contents of a file of the dataset."""
        path = self._files / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if relative not in self._staged:
            self._staged.append(relative)
        return path

    def stage_text(self, relative: str, text: str) -> None:
        """Give a file of the dataset this text."""
        self.stage(relative).write_text(text, encoding="utf-8")

    def stage_line(self, relative: str, line: str) -> None:
        """Add a line to a file of the dataset, which need not be there yet."""
        present = self._root / relative
        text = present.read_text(encoding="utf-8") if present.is_file() else ""
        self.stage_text(relative, f"{text}{line}\n")

    def stage_copy(self, relative: str, source: Path) -> None:
        """Give a file of the dataset the contents of another one."""
        path = self.stage(relative)
        try:
            os.link(source, path)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, path)

    def delete(self, relative: str) -> None:
        """Remove a file of the dataset, unless its place is given to a staged one."""
        self._deleted.append(relative)

    def commit(self) -> None:
        """Make all changes.

        Raises:
            OSError: the disk is full or gone. Before the journal is written nothing has changed.
        """
        for relative in self._staged:
            _sync(self._files / relative)
        deleted = [path for path in self._deleted if path not in self._staged]
        journal = self._root / STAGING / _JOURNAL
        partial = journal.with_suffix(".tmp")
        partial.write_text(
            json.dumps({"replace": self._staged, "delete": deleted}), encoding="utf-8"
        )
        _sync(partial)
        partial.replace(journal)
        _sync(journal.parent)
        recover(self._root)


def is_interrupted(root: Path) -> bool:
    """Whether a change to a dataset was cut off between its first and its last rename."""
    return (root / STAGING / _JOURNAL).is_file()


def recover(root: Path) -> bool:
    """Finish a change that was cut off.

    Returns:
        Whether there was one.
    """
    journal = root / STAGING / _JOURNAL
    if not journal.is_file():
        return False
    changes = json.loads(journal.read_text(encoding="utf-8"))
    folders = set()
    for relative in changes["replace"]:
        staged, place = root / STAGING / _FILES / relative, root / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        folders.add(place.parent)
        if staged.is_file():  # else it was moved before the crash
            staged.replace(place)
    for relative in changes["delete"]:
        (root / relative).unlink(missing_ok=True)
    for folder in folders:
        _sync(folder)
    journal.unlink()
    shutil.rmtree(root / STAGING / _FILES, ignore_errors=True)
    return True


def _sync(path: Path) -> None:
    """Have a file's contents, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
