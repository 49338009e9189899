"""One table of the policy node's parameters: what is typed, and what is refused by name."""

import pytest

from evo1_policy.node_parameters import (
    POLICY_PARAMETERS,
    ParameterError,
    PolicyParameters,
    loop_settings,
)


def test_every_parameter_is_described_and_its_default_passes():
    PolicyParameters()
    assert all(len(row.description) > 10 for row in POLICY_PARAMETERS.values())


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"device": "tpu"}, "device: expected one of auto, cpu, cuda, got 'tpu'"),
        ({"execution_mode": "fast"}, "execution_mode: expected one of replace, .*, got 'fast'"),
        ({"smoothing_rad": float("nan")}, "smoothing_rad: expected 0 to .*, got nan"),
        ({"takeover_silence_s": 0.1}, "takeover_silence_s: expected 0.3 to 60, got 0.1"),
        ({"seed": -1}, "seed: expected 0 to 2147483647, got -1"),
        ({"dry_run": 1}, "dry_run: expected bool, got 1"),
        ({"num_steps": 2.0}, "num_steps: expected int, got 2.0"),
    ],
)
def test_value_that_cannot_be_used_is_refused_by_name(values, problem):
    with pytest.raises(ParameterError, match=problem):
        PolicyParameters(**values)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dry_run", "True", True),
        ("num_steps", "5", 5),
        ("smoothing_rad", "0.01", 0.01),
        ("instruction", "on", "on"),
    ],
)
def test_typed_words_become_values_of_the_parameters_type(name, text, value):
    assert POLICY_PARAMETERS[name].read(text) == value


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("dry_run", "perhaps", "dry_run: expected true or false, got 'perhaps'"),
        ("seed", "many", "seed: expected an integer, got 'many'"),
        ("ensemble_decay", "much", "ensemble_decay: expected a number, got 'much'"),
        ("rtc_fall_actions", "51", "rtc_fall_actions: expected 0 to 50, got 51"),
    ],
)
def test_typed_words_that_cannot_be_used_are_refused_by_name(name, text, problem):
    with pytest.raises(ParameterError, match=problem):
        POLICY_PARAMETERS[name].read(text)


def test_zero_actions_mean_what_the_checkpoint_says():
    assert loop_settings(PolicyParameters()).execute_actions is None
    assert loop_settings(PolicyParameters(execute_actions=8)).execute_actions == 8
