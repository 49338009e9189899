"""Changes to a dataset that appear together or not at all. Must not import ROS or torch.

New files are written below `.adding/files`, a whole new `meta` among them, whose unchanged files
are links to those of the old one. Moving that `meta` to `.adding/meta` decides: before it the
dataset is as it was, after it what is left is moved to its place by whoever opens the dataset
next. No file tells names of files, and none that is there already is changed, but by exchanging
`meta`, and by lines at the end of its lists: so that an episode costs what it is itself, new lines
wait in `.adding/lines/<list>/<bytes that the list has>`, and are added once it is decided.
"""

import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from evo1_policy.paths import confined, sync

STAGING = ".adding"  # hidden, so that no reader's glob finds what is in it
META = "meta"
_FILES, _OLD, _LINES, _LOCK = "files", "old", "lines", "lock"


class DatasetWriteError(ValueError):
    """A dataset that cannot be written; the message names the folder and what to do."""


class Whole(ABC):
    """A file that is whole once a `with` has ended without an error."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left, and what makes the file whole."""

    @abstractmethod
    def _let_go(self) -> None:
        """Close the file as it is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(OSError):  # the error that came first counts
                self._let_go()


class Staging:
    """The changes of one process to a dataset; others are kept out until `close`.

    Args:
        root: folder of the dataset; is made. A change to it that was cut off is finished first.

    Raises:
        DatasetWriteError: another process adds to it, or it leads out of itself by a link.
        OSError: the disk is full or gone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / STAGING
        self._files = self._folder / _FILES
        for name in (
            STAGING,
            META,
            f"{STAGING}/{META}",
            f"{STAGING}/{_FILES}",
            f"{STAGING}/{_LINES}",
        ):
            _inside(root, name)
        if self._folder.exists() and not (self._folder / _LOCK).is_file():
            raise DatasetWriteError(
                f"{self._folder}: no conversion left this; remove it, or choose another folder"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _inside(root, f"{STAGING}/{_LOCK}").open("a", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _finish(root)
            self._clear()
        except BlockingIOError as error:
            self._lock.close()
            raise DatasetWriteError(
                f"{root}: another process is adding to it; wait until it has ended"
            ) from error
        except BaseException:
            self._lock.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether nothing can be staged any more."""
        return self._lock.closed

    def begin(self) -> None:
        """Start from the metadata that is there."""
        self._clear()
        present = self._root / META
        if present.is_dir():
            shutil.copytree(
                present,
                self._files / META,
                symlinks=True,
                copy_function=lambda source, target: link_or_copy(Path(source), Path(target)),
            )

    def file(self, relative: str) -> Path:
        """Return where to write a file of the dataset, which is not there."""
        path = _inside(self._files, relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def text(self, relative: str, text: str) -> None:
        """Give a file of the dataset this text."""
        self.file(relative).write_text(text, encoding="utf-8")

    def lines(self, relative: str, lines: Sequence[str]) -> None:
        """Add lines to a file of the metadata, which need not be there yet."""
        path = _inside(self._files, relative)
        text = "".join(f"{line}\n" for line in lines)
        if not path.is_file():
            self.text(relative, text)
            return
        if path.stat().st_nlink > 2:  # somebody else's name of it, too, as of a copy by links
            path.write_bytes(_taken_out(path))
        waiting = _inside(self._folder / _LINES, f"{relative}/{path.stat().st_size}")
        waiting.parent.mkdir(parents=True)
        waiting.write_text(text, encoding="utf-8")

    def copy(self, relative: str, source: Path) -> None:
        """Give a file of the dataset the contents of another one."""
        link_or_copy(source, self.file(relative))

    def commit(self) -> None:
        """Make all changes; `meta` is among what was staged.

        Raises:
            OSError: the disk is full or gone. Unless is_interrupted, nothing has changed.
        """
        for folder in (self._files, self._folder / _LINES):
            for path in folder.rglob("*"):
                sync(path)
        (self._files / META).rename(self._folder / META)
        sync(self._folder)
        _finish(self._root)

    def close(self) -> None:
        """Let others in; what was staged and not committed is forgotten."""
        if not self.closed:
            if not is_interrupted(self._root):
                shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.close()

    def _clear(self) -> None:
        for name in (_FILES, _OLD, _LINES):
            if (self._folder / name).exists():
                shutil.rmtree(self._folder / name)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; what a dataset holds is never changed in place."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def is_interrupted(root: Path) -> bool:
    """Whether a change to a dataset was cut off between its decision and its end."""
    return (root / STAGING / META).is_dir()


@contextmanager
def locked(path: Path, busy: Exception) -> Iterator[None]:
    """Keep other processes out by a file; a kill lets go of it.

    Raises:
        Exception: `busy`, where another one is there already.
    """
    with path.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        yield


@contextmanager
def telling_where(path: Path) -> Iterator[None]:
    """Name a file or folder in errors of the system that name none, as of libraries in C."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def _finish(root: Path) -> None:
    """Do what is left of a change that was decided."""
    folder = root / STAGING
    files, new, old = folder / _FILES, folder / META, folder / _OLD
    if not new.is_dir():
        return
    for path in sorted(files.rglob("*")):
        if path.is_file():  # folders stay, to be removed
            place = _inside(root, path.relative_to(files).as_posix())
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
            sync(place.parent)
    for path in (folder / _LINES / META).rglob("*"):
        if path.is_file() and path.name.isdecimal():
            name = path.parent.relative_to(folder / _LINES / META).as_posix()
            _extend(_inside(new, name), int(path.name), path.read_bytes())
    if (root / META).exists():
        (root / META).rename(old)
    new.rename(root / META)
    sync(root)


def _extend(path: Path, size: int, data: bytes) -> None:
    """Add to what a file had in `size` bytes, however much of it was added already."""
    with path.open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _taken_out(path: Path) -> bytes:
    """The contents of a file that loses this name."""
    data = path.read_bytes()
    path.unlink()
    return data


def _inside(root: Path, name: str) -> Path:
    try:
        return confined(root, name, f"{root}: a file of the dataset")
    except ValueError as error:
        raise DatasetWriteError(
            f"{error}; remove the link, or convert to another folder"
        ) from error
