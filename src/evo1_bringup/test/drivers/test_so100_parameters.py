"""The SO-100 driver's parameters: what is refused by name, and what the driver is told."""

import pytest

from evo1_bringup.drivers.so100_parameters import DriverParameters
from evo1_policy.node_parameters import ParameterError


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"temperature_stop": 71.0}, "temperature_stop: expected 0 to 70, got 71"),
        ({"reply_timeout_ms": 0.0}, "reply_timeout_ms: expected 0.001 to 60000, got 0"),
        ({"max_silent_cycles": 0}, "max_silent_cycles: expected 1 to 1000000, got 0"),
        ({"load_stop": "much"}, "load_stop: expected float, got 'much'"),
    ],
)
def test_value_that_cannot_be_used_is_refused_by_name(values, problem):
    with pytest.raises(ParameterError, match=problem):
        DriverParameters(**values)


def test_the_driver_is_told_what_was_chosen():
    settings = DriverParameters(reply_timeout_ms=200.0, temperature_stop=60.0)
    assert settings.temperature_stop == 60.0
    assert settings.max_stall_s == 1.0
    assert DriverParameters().max_stall_s == 0.1
