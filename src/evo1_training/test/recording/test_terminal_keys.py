"""Keys and buttons in, wishes out."""

import pytest

from evo1_training.recording.terminal_keys import Buttons, Keys, Wish


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
