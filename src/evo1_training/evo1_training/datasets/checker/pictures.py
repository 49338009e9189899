"""What can be seen in the pictures of one episode: black, stuck or repeated ones.

Must not import ROS or torch.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

_BLOCKS = (160, 120)  # a picture is looked at as so many averaged blocks
_SAME = 3  # levels of 255 that a block of a repeated picture may differ by, after a codec
_BLACK = 16  # no block of a black picture is brighter
_SEEN = 10  # levels that a block changes by where a camera sees the arm move


@dataclass(kw_only=True)
class PictureWatch:
    """Looks at the pictures of one camera, in order; keeps no picture.

    Attributes:
        black: rows of black pictures.
        runs: first and last row of pictures that are all the same, at least two.
        changes: largest change of a block since the row before, by row; only where that was seen.
    """

    black: list[int] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    changes: dict[int, int] = field(default_factory=dict)
    _previous: tuple[int, npt.NDArray[np.int16]] | None = None
    _first: tuple[int, npt.NDArray[np.int16]] | None = None

    def add(self, row: int, image: npt.NDArray[np.uint8]) -> None:
        """Look at the picture of a row, (H, W, 3) uint8 RGB."""
        blocks = _blocks(image)
        if blocks.max() < _BLACK:
            self.black.append(row)
        if self._previous is not None and self._previous[0] == row - 1:
            self.changes[row] = int(np.abs(blocks - self._previous[1]).max())
        if self._first is None or np.abs(blocks - self._first[1]).max() > _SAME:
            self._first = (row, blocks)
        elif self.runs and self.runs[-1][0] == self._first[0]:
            self.runs[-1] = (self._first[0], row)
        else:
            self.runs.append((self._first[0], row))
        self._previous = (row, blocks)

    def repeated_share(self, busy: npt.NDArray[np.bool_]) -> float:
        """Which part of the steps with fast motion repeats the picture before.

        Args:
            busy: (T - 1,) steps in which the arm moves fast.

        Returns:
            0 where too few steps are fast, or where the camera does not see the motion.
        """
        changes = np.array([change for row, change in self.changes.items() if busy[row - 1]])
        same = changes <= _SAME
        if len(changes) < 20 or same.all() or np.median(changes[~same]) < _SEEN:
            return 0.0
        return float(same.mean())


def _blocks(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    height, width = image.shape[:2]
    size = (max(1, width // _BLOCKS[0]), max(1, height // _BLOCKS[1]))
    return np.asarray(Image.fromarray(image).convert("L").reduce(size)).astype(np.int16)
