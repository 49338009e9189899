"""What is drawn of an arm stands where its model says, and the view's files name what exists."""

import json
import re

import mujoco
import numpy as np
import pytest
import yaml

from evo1_bringup.arm_shapes import (
    BOX,
    CYLINDER,
    MESH,
    SPHERE,
    arm_shapes,
    obstacle_shapes,
    tool_path,
)
from evo1_bringup.options import OptionError
from evo1_bringup.system import systems_of
from evo1_policy.kinematics.config import BoxConfig, CollisionConfig, PlaneConfig
from evo1_policy.kinematics.model import ArmModel

XML = """
<mujoco><asset><mesh name="wedge" vertex="0 0 0 0.1 0 0 0 0.1 0 0 0 0.1"/></asset><worldbody>
  <geom type="plane" size="1 1 1"/>
  <body name="link"><joint name="turn" axis="0 0 1"/>
    <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.05"/>
    <body name="hand" pos="0.4 0 0"><joint name="slide" type="slide" axis="1 0 0"/>
      <geom type="box" size="0.01 0.02 0.03"/><geom type="mesh" mesh="wedge"/>
      <site name="tool" pos="0.1 0 0"/>
    </body></body></worldbody></mujoco>
"""


@pytest.fixture(scope="module")
def arm():
    return ArmModel("arm.xml", mujoco.MjSpec.from_string(XML), ["turn", "slide"], tool="tool")


def test_solids_follow_the_joints_and_what_stands_around_is_left_out(arm):
    capsule, first, second, box, mesh = arm_shapes(arm, np.array([np.pi / 2, 0.1]))
    assert [s.kind for s in (capsule, first, second, box, mesh)] == [
        *(CYLINDER, SPHERE, SPHERE),
        *(BOX, MESH),
    ]
    np.testing.assert_allclose(capsule.position, [0, 0.2, 0], atol=1e-9)
    np.testing.assert_allclose(capsule.size, [0.1, 0.1, 0.4], atol=1e-9)
    ends = sorted([first.position.tolist(), second.position.tolist()])
    np.testing.assert_allclose(ends, [[0, 0, 0], [0, 0.4, 0]], atol=1e-9)
    np.testing.assert_allclose(box.position, [0, 0.5, 0], atol=1e-9)
    np.testing.assert_allclose(box.size, [0.02, 0.04, 0.06], atol=1e-9)
    assert mesh.corners.shape == (12, 3)  # four triangles


def test_the_way_of_the_tool_is_that_of_the_joints(arm):
    path = tool_path(arm, np.array([[0.0, 0.0], [np.pi / 2, 0.1]]))
    np.testing.assert_allclose(path, [[0.5, 0, 0], [0, 0.6, 0]], atol=1e-9)
    assert tool_path(arm, np.zeros((0, 2))).shape == (0, 3)


def test_planes_end_where_they_stand_and_boxes_turn_about_fixed_axes():
    wall = PlaneConfig(name="wall", point=(0.5, 0, 0), normal=(-1, 0, 0))
    post = BoxConfig(
        name="post", center=(0, 0.3, 0.2), size=(0.1, 0.2, 0.4), rpy=(0, 0, np.pi / 2)
    )
    found = dict(obstacle_shapes(CollisionConfig(model="a.xml", planes=(wall,), boxes=(post,))))
    assert found["wall"].position[0] - found["wall"].size[2] / 2 == pytest.approx(0.5)
    turned = np.zeros(3)
    mujoco.mju_rotVecQuat(turned, np.array([1.0, 0, 0]), found["post"].quaternion)
    np.testing.assert_allclose(turned, [0, 1, 0], atol=1e-9)


def test_the_layouts_name_topics_and_fields_that_exist(robots_dir):
    messages = robots_dir.parents[1] / "evo1_msgs" / "msg"
    fields = {
        "/policy/action_chunk": ("ActionChunk", {"seam": "SeamReport"}),
        "/policy/status": ("PolicyStatus", {"streams": "StreamStatus"}),
    }
    layout = json.loads((robots_dir.parent / "config" / "foxglove_layout.json").read_text())
    plots = [one for name, one in layout["configById"].items() if name.startswith("Plot!")]
    paths = [path["value"] for plot in plots for path in plot["paths"]]
    for path in paths:
        topic, *parts = re.sub(r"\[:\]", "", path).split(".")
        if topic == "/joint_states":
            continue
        name, nested = fields[topic]
        for part in parts:
            text = (messages / f"{name}.msg").read_text()
            assert re.search(rf"^\S+ {part}\b", text, re.MULTILINE), path
            name = nested.get(part, name)
    rviz = yaml.safe_load((robots_dir.parent / "config" / "evo1.rviz").read_text())
    shown = {
        display["Topic"]["Value"]
        for display in rviz["Visualization Manager"]["Displays"]
        if "Topic" in display
    }
    cameras = {"env_camera/image_raw", "wrist_camera/image_raw"}
    assert shown == {"arm_view/markers", "arm_view/obstacles"} | cameras


def test_a_viewer_is_started_beside_and_nothing_waits_for_it(robots_dir, tmp_path):
    def viewers(**given):
        (system,) = systems_of("xarm6", given)
        return {one.name: one for one in system.processes if one.role == "optional"}

    assert viewers() == {}
    assert set(viewers(view="markers")) == {"arm_view"}
    shown = viewers(view="rviz", namespace="left")
    assert shown["rviz2"].arguments[1].endswith("/config/evo1.rviz")
    assert {one.namespace for one in shown.values()} == {"left"}
    assert viewers(view="foxglove")["foxglove_bridge"].parameters == {"address": "127.0.0.1"}
    text = (robots_dir / "xarm6.yaml").read_text()
    (tmp_path / "bare.yaml").write_text(text[: text.index("  collision:")])
    with pytest.raises(OptionError, match=r"view: .*names no model to draw"):
        viewers(view="rviz", robot_file=str(tmp_path / "bare.yaml"))
