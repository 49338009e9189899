"""A kinematic arm, made from a robot file and its URDF: it is where it is told to be, in time.

It has joints, cameras and looks, and no weight: nothing that it touches moves. Limits are the
robot file's.
"""

import math
from xml.sax.saxutils import quoteattr

from evo1_policy.kinematics.model import ModelError, find_model
from evo1_policy.kinematics.urdf import Triple, Urdf, UrdfError, UrdfJoint, read_urdf
from evo1_policy.robot_config import RobotConfig
from evo1_sim.arms.arm import Arm, Follower, Joint, inertial
from evo1_sim.controller import ControllerSettings

_THINNEST, _THICKEST = 0.006, 0.045  # radius of a link [m]
_SMALLEST_REACH = 0.3  # that the camera keeps in its picture [m]


def kinematic_arm(robot: RobotConfig) -> Arm:
    """The arm that a robot file and its `urdf` describe.

    Args:
        robot: the robot file.

    Raises:
        UrdfError: the URDF cannot be used, or lacks a joint of the robot file.
    """
    try:
        path = find_model(robot.urdf)
    except ModelError as error:
        raise UrdfError(str(error)) from error
    urdf = read_urdf(path)
    for joint in robot.joints:
        known = urdf.joints.get(joint.name)
        if known is None or not known.moves:
            moving = ", ".join(name for name, one in urdf.joints.items() if one.moves)
            raise UrdfError(f"{path}: no moving joint '{joint.name}'; there are {moving}")
        if joint.unit != "share" and joint.unit != known.unit:
            raise UrdfError(
                f"{path}: joint '{joint.name}' is {known.kind}; its unit in the robot file is "
                f"{joint.unit}, expected {known.unit}"
            )
    return Arm(
        name=robot.name,
        joints=tuple(
            Joint(
                name=joint.name,
                lower=joint.position_min,
                upper=joint.position_max,
                velocity_max=joint.velocity_max,
                effort_max=1.0,
                stiffness=1.0,
                damping=0.0,
            )
            for joint in robot.joints
        ),
        followers=_followers(robot, urdf),
        body=_body(robot, urdf),
        couplings="",
        environment_camera=_environment_camera(robot, urdf),
        home=robot.home,
        start_noise=(0.0,) * robot.width,
        gripper_open=robot.gripper.open if robot.gripper else 0.0,
        gripper_closed=robot.gripper.closed if robot.gripper else 0.0,
        controller=ControllerSettings(update_rate_hz=100.0),
    )


def _followers(robot: RobotConfig, urdf: Urdf) -> tuple[Follower, ...]:
    """The joints of the model, those that mimic others too, by what drives them."""
    followers = {}
    for column, joint in enumerate(robot.joints):
        known = urdf.joints[joint.name]
        factor, offset = 1.0, 0.0
        if joint.unit == "share":
            lower, upper = known.lower or 0.0, known.upper or 0.0
            factor, offset = upper - lower, lower
        followers[joint.name] = Follower(
            joint=joint.name, column=column, factor=factor, offset=offset
        )
    for name, mimic in urdf.followers().items():
        if (source := followers.get(mimic.joint)) is not None:
            followers[name] = Follower(
                joint=name,
                column=source.column,
                factor=mimic.factor * source.factor,
                offset=mimic.offset + mimic.factor * source.offset,
            )
    return tuple(followers.values())


def _body(robot: RobotConfig, urdf: Urdf) -> str:
    """MJCF of all links; the wrist's cameras and the sites are on the last link of the arm."""
    grippers = {gripper.joint for gripper in robot.grippers}
    arm_joints = [name for name in robot.joint_names if name not in grippers]
    branches = urdf.branches()
    tip = urdf.joints[max(arm_joints, key=lambda name: len(branches[name]))].child
    cameras = "".join(
        f'<camera name={quoteattr(camera.name)} pos="0.06 0 0" xyaxes="0 1 0 1 0 0" fovy="70"/>'
        for camera in robot.cameras[1:]
    )
    ends = {tip: f'{cameras}<site name="flange" class="frame"/><site name="tool" class="frame"/>'}
    moving = {follower.joint for follower in _followers(robot, urdf)}
    inner: dict[str, str] = {}  # link -> MJCF of what hangs on it
    for joint in reversed(urdf.joints.values()):
        held = inner.pop(joint.child, "") + ends.get(joint.child, "")
        held += "".join(_shape(below.xyz) for below in urdf.below(joint.child))
        inner[joint.parent] = _link(joint, held, joint.name in moving) + inner.get(
            joint.parent, ""
        )
    shapes = "".join(_shape(joint.xyz) for joint in urdf.below(urdf.root))
    inside = inner[urdf.root] + ends.get(urdf.root, "")
    return f'<body name="arm">{inertial(1.0, (0, 0, 0))}{shapes}{inside}</body>'


def _link(joint: UrdfJoint, inside: str, moving: bool) -> str:
    kind = "slide" if joint.kind == "prismatic" else "hinge"
    axis = joint.axis if any(joint.axis) else (1.0, 0.0, 0.0)
    own = f'<joint name={quoteattr(joint.name)} type="{kind}" axis="{_row(axis)}"/>'
    return f"""
      <body name={quoteattr("urdf " + joint.child)} pos="{_row(joint.xyz)}"
        euler="{_row(joint.rpy)}" gravcomp="1">{own if moving else ""}
        {inertial(0.1, (0, 0, 0))}
        <geom class="look" type="sphere" size="{_THINNEST}" rgba="0.30 0.32 0.35 1"/>
        {inside}
      </body>"""


def _shape(to: Triple) -> str:
    """A link's look, from its joint to the next."""
    length = math.dist((0, 0, 0), to)
    if length < 2 * _THINNEST:
        return ""
    radius = min(max(0.16 * length, _THINNEST), _THICKEST)
    return (
        f'<geom class="look" type="capsule" fromto="0 0 0 {_row(to)}" size="{radius:.4g}" '
        'rgba="0.93 0.93 0.94 1"/>'
    )


def _environment_camera(robot: RobotConfig, urdf: Urdf) -> str:
    """The first camera, looking at the whole arm from its front."""
    reach = max(_SMALLEST_REACH, sum(math.dist((0, 0, 0), j.xyz) for j in urdf.joints.values()))
    reach = min(reach, 2.0)
    return f"""
    <body name="camera_target" pos="{0.35 * reach} 0 {0.3 * reach}"/>
    <camera name={quoteattr(robot.cameras[0].name)} target="camera_target" mode="targetbody"
      pos="{1.5 * reach} {-0.6 * reach} {1.1 * reach}" fovy="42"/>"""


def _row(values: Triple) -> str:
    return " ".join(f"{value:.10g}" for value in values)
