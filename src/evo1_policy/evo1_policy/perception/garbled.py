"""Finds what no decoder objects to: bytes in a JPEG that happen to be a code for other blocks.

A block tells its brightness by the difference to the one before, so that everything behind a
garbled one is off by a constant, up to the next restart mark. Where the marks stand at the ends of
rows of blocks, as cameras set them, such a row shows: even to its left, then a garbled block, then
brighter or darker by one and the same step at its upper and its lower edge, up to its end. No
scene has all of that on the grid of the blocks. Must not import ROS or torch.

Letters: R edges between rows of blocks, C blocks in a row.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_STEP = 6.0  # smallest constant that is looked at, of 255
_EVEN = 4.0  # what an even edge may have
_RUN = 4  # blocks that have to be off


def is_garbled(data: bytes, image: npt.NDArray[np.uint8]) -> bool:
    """Whether a row of blocks is off by a constant behind a garbled one.

    Args:
        data: a JPEG.
        image: what it decodes to (H, W, 3) uint8.
    """
    block = _block_with_row_restarts(data)
    if block is None or image.shape[0] < 4 * block[0]:
        return False
    height, width = block
    green = image[:, : image.shape[1] // width * width, 1]
    edges = np.arange(height, image.shape[0] - 1, height)
    above2, above, below, below2 = (green[edges + k].astype(np.int16) for k in (-2, -1, 0, 1))
    # what goes on over the edge as it does on both sides of it is no step
    step = below - above - (above - above2 + below2 - below) / 2  # (R, W)
    steps = step.reshape(len(edges), -1, width).mean(axis=2)  # (R, C)
    return any(_is_off(top, bottom) for top, bottom in pairwise(steps))


def _is_off(top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64]) -> bool:
    """Whether one row's steps (C,) at its two edges are those of a garbled row."""
    offset = (top - bottom) / 2
    last = float(offset[-1])
    if abs(last) < _STEP:
        return False
    same = (abs(offset - last) < 2 + 0.15 * abs(last)) & (abs(top + bottom) < 2 * _EVEN)
    run = int(np.argmin(same[::-1])) if not same.all() else len(same)
    first = len(same) - run
    if run < _RUN or first < 2:
        return False
    worst = np.maximum(abs(top), abs(bottom))
    return bool(worst[first - 1] > 2 * abs(last) and (worst[: first - 1] < _EVEN).mean() > 0.8)


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each segment before the picture of a JPEG."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield data[place + 1], data[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)


def _block_with_row_restarts(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a block where restart marks stand at the ends of rows [px]."""
    interval, block, columns = 0, (8, 8), 0
    for kind, body in segments(data):
        if kind == 0xDD and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif kind == 0xC0 and len(body) >= 8:
            sampling = body[7] if body[5] > 1 else 0x11
            block = 8 * (sampling & 15), 8 * (sampling >> 4)
            columns = -(-int.from_bytes(body[3:5], "big") // max(block[1], 1))
    return block if interval and columns and interval % columns == 0 else None
