"""An episode in the rerun viewer, which is an optional dependency.

Must not import ROS or torch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evo1_training.viewing.episode_view import Curve, EpisodeView, ViewError


def show_in_rerun(view: EpisodeView, *, save: Path | None = None) -> None:
    """Open the viewer with cameras and joints over time, or write what it would show to a file.

    Args:
        view: the episode.
        save: write this .rrd file instead of opening a window; it is whole on return.

    Raises:
        ViewError: rerun is not installed, or too old.
    """
    try:
        import rerun  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ViewError(
            "--rerun and --rrd need the rerun viewer; install it with: pip install rerun-sdk"
        ) from error
    if not hasattr(rerun, "Scalars"):
        raise ViewError(
            f"rerun-sdk {rerun.__version__} is too old; expected 0.23 or newer: "
            "pip install --upgrade rerun-sdk"
        )
    rerun.init(f"evo1: {view.name}", spawn=save is None)
    if save is not None:
        rerun.save(str(save))
    rerun.log("instruction", rerun.TextDocument(view.title), static=True)
    for time_s, path, archetype in _items(view, rerun):
        rerun.set_time("time", duration=time_s)
        rerun.log(path, archetype)
    rerun.disconnect()  # until here a part of it waits in memory


def _items(view: EpisodeView, rerun: Any) -> Iterator[tuple[float, str, Any]]:
    for picture in view.pictures:
        yield picture.time_s, f"cameras/{picture.camera}", rerun.Image(picture.image)
    for kind, curve in (("state", view.state), ("action", view.action)):
        yield from _scalars(view, kind, curve, rerun)


def _scalars(
    view: EpisodeView, kind: str, curve: Curve, rerun: Any
) -> Iterator[tuple[float, str, Any]]:
    for time_s, row in zip(curve.times_s.tolist(), curve.values, strict=True):
        for name, value in zip(view.joints, row.tolist(), strict=True):
            if np.isfinite(value):
                yield time_s, f"joints/{name}/{kind}", rerun.Scalars(value)
