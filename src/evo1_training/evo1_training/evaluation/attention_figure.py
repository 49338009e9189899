"""Attention maps laid over the pictures that they belong to. Must not import ROS or torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
OPACITY = 0.55


def overlay(image: Image, heat: npt.NDArray[np.float64], *, highest: float) -> Image:
    """Lay a map over a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        heat: (G, G), 0 or more.
        highest: what is shown in full colour.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    scaled = np.clip(heat / max(highest, 1e-12), 0.0, 1.0).astype(np.float32)
    smooth = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_CUBIC).clip(0.0, 1.0)
    coloured = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    mixed: Image = ((1 - OPACITY) * image + OPACITY * coloured).round().astype(np.uint8)
    return mixed


def write_figure(
    path: Path,
    images: Mapping[str, Image],
    rows: Sequence[tuple[str, npt.NDArray[np.float64]]],
    *,
    title: str,
) -> None:
    """Write a picture: the cameras above, and below them one row of overlays for each model.

    Args:
        path: PNG file.
        images: (H, W, 3) uint8 RGB by camera, in the order of the views.
        rows: label and maps (V, G, G) of each model.
        title: what was looked for.
    """
    from matplotlib.figure import Figure  # lazily: half a second

    figure = Figure(figsize=(4 * len(images), 3.2 * (len(rows) + 1)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for column, (name, image) in enumerate(images.items()):
        axes[0][column].imshow(image)
        axes[0][column].set_title(name)
        for row, (label, maps) in enumerate(rows, start=1):
            shown = overlay(image, maps[column], highest=float(maps.max()))
            axes[row][column].imshow(shown)
            axes[row][column].set_title(f"{label}: {maps[column].sum():.0%} of the attention")
    for axis in axes.flat:
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
