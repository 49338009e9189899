import numpy as np
import pytest

from evo1_policy.action_chunk import ActionChunk
from evo1_policy.control.signals import LoopSettings
from evo1_policy.robot_config import load_robot
from evo1_sim.experts import STEP_NS, Expert
from evo1_sim.world import World
from evo1_training.evaluation.pilots import ExpertPilot, PolicyPilot
from evo1_training.evaluation.rollouts import START_NS

HORIZON = 50


class Oracle:
    """A policy that has the expert's plan by the clock, and may spoil it."""

    horizon = HORIZON

    def __init__(self, world, spoil=lambda actions: actions):
        self.plan, self.spoil, self.seen = Expert(world).plan(), spoil, []

    def infer(self, observation, guidance=None):
        self.seen.append(observation)
        first = (observation.stamp_ns - START_NS) // STEP_NS
        due = np.minimum(np.arange(first, first + HORIZON), len(self.plan) - 1)
        return ActionChunk(
            actions=self.spoil(self.plan[due]),
            start_ns=observation.stamp_ns + STEP_NS,
            step_ns=STEP_NS,
            observation_stamp_ns=observation.stamp_ns,
            instruction=observation.instruction,
        )


def run(pilot, world, steps):
    """Targets (T, D) of a trial without images."""
    pilot.begin(world, "do it")
    targets = []
    for k in range(steps):
        targets.append(pilot.act({}, world.joint_positions(), START_NS + k * STEP_NS))
        world.move(targets[-1], STEP_NS)
        if pilot.stopped[0]:
            break
    return np.array(targets)


@pytest.fixture
def world():
    return World("xarm6", seed=1_000_000)


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


@pytest.mark.parametrize("latency_ms", [0, 250])
def test_a_policy_that_knows_the_plan_solves_the_task_at_any_latency(world, robot, latency_ms):
    policy = Oracle(world)
    pilot = PolicyPilot(policy, robot, latency_ns=latency_ms * 1_000_000)
    targets = run(pilot, world, len(policy.plan) + 30)
    assert world.task_status().success, world.task_status().detail
    assert pilot.status.holds == 0
    assert len(policy.seen) >= len(policy.plan) // HORIZON
    assert len(policy.seen) - pilot.status.chunks_accepted in (0, 1)  # one may be in flight
    np.testing.assert_allclose(targets[60:200], policy.plan[60:200], atol=0.02)
    assert pilot.inference_ms >= 0.0


def test_a_chunk_moves_the_arm_only_after_its_latency(world, robot):
    pilot = PolicyPilot(Oracle(world), robot, latency_ns=250_000_000)
    start = world.targets
    targets = run(pilot, world, 12)
    np.testing.assert_array_equal(targets[:7], np.tile(start, (7, 1)))
    assert np.abs(targets[-1] - start).max() > 1e-3


def test_the_share_of_a_chunk_that_is_executed_can_be_chosen(world, robot):
    policies = []
    for count in (10, 40):
        world.reset(seed=1_000_000)
        policies.append(Oracle(world))
        settings = LoopSettings(execute_actions=count)
        run(PolicyPilot(policies[-1], robot, latency_ns=0, settings=settings), world, 90)
    assert len(policies[0].seen) >= 2 * len(policies[1].seen)


def test_a_chunk_with_nan_ends_the_trial_with_its_reason(world, robot):
    pilot = PolicyPilot(Oracle(world, lambda a: a * np.nan), robot, latency_ns=0)
    targets = run(pilot, world, 30)
    assert pilot.stopped[0] == "chunk_not_finite"
    assert len(targets) == 3  # two until it is sure where the arm is
    assert pilot.status.chunks_rejected == 1


def test_the_expert_rests_at_the_end_of_its_plan(world):
    pilot = ExpertPilot()
    targets = run(pilot, world, 400)
    plan = Expert(World("xarm6", seed=1_000_000)).plan()
    np.testing.assert_array_equal(targets[: len(plan)], plan)
    np.testing.assert_array_equal(targets[-1], plan[-1])
    assert pilot.status is None
    assert pilot.stopped == ("", "")


def test_jitter_is_drawn_by_the_scene_and_so_the_same_every_time(world, robot):
    def arrivals(jitter_ms):
        world.reset(seed=1_000_000)
        policy = Oracle(world)
        settings = LoopSettings(execute_actions=10)
        pilot = PolicyPilot(
            policy, robot, latency_ns=100_000_000, jitter_ns=jitter_ms * 1_000_000,
            settings=settings,
        )  # fmt: skip
        return run(pilot, world, 40)

    drawn = arrivals(80)
    np.testing.assert_array_equal(drawn, arrivals(80))
    assert np.abs(drawn - arrivals(0)).max() > 1e-6
