"""What trajectories are checked with is the arm that the simulation moves."""

import mujoco
import numpy as np
import pytest

from evo1_policy.kinematics.collision import Workspace
from evo1_policy.robot_config import load_robot
from evo1_sim.arms import ARMS
from evo1_sim.scene import scene_xml


def shapes(model: mujoco.MjModel, data: mujoco.MjData, arm_only: str) -> np.ndarray:
    """(G, 8) type, size, and place in the world of every shape that can touch, sorted."""
    mujoco.mj_kinematics(model, data)
    rows = [
        [model.geom_type[i], *model.geom_size[i], *data.geom_xpos[i], model.geom_rbound[i]]
        for i in range(model.ngeom)
        if model.body_rootid[model.geom_bodyid[i]] == model.body(arm_only).id
        and (model.geom_contype[i] or model.geom_conaffinity[i])
    ]
    table = np.round(np.array(rows, dtype=float), 5)
    return table[np.lexsort(table.T)]


@pytest.mark.parametrize("arm", ARMS.values(), ids=list(ARMS))
def test_the_shipped_model_is_the_simulated_arm(arm, robots_dir):
    workspace = Workspace(load_robot(robots_dir / f"{arm.name}.yaml"))
    simulated = mujoco.MjModel.from_xml_string(scene_xml(arm, ""))
    data = mujoco.MjData(simulated)
    positions = np.array(arm.home) + 0.1
    names = [simulated.joint(i).name for i in range(simulated.njnt)]
    ours = workspace.arm
    qpos = ours.qpos_at(positions)
    for i in range(ours.model.njnt):
        place = simulated.jnt_qposadr[names.index(ours.model.joint(i).name)]
        data.qpos[place] = qpos[ours.model.jnt_qposadr[i]]
    ours.place(positions)
    checked = shapes(ours.model, ours.data, "arm")
    np.testing.assert_allclose(checked, shapes(simulated, data, "arm"), atol=2e-5)


@pytest.mark.parametrize(
    "name", ["xarm6", "so100", "so101", "ros2_control/so100", "xarm6_bimanual"]
)
def test_the_arms_that_ship_are_checked_against_their_table(name, robots_dir):
    robot = load_robot(robots_dir / f"{name}.yaml")
    assert [plane.name for plane in robot.safety.collision.planes] == ["table"]
    Workspace(robot)  # clear at home and at the park pose
