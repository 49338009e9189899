"""The xArm6 with its parallel gripper: kinematics, limits and masses of the real one.

Shapes are capsules, cylinders and boxes. Frames are those of the maker's URDF: every joint turns
about its own z; the base frame stands on the table with x forward.
"""

from math import pi

from evo1_sim.arms.arm import Arm, Joint, Link, chain, inertial
from evo1_sim.arms.pair import pair
from evo1_sim.controller import xarm6_settings

# Where the linkage of the gripper turns, left side, in the gripper's base [m].
KNUCKLE = (0.0, 0.035, 0.059098)
FINGER = (0.0, 0.035465, 0.042039)  # in the knuckle
INNER_KNUCKLE = (0.0, 0.02, 0.074098)
PAD_FACE = 0.02683  # from the finger's joint inwards: the pads touch at drive_joint = 0.85
TOOL_DISTANCE = 0.172  # flange to the closed finger tips


def _joint(number: int, lower: float, upper: float, effort: float, stiffness: float) -> Joint:
    return Joint(
        name=f"joint{number}",
        lower=lower,
        upper=upper,
        velocity_max=3.14,
        effort_max=effort,
        stiffness=stiffness,
        damping=0.013 * stiffness,
    )


DRIVE = Joint(
    name="drive_joint",
    lower=0.0,
    upper=0.85,
    velocity_max=2.0,
    effort_max=3.0,  # about 30 N at each finger tip; the URDF's 50 N m would crush the can
    stiffness=20.0,
    damping=0.4,
)

LINKS = (
    Link(
        name="link1",
        joint=_joint(1, -2 * pi, 2 * pi, 50, 12000),
        xyz=(0, 0, 0.267),
        rpy=(0, 0, 0),
        axis=(0, 0, 1),
        mass=2.381,
        center=(0, 0.0295, -0.0124),
        shape="""
          <geom class="shell" type="cylinder" fromto="0 0 -0.115 0 0 -0.02" size="0.058"/>
          <geom class="cap" type="cylinder" fromto="0 -0.075 0 0 0.075 0" size="0.055"/>
          <geom class="shell" type="cylinder" fromto="0 -0.06 0 0 0.06 0" size="0.06"/>""",
    ),
    Link(
        name="link2",
        joint=_joint(2, -2.059, 2.0944, 50, 12000),
        xyz=(0, 0, 0),
        rpy=(-pi / 2, 0, 0),
        axis=(0, 0, 1),
        mass=2.268,
        center=(0.0388, -0.2278, 0.035),
        shape="""
          <geom class="shell" type="capsule" fromto="0 -0.05 0 0.0535 -0.2345 0" size="0.046"/>
          <geom class="cap" type="cylinder" fromto="0.0535 -0.2845 -0.066 0.0535 -0.2845 0.066"
            size="0.048"/>
          <geom class="shell" type="cylinder" fromto="0.0535 -0.2845 -0.055 0.0535 -0.2845 0.055"
            size="0.053"/>""",
    ),
    Link(
        name="link3",
        joint=_joint(3, -3.927, 0.19198, 32, 9000),
        xyz=(0.0535, -0.2845, 0),
        rpy=(0, 0, 0),
        axis=(0, 0, 1),
        mass=1.875,
        center=(0.0704, 0.1163, 0.0107),
        shape="""
          <geom class="shell" type="capsule" fromto="0.02 0.02 0 0.0775 0.09 0" size="0.043"/>
          <geom class="shell" type="cylinder" fromto="0.0775 0.08 0 0.0775 0.2 0" size="0.043"/>
          <geom class="cap" type="cylinder" fromto="0.0775 0.2 0 0.0775 0.212 0" size="0.04"/>""",
    ),
    Link(
        name="link4",
        joint=_joint(4, -2 * pi, 2 * pi, 32, 5000),
        xyz=(0.0775, 0.3425, 0),
        rpy=(-pi / 2, 0, 0),
        axis=(0, 0, 1),
        mass=1.319,
        center=(0, 0.018, -0.0229),
        shape="""
          <geom class="shell" type="capsule" fromto="0 0 -0.13 0 0 -0.03" size="0.039"/>
          <geom class="cap" type="cylinder" fromto="0 -0.055 0 0 0.055 0" size="0.039"/>
          <geom class="shell" type="cylinder" fromto="0 -0.045 0 0 0.045 0" size="0.043"/>""",
    ),
    Link(
        name="link5",
        joint=_joint(5, -1.69297, pi, 32, 5000),
        xyz=(0, 0, 0),
        rpy=(pi / 2, 0, 0),
        axis=(0, 0, 1),
        mass=1.339,
        center=(0.0651, 0.031, 0.0032),
        shape="""
          <geom class="shell" type="capsule" fromto="0.02 0 0 0.076 0.01 0" size="0.037"/>
          <geom class="shell" type="cylinder" fromto="0.076 0.01 0 0.076 0.07 0" size="0.037"/>""",
    ),
    Link(
        name="link6",
        joint=_joint(6, -2 * pi, 2 * pi, 20, 3000),
        xyz=(0.076, 0.097, 0),
        rpy=(-pi / 2, 0, 0),
        axis=(0, 0, 1),
        mass=0.17,
        center=(0, -0.0068, -0.011),
        shape="""
          <geom class="cap" type="cylinder" fromto="0 0 -0.027 0 0 0" size="0.036"/>
          <site name="flange" class="frame"/>""",
    ),
)


