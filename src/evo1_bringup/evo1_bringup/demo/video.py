"""Both cameras side by side as an MP4. Must not import ROS."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

_GAP_PX = 4


def side_by_side(images: Sequence[Image]) -> Image:
    """Join images (H, W, 3) uint8 RGB of any sizes in a row; even height and width for H.264."""
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + _GAP_PX * (len(images) - 1)
    canvas = np.zeros((height + height % 2, width + width % 2, 3), dtype=np.uint8)
    left = 0
    for image in images:
        canvas[: image.shape[0], left : left + image.shape[1]] = image
        left += image.shape[1] + _GAP_PX
    return canvas


def write_video(
    path: Path, frames: Mapping[str, Sequence[Image]], *, rate_hz: float
) -> Path | None:
    """Write the cameras' frames, joined pairwise in order; None where there are none.

    Args:
        path: the .mp4 to write; its folder exists.
        frames: camera -> frames (H, W, 3) uint8 RGB.
        rate_hz: frames a second of the video, a whole number.
    """
    rows = [side_by_side(pair) for pair in zip(*frames.values(), strict=False)]
    if not rows:
        return None
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(rate_hz))
        stream.height, stream.width = rows[0].shape[:2]
        stream.pix_fmt = "yuv420p"  # players know no other
        stream.options = {"crf": "20", "preset": "veryfast"}
        for row in rows:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(row, format="rgb24")))
        container.mux(stream.encode())
    return path
