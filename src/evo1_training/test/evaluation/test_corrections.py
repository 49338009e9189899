"""When a person takes over, and what is kept of it."""

import numpy as np
import pytest

from evo1_sim.world import World
from evo1_training.evaluation.corrections import (
    ASTRAY,
    AT_ONCE,
    STUCK,
    Course,
    Person,
    Rule,
    Watch,
)

# The tool goes 1 cm a tick along x for 60 ticks; the thing rests beside it until tick 40.
TOOLS = np.stack([0.01 * np.arange(60), np.zeros(60), np.full(60, 0.2)], axis=1)
THINGS = np.where(np.arange(60)[:, None] < 40, [0.4, 0.0, 0.1], TOOLS - [0.0, 0.0, 0.1])
COURSE = Course(tools=TOOLS, things=THINGS)


def calls(tools, things, rule=Rule()):  # noqa: B008
    watch = Watch(COURSE, rule)
    told = [watch.look(np.asarray(a), np.asarray(b)) for a, b in zip(tools, things, strict=True)]
    return next(((tick, why) for tick, why in enumerate(told) if why), None)


def test_a_policy_on_the_course_is_left_alone_at_half_the_pace_too():
    slow = np.repeat(np.arange(60), 2)
    assert calls(TOOLS[slow], THINGS[slow]) is None


def test_a_tool_further_than_6_cm_for_longer_than_300_ms_is_taken_over():
    away = np.add(TOOLS, [0.0, 0.061, 0.0])
    assert calls(away, THINGS) == (9, ASTRAY)
    assert calls(np.add(TOOLS, [0.0, 0.059, 0.0]), THINGS) is None
    assert calls(np.concatenate([away[:9], TOOLS[9:]]), THINGS) is None


def test_a_thing_that_stays_behind_when_it_should_be_carried_is_taken_over():
    left = np.tile([0.4, 0.0, 0.1], (60, 1))
    tick, why = calls(TOOLS, left)
    assert why == ASTRAY
    assert 50 <= tick < 60


def test_a_policy_that_gets_no_further_for_4_s_is_taken_over():
    still = np.tile(TOOLS[10], (200, 1))
    assert calls(still, np.tile(THINGS[10], (200, 1))) == (121, STUCK)


def test_full_demonstrations_begin_at_once():
    assert calls(TOOLS, THINGS, Rule(at_once=True)) == (0, AT_ONCE)


def test_where_nothing_is_said_of_the_thing_only_the_tool_counts():
    nowhere = Course(tools=TOOLS, things=np.full((60, 3), np.nan))
    watch = Watch(nowhere, Rule())
    assert [watch.look(tool, np.zeros(3)) for tool in TOOLS] == [""] * 60


@pytest.fixture(scope="module")
def world():
    return World("xarm6", task="can_into_box")


def step_ns():
    return round(1e9 / 30)


def test_the_expert_stays_on_its_own_course_and_hands_back_with_the_can_lifted(world):
    world.reset(seed=7)
    person = Person(world, 7)
    watch = Watch(person.course(), Rule())
    called = []
    for target in person.drive():
        world.move(target, step_ns())
        called.append(watch.look(person.tool, person.thing))
    assert person.has_lifted
    assert not world.task_status().success
    assert set(called) == {""}


def test_after_a_grasp_on_nothing_it_opens_rises_and_lifts_the_can_after_all(world):
    world.reset(seed=8)
    person = Person(world, 8)
    shut = world.targets
    shut[-1] = 0.55
    for _ in range(20):
        world.move(shut, step_ns())
    assert not person.has_lifted
    for target in person.drive():
        world.move(target, step_ns())
    assert person.has_lifted
    for target in person.drive():  # called again with the can in the gripper: to the end
        world.move(target, step_ns())
    assert world.task_status().success
