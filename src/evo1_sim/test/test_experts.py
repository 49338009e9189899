import numpy as np
import pytest

from evo1_policy.control.teleop import TeleopFollower
from evo1_policy.control.teleop_target import RefusedTarget, TeleopTarget
from evo1_policy.observation import JointSample
from evo1_policy.robot_config import load_robot
from evo1_sim.experts import RATE_HZ, STEP_NS, Expert, ExpertError
from evo1_sim.world import World


def solve(world):
    """Run the expert's plan; return it with the start (T + 1, D) [rad]."""
    start = world.targets
    plan = Expert(world).plan()
    for tick, action in enumerate(plan):
        world.move(action, STEP_NS)
        if tick % 15 == 0 and world.task_status().success:
            break
    else:
        world.step(2_500_000_000)  # a stack has to stand for two seconds
    return np.concatenate([start[None], plan])


@pytest.mark.parametrize(
    ("arm", "task", "seed"),
    [
        ("xarm6", "can_into_box", 0),
        ("xarm6", "can_into_box", 1),
        ("xarm6", "can_stacking", 0),
        ("xarm6", "pour", 0),
        ("xarm6", "hand_delivery", 0),
        ("xarm6", "blue_can_into_box", 0),
        ("so100", "cube_into_box", 0),
        ("so100", "cube_into_box", 1),
    ],
)
def test_the_expert_solves_the_task_within_the_robot_files_limits(arm, task, seed, robots_dir):
    world = World(arm, task=task, seed=seed)
    path = solve(world)
    assert world.task_status().success, world.task_status().detail
    robot = load_robot(robots_dir / f"{arm}.yaml")
    assert (path >= robot.position_min - 1e-9).all()
    assert (path <= robot.position_max + 1e-9).all()
    velocity = np.diff(path, axis=0) * RATE_HZ
    assert (np.abs(velocity) <= robot.velocity_max).all()
    assert (np.abs(np.diff(velocity, axis=0) * RATE_HZ) <= robot.acceleration_max).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_so101_solves_its_task_with_nothing_cut_by_its_table(seed, robots_dir):
    robot = load_robot(robots_dir / "so101.yaml")
    world, now_ns = World("so101", task="cube_into_box", seed=seed), 10**11
    follower, at = TeleopFollower(robot), world.targets
    assert robot.safety.collision is not None
    follower.watch(JointSample(positions=at, stamp_ns=now_ns - 2 * STEP_NS), now_ns - 2 * STEP_NS)
    for action in [*Expert(world).plan(), *[None] * 20]:
        if action is not None:
            target = TeleopTarget(
                joint_names=robot.joint_names,
                stamp_ns=now_ns,
                offsets_ns=(3 * STEP_NS,),
                positions=action[None],
            )
            sent = follower.take(target, JointSample(positions=at, stamp_ns=now_ns), now_ns)
            assert not isinstance(sent, RefusedTarget), sent.reason
            assert follower.cut == ""
        now_ns += STEP_NS
        at, _ = follower.motion.executing.sample(now_ns)
        world.move(at, STEP_NS)
    assert world.task_status().success, world.task_status().detail


@pytest.mark.parametrize("askew_deg", [-45, -20, 0, 30, 45])
@pytest.mark.parametrize("place", [(0.17, -0.12), (0.24, -0.05)])
def test_a_cube_is_put_into_the_box_however_askew_it_lies(place, askew_deg):
    world = World("so100", seed=2)
    radially = np.arctan2(place[1], place[0])
    world.cell.place("cube", (*place, 0.0125), yaw=radially + np.radians(askew_deg))
    world.step(10_000_000)
    solve(world)
    assert world.task_status().success, world.task_status().detail


def test_planning_leaves_the_world_as_it_is():
    world = World("xarm6", seed=4)
    before = world.data.qpos.copy()
    first = Expert(world).plan()
    np.testing.assert_array_equal(world.data.qpos, before)
    np.testing.assert_array_equal(Expert(world).plan(), first)


def test_a_can_out_of_reach_is_refused():
    world = World("xarm6", seed=4)
    world.cell.place("can", (0.9, -0.4, 0.05))
    world.step(10_000_000)
    with pytest.raises(ExpertError, match="can_into_box"):
        Expert(world).plan()
