"""Contact sheet: the cameras of an episode along time, as one PNG.

Must not import ROS or torch.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evo1_training.viewing.episode_view import EpisodeView, Picture

_COLUMNS = 6
_CELL_INCH = 2.1
_DPI = 110
_LONGEST_TITLE = 90


def draw_contact_sheet(view: EpisodeView, path: Path) -> None:
    """Draw rows of pictures, one line a camera, with times; long episodes take several blocks.

    Raises:
        OSError: the file cannot be written.
    """
    by_camera = [
        [picture for picture in view.pictures if picture.camera == camera]
        for camera in view.cameras
    ]
    count = max(map(len, by_camera), default=0)
    blocks = max(1, -(-count // _COLUMNS))
    lines = max(1, blocks * len(view.cameras))
    aspect = _aspect(view.pictures)
    height = lines * (_CELL_INCH * aspect + 0.28) + 0.75
    figure = Figure(figsize=(_COLUMNS * _CELL_INCH, height), dpi=_DPI)
    FigureCanvasAgg(figure)
    top = 1 - 0.7 / height
    title = shorten(view.title, _LONGEST_TITLE, placeholder=" ...")
    figure.text(0.01, 1 - 0.12 / height, title, va="top", size=13, weight="bold")
    figure.text(0.01, 1 - 0.42 / height, _subtitle(view), va="top", size=9, color="0.35")
    axes = figure.subplots(
        lines,
        _COLUMNS,
        squeeze=False,
        gridspec_kw={
            "left": 0.03,
            "right": 0.995,
            "top": top - 0.2 / height,
            "bottom": 0.05 / height,
            "wspace": 0.03,
            "hspace": 0.28 / (_CELL_INCH * aspect),
        },
    )
    for axis in axes.flat:
        axis.axis("off")
    for line, pictures in enumerate(by_camera):
        for place, picture in enumerate(pictures):
            block, column = divmod(place, _COLUMNS)
            _draw_picture(axes[block * len(view.cameras) + line, column], picture)
        for block in range(blocks):
            _name_line(axes[block * len(view.cameras) + line, 0], view.cameras[line])
    figure.savefig(path)


def _draw_picture(axis: Axes, picture: Picture) -> None:
    axis.imshow(picture.image)
    axis.set_title(f"{picture.time_s:.2f} s", size=8, pad=2)


def _name_line(axis: Axes, name: str) -> None:
    axis.text(
        -0.03, 0.5, name, transform=axis.transAxes, rotation=90, ha="right", va="center", size=9
    )


def _subtitle(view: EpisodeView) -> str:
    return "   ".join([view.name, f"{view.duration_s:.1f} s", *view.remarks])


def _aspect(pictures: Sequence[Picture]) -> float:
    """Height by width of the tallest picture."""
    shapes = [picture.image.shape for picture in pictures] or [(3, 4)]
    return float(np.max([shape[0] / shape[1] for shape in shapes]))