def _finger(side: str, sign: int) -> str:
    """One half of the linkage; `sign` is +1 on the left (+y). The finger stays upright."""
    outer = "drive_joint" if side == "left" else "right_outer_knuckle_joint"
    x, y, z = FINGER
    return f"""
        <body name="{side}_outer_knuckle" pos="{KNUCKLE[0]} {sign * KNUCKLE[1]} {KNUCKLE[2]}"
          gravcomp="1">
          <joint name="{outer}" axis="{sign} 0 0" class="linkage"/>
          {inertial(0.03, (0, sign * 0.018, 0.02))}
          <geom class="finger" type="capsule" fromto="0 0 0 {x} {sign * y} {z}" size="0.008"/>
          <body name="{side}_finger" pos="{x} {sign * y} {z}" gravcomp="1">
            <joint name="{side}_finger_joint" axis="{-sign} 0 0" class="linkage"/>
            {inertial(0.05, (0, -sign * 0.01, 0.03))}
            <geom class="finger" type="box" pos="0 {-sign * 0.004} 0.012"
              size="0.011 0.008 0.014"/>
            <geom class="finger" type="box" pos="0 {-sign * 0.012} 0.040"
              size="0.011 0.007 0.019"/>
            <geom class="pad" type="box" pos="0 {-sign * (PAD_FACE - 0.004)} 0.042"
              size="0.012 0.004 0.017"/>
          </body>
        </body>
        <body name="{side}_inner_knuckle"
          pos="{INNER_KNUCKLE[0]} {sign * INNER_KNUCKLE[1]} {INNER_KNUCKLE[2]}" gravcomp="1">
          <joint name="{side}_inner_knuckle_joint" axis="{sign} 0 0" class="linkage"/>
          {inertial(0.02, (0, sign * 0.018, 0.02))}
          <geom class="look" type="capsule" fromto="0 0 0 {x} {sign * y} {z}" size="0.005"
            rgba="0.2 0.2 0.22 1"/>
        </body>"""


_GRIPPER = f"""
      <body name="gripper_base" gravcomp="1">
        {inertial(0.542, (0, -0.0018, 0.048))}
        <geom class="cap" type="cylinder" fromto="0 0 0 0 0 0.012" size="0.038"/>
        <geom class="finger" type="box" pos="0 0 0.04" size="0.03 0.044 0.028"/>
        <geom class="look" type="box" pos="0.047 0 0.022" size="0.018 0.04 0.012"
          rgba="0.25 0.26 0.28 1"/>
        <camera name="image_2" pos="0.075 0 0.03" xyaxes="0 1 0 0.94 0 0.34" fovy="78"/>
        <site name="tool" pos="0 0 {TOOL_DISTANCE}" class="frame"/>
        {_finger("left", 1)}
        {_finger("right", -1)}
      </body>"""

_BODY = f"""
    <body name="arm">
      {inertial(2.7, (0, 0, 0.091))}
      <geom class="cap" type="cylinder" fromto="0 0 0 0 0 0.02" size="0.075"/>
      <geom class="shell" type="cylinder" fromto="0 0 0.02 0 0 0.14" size="0.062"/>
      <geom class="cap" type="cylinder" fromto="0 0 0.14 0 0 0.152" size="0.058"/>
      {chain(LINKS, _GRIPPER)}
    </body>"""

_MIMICS = (
    "left_finger_joint",
    "left_inner_knuckle_joint",
    "right_outer_knuckle_joint",
    "right_finger_joint",
    "right_inner_knuckle_joint",
)

XARM6 = Arm(
    name="xarm6",
    joints=(*(link.joint for link in LINKS), DRIVE),
    body=_BODY,
    couplings="\n".join(
        f'<joint joint1="{mimic}" joint2="drive_joint" polycoef="0 1 0 0 0" '
        'solref="0.006 1" solimp="0.97 0.995 0.001"/>'
        for mimic in _MIMICS
    ),
    environment_camera="""
    <body name="camera_target" pos="0.40 -0.02 0.12"/>
    <camera name="image_1" pos="1.22 -0.42 0.80" target="camera_target" mode="targetbody"
      fovy="40"/>""",
    home=(0.0, -0.35, -0.85, 0.0, 1.2, 0.0, 0.0),
    start_noise=(0.06, 0.05, 0.05, 0.04, 0.05, 0.06, 0.0),
    gripper_open=0.0,
    gripper_closed=0.85,
    controller=xarm6_settings(),
)

XARM6_BIMANUAL = pair(
    "xarm6_bimanual",
    XARM6,
    half_distance=0.28,
    environment_camera="""
    <body name="camera_target" pos="0.35 0 0.12"/>
    <camera name="image_1" pos="1.45 0 0.95" target="camera_target" mode="targetbody"
      fovy="46"/>""",
)
