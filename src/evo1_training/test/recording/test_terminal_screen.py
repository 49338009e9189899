"""The display of the record terminal."""

import math
from dataclasses import replace

from evo1_training.recording.terminal_screen import RecorderView, StreamView, screen

CAMERA = StreamView(
    name="image_1",
    topic="/env_camera/image_raw",
    rate_hz=29.97,
    age_ms=12.0,
    max_gap_ms=35.0,
    lost=0,
    problem="",
)
VIEW = RecorderView(
    state=2,
    reason="",
    episode_id="episode_000003",
    instruction="stack the cans",
    duration_s=4.25,
    messages=812,
    lost=0,
    skew_ms=3.0,
    disk_free_gb=71.5,
    disk_left_s=1800.0,
    episodes_saved=3,
    streams=[CAMERA],
)


def show(view=VIEW, *, typed=None, message="", colours=False, width=200):
    return screen(view, typed=typed, message=message, colours=colours, width=width)


def test_a_running_take_shows_what_a_person_needs():
    lines = show(message="start: recording")
    assert lines[0] == "RECORDING  episode_000003  4.2 s"
    assert lines[1] == "instruction: stack the cans"
    assert "lost 0" in lines[2]
    assert "71.5 GB, 30 min at this rate" in lines[2]
    assert lines[4].split() == ["image_1", "30.0", "12", "35", "0", "/env_camera/image_raw"]
    assert "> start: recording" in lines


def test_a_stream_with_a_problem_says_which():
    silent = replace(CAMERA, age_ms=math.nan, rate_hz=0.0, problem="nothing received yet")
    lines = show(replace(VIEW, state=1, streams=[silent], reason="waits for image_1"))
    assert lines[0].startswith("WAITING  episode_000003")
    assert lines[0].endswith("waits for image_1")
    assert "never" in lines[4]
    assert lines[4].endswith("nothing received yet")


def test_without_a_recorder_it_says_so():
    assert show(None)[0] == "no status from the recorder; is it running?"


def test_an_instruction_being_typed_takes_the_place_of_the_keys():
    assert show(typed="stack")[-1].startswith("instruction: stack_")


def test_a_narrow_terminal_cuts_the_status_and_wraps_the_answer():
    lines = show(width=40, message="save: saved episode_000003 with the grade warn: lost 3 frames")
    assert max(len(line) for line in lines) <= 40
    assert "warn: lost 3 frames" in " ".join(lines)


def test_colours_only_where_wanted():
    assert "\x1b[" not in "".join(show())
    assert "\x1b[" in show(colours=True)[0]
