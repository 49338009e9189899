"""Keys and buttons in, wishes out; the status on the screen."""

import copy
import math
from types import SimpleNamespace

import pytest

from evo1_training.recording.terminal import (
    Buttons,
    FromNowOn,
    Keys,
    Wish,
    recorder_view,
    screen,
)


@pytest.mark.parametrize(
    ("key", "wishes"),
    [
        ("s", [Wish.START]),
        (" ", [Wish.SAVE]),
        ("\n", [Wish.SAVE]),
        ("\r", [Wish.SAVE]),
        ("d", [Wish.DISCARD]),
        ("r", [Wish.DISCARD, Wish.START]),
        ("x", [Wish.DELETE_LAST]),
        ("S", [Wish.START]),
        ("q", [Wish.QUIT]),
    ],
)
def test_a_key_acts_at_once(key, wishes):
    assert Keys().press(key, busy=False) == wishes


def test_a_key_without_meaning_is_named():
    keys = Keys()
    assert keys.press("k", busy=False) == []
    assert keys.note == "no key 'k'"


def test_an_instruction_is_typed_corrected_and_entered():
    keys = Keys()
    assert keys.press("i", busy=False) == []
    assert keys.press("press the reed", busy=False) == []
    assert keys.press("\x7f\x7f\x7f\x7fgreen  ", busy=False) == []
    assert keys.typed == "press the green  "
    assert keys.press("\n", busy=False) == ["press the green"]
    assert keys.typed is None


def test_an_empty_instruction_changes_nothing():
    keys = Keys()
    assert keys.press("i  \n", busy=False) == []
    assert keys.note == "the instruction stays as it is"


def test_an_instruction_for_the_running_take_is_told_from_one_for_the_next():
    (now,) = Keys().press("nput it down\n", busy=True)
    assert (now, type(now)) == ("put it down", FromNowOn)
    (later,) = Keys().press("ipick\n", busy=True)
    assert type(later) is str


def test_escape_leaves_the_instruction():
    keys = Keys()
    keys.press("iabc", busy=False)
    assert keys.press("\x1b", busy=False) == []
    assert keys.typed is None
    assert keys.press("s", busy=False) == [Wish.START]


def test_an_arrow_key_asks_for_nothing():
    assert Keys().press("\x1b[D", busy=True) == []


def test_leaving_a_running_take_needs_a_second_key():
    keys = Keys()
    assert keys.press("q", busy=True) == []
    assert "a take runs" in keys.note
    assert keys.press("q", busy=True) == [Wish.QUIT]


def test_another_key_in_between_takes_the_leaving_back():
    keys = Keys()
    keys.press("\x03", busy=True)
    assert keys.press(" ", busy=True) == [Wish.SAVE]
    assert keys.press("\x03", busy=True) == []


def test_a_button_counts_when_it_goes_down():
    buttons = Buttons({"start": 2, "save": 0, "discard": -1})
    assert buttons.press([0, 0, 0]) == []
    assert buttons.press([0, 0, 1]) == [Wish.START]
    assert buttons.press([0, 0, 1]) == []
    assert buttons.press([1, 0, 0]) == [Wish.SAVE]
    assert buttons.press([0, 1, 0]) == []


def test_a_button_held_from_the_start_is_not_pressed():
    buttons = Buttons({"rerecord": 0})
    assert buttons.press([1]) == []
    buttons.press([0])
    assert buttons.press([1]) == [Wish.DISCARD, Wish.START]


def test_a_mapping_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="button 'fly' is unknown; known: start, save"):
        Buttons({"fly": 1})
    with pytest.raises(ValueError, match="two buttons share a number"):
        Buttons({"start": 1, "save": 1})


CAMERA = SimpleNamespace(
    name="image_1",
    topic="/env_camera/image_raw",
    rate_hz=29.97,
    age_ms=12.0,
    max_gap_ms=35.0,
    lost=0,
    problem="",
)
VIEW = SimpleNamespace(
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


def replace(shown, **changes):
    changed = copy.copy(shown)
    vars(changed).update(changes)
    return changed


def show(view=VIEW, *, typed=None, message="", colours=False, width=200):
    view = recorder_view(view) if view else None
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


def test_nothing_that_a_message_says_steers_the_terminal():
    forged = replace(CAMERA, name="\x1b[2Jcam", problem="gone\nIDLE")
    lines = show(replace(VIEW, instruction="pick\x1b]0;x\x07", streams=[forged]))
    assert not any("\x1b" in line or "\n" in line for line in lines)


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
