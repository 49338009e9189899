import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.arms import ARMS
from evo1_sim.world import World, WorldError

SECOND_NS = 10**9
TICK_NS = 10_000_000


@pytest.fixture(params=sorted(ARMS))
def world(request):
    return World(request.param)


def test_joints_home_and_limits_agree_with_the_robot_file(world, robots_dir):
    robot = load_robot(robots_dir / f"{world.arm.name}.yaml")
    assert world.joint_names == robot.joint_names
    assert world.arm.home == robot.home
    assert (world.arm.lower <= robot.position_min).all()
    assert (world.arm.upper >= robot.position_max).all()
    assert (world.arm.velocity_max >= robot.velocity_max).all()
    assert {(gripper.open, gripper.closed) for gripper in robot.grippers} == {
        (world.arm.gripper_open, world.arm.gripper_closed)
    }


def test_the_arm_holds_its_pose_under_gravity(world):
    start = world.joint_positions()
    world.step(2 * SECOND_NS)
    np.testing.assert_allclose(world.joint_positions(), start, atol=1e-3)
    np.testing.assert_allclose(world.joint_velocities(), 0, atol=1e-3)


def test_the_arm_follows_one_radian_a_second_within_20_mrad(world):
    sign = np.where(np.array(world.arm.home) > 0.5 * (world.arm.lower + world.arm.upper), -1, 1)
    sign[[name.endswith(("drive_joint", "gripper")) for name in world.joint_names]] = 0
    start = world.targets
    for tick in range(1, 51):
        target = start + sign * tick * TICK_NS * 1e-9
        world.set_targets(target)
        world.step(TICK_NS)
        if tick > 10:
            np.testing.assert_allclose(world.joint_positions(), target, atol=0.02)


def test_a_jump_of_the_target_moves_no_joint_faster_than_its_limit(world):
    start = world.joint_positions()
    world.set_targets(world.targets + 0.5)
    world.step(SECOND_NS // 10)
    moved = np.abs(world.joint_positions() - start)
    assert (moved < 1.1 * world.arm.velocity_max * 0.1).all()


def test_targets_beyond_the_limits_stop_at_the_limits(world):
    world.set_targets(np.full(len(world.joint_names), 100.0))
    np.testing.assert_array_equal(world.targets, world.arm.upper)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_target_that_is_not_finite_is_refused_by_joint_name(world, bad):
    targets = world.targets
    targets[2] = bad
    with pytest.raises(WorldError, match=world.joint_names[2]):
        world.set_targets(targets)


def test_targets_of_another_width_are_refused(world):
    with pytest.raises(WorldError, match="expected shape"):
        world.set_targets([0.0, 0.1])


def test_same_seed_and_targets_give_the_same_state_to_the_last_bit(world):
    states = []
    for polled in (False, True):
        world.reset(seed=7)
        for tick in range(50):
            world.set_targets(np.array(world.arm.home) + 0.004 * tick)
            world.step(TICK_NS)
            if polled:
                world.task_status()
        states.append((world.data.qpos.copy(), world.data.qvel.copy()))
    np.testing.assert_array_equal(states[0][0], states[1][0])
    np.testing.assert_array_equal(states[0][1], states[1][1])


def test_another_seed_gives_another_scene(world):
    world.reset(seed=1)
    first = world.data.qpos.copy()
    world.reset(seed=2)
    assert not np.array_equal(first, world.data.qpos)


def columns(world, name):
    """Where a free body's place and turn are in qpos."""
    start = world.model.jnt_qposadr[world.model.body_jntadr[world.model.body(name).id]]
    return np.arange(start, start + 7)


def test_objects_stay_where_the_reset_put_them(world):
    for task in world.task_names:
        for seed in range(8):
            world.reset(task, seed=seed)
            before, allowed = world.data.qpos.copy(), np.full(world.model.nq, 2e-3)
            if world.cell.course is not None:  # a hand trembles
                allowed[columns(world, "hand")] = 0.008
            world.step(SECOND_NS // 5)
            moved = np.abs(world.data.qpos - before)
            assert (moved <= allowed).all(), f"{task}, seed {seed}: {moved.max()}"
            assert not world.task_status().success


def test_time_goes_on_over_a_reset_and_loses_no_fraction(world):
    for _ in range(30):
        world.step(33_333_333)
    assert world.time_ns == 998_000_000
    world.step(10)
    assert world.time_ns == 1_000_000_000
    world.reset(seed=1)
    assert world.time_ns == 1_000_000_000
    assert world.episode_ns == 0


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(WorldError, match="so100, so101"):
        World("ur5")
    with pytest.raises(WorldError, match="can_into_box"):
        World("xarm6", task="pour_tea")
    with pytest.raises(WorldError, match="0 or more"):
        World("xarm6").reset(seed=-1)


def test_xarm6_fingers_travel_87_mm():
    world = World("xarm6")
    gaps = []
    for drive in (0.0, 0.85):
        world.set_targets([*world.targets[:-1], drive])
        world.step(2 * SECOND_NS)
        left, right = (world.data.body(f"{side}_finger").xpos for side in ("left", "right"))
        gaps.append(np.linalg.norm(left - right))
    assert gaps[0] - gaps[1] == pytest.approx(0.087, abs=1e-3)


def test_a_move_ends_at_its_target_after_its_time(world):
    goal = world.targets + 0.02
    world.move(goal, 33_333_333)
    np.testing.assert_allclose(world.targets, goal)
    assert world.time_ns == 32_000_000
