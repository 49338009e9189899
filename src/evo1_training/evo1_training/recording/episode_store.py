"""The folder that episodes are saved into, its numbering and its trash.

Nothing is erased at once: what was discarded or deleted goes to `<root>/.trash/<when>/`, which
keeps the newest few. Must not import ROS or torch.
"""

import shutil
import time
from pathlib import Path

from evo1_training.recording.episode import next_episode_number, numbered_episode

TRASH = ".trash"


class EpisodeStore:
    """Episodes below one folder, as one run of the recorder sees them.

    Args:
        root: is made where it does not exist.
        keep_deleted: so many discarded and deleted episodes stay in the trash.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, root: Path, *, keep_deleted: int = 5) -> None:
        self.root = root.expanduser().absolute()
        self.root.mkdir(parents=True, exist_ok=True)
        self._keep = keep_deleted
        self._saved: list[Path] = []

    @property
    def saved(self) -> tuple[Path, ...]:
        """What was saved since the start and not deleted, oldest first."""
        return tuple(self._saved)

    def next_folder(self) -> Path:
        """Where the next episode goes."""
        return self.root / numbered_episode(next_episode_number(self.root))

    def add(self, folder: Path) -> None:
        """Count an episode as saved."""
        self._saved.append(folder)

    def delete_last(self) -> Path:
        """Move the episode saved last to the trash; returns where it is now.

        Raises:
            LookupError: nothing was saved since the start.
            OSError: it cannot be moved.
        """
        while self._saved and not self._saved[-1].is_dir():
            self._saved.pop()  # somebody else deleted it
        if not self._saved:
            raise LookupError(
                "no episode was saved since the recorder started; older ones are never deleted "
                f"from here, remove them from {self.root} yourself"
            )
        moved = self.discard(self._saved[-1])
        self._saved.pop()
        return moved

    def discard(self, *folders: Path) -> Path:
        """Move episodes to the trash, as one thing of it; returns where the last one is now.

        Raises:
            OSError: one cannot be moved.
        """
        trash = self.root / TRASH
        place = trash / f"{time.strftime('%Y%m%dT%H%M%S')}_{time.time_ns() % 10**9:09d}"
        place.mkdir(parents=True)
        for folder in folders:
            target = folder.rename(place / folder.name)
        for old in sorted(path for path in trash.iterdir() if path != place)[
            : max(0, len(list(trash.iterdir())) - self._keep)
        ]:
            shutil.rmtree(old, ignore_errors=True)
        if not self._keep:
            shutil.rmtree(place, ignore_errors=True)
        return target

    def free_bytes(self) -> int:
        """Room on the disk; 0 where it cannot be told."""
        try:
            return shutil.disk_usage(self.root).free
        except OSError:
            return 0
