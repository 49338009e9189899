"""The pictures that are drawn: there, readable, of a sensible size."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from evo1_training.viewing.drawing import draw_contact_sheet, draw_joints
from evo1_training.viewing.episode_view import (
    Curve,
    EpisodeView,
    GapSpan,
    Picture,
    empty_curve,
    spans,
    spread,
)


def episode(*, joints=3, columns=8, pictures=True, action=True):
    times = np.linspace(0, 4, 120)
    curve = Curve(times_s=times, values=np.stack([np.sin(times + j) for j in range(joints)], -1))
    grey = np.full((48, 64, 3), 128, np.uint8)
    return EpisodeView(
        name="episode_000000",
        title="put the can into the box " * 10,
        remarks=("grade: pass",),
        duration_s=4.0,
        joints=tuple(f"joint{j}" for j in range(joints)),
        state=curve,
        action=curve if action else empty_curve(joints),
        cameras=("image_1", "image_2"),
        pictures=tuple(
            Picture(camera=camera, time_s=place / 2, image=grey)
            for place in range(columns)
            for camera in ("image_1", "image_2")
        )
        if pictures
        else (),
        gaps=(GapSpan(begin_s=1.0, end_s=1.5, stream="image_1"),),
    )


@pytest.mark.parametrize("columns", [1, 6, 13])
def test_contact_sheet_grows_with_its_pictures(tmp_path, columns):
    draw_contact_sheet(episode(columns=columns), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 1000
        assert image.height > 300 * -(-columns // 6)
        assert len(image.getcolors(10**6)) > 10


def test_contact_sheet_without_pictures_is_a_title(tmp_path):
    draw_contact_sheet(episode(pictures=False), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


@pytest.mark.parametrize("joints", [0, 1, 2, 7, 14])
def test_joints_are_drawn_whatever_their_number(tmp_path, joints):
    view = episode(joints=joints) if joints else episode(joints=1, action=False)
    draw_joints(view, tmp_path / "joints.png")
    assert (tmp_path / "joints.png").stat().st_size > 1000


def test_spread_takes_first_and_last():
    assert spread(100, 3) == [0, 50, 99]
    assert spread(2, 5) == [0, 1]


def test_spans_are_where_times_are_apart():
    (gap,) = spans(np.array([0.0, 0.1, 0.5, 0.6]), 0.15, "image_1")
    assert (gap.begin_s, gap.end_s) == (0.1, 0.5)


def test_texts_of_a_dataset_are_no_formulas(tmp_path):
    view = replace(
        episode(), title=r"$\frac{ \x1b[2J", joints=(r"$\nothing$", "$", "a\x07"), remarks=("$^",)
    )
    draw_joints(view, tmp_path / "joints.png")
    draw_contact_sheet(view, tmp_path / "sheet.png")
    assert (tmp_path / "joints.png").stat().st_size > 1000
