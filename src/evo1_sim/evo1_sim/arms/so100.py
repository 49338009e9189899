"""The SO-100: kinematics, limits and masses of the real one, six hobby servos and printed parts.

Frames are those of the URDF of so_arm100_description, whose base looks along its -y; the base is
turned so that the arm looks along the world's +x. The gripper's fixed finger lies along -y of
`gripper_link`, the jaw turns against it.
"""

from math import pi

from evo1_sim.arms.arm import Arm, Joint, Link, chain, inertial
from evo1_sim.controller import ControllerSettings

STALL_TORQUE = 3.0  # N m, of the STS3215 at 12 V
PAD_FACE = -0.002  # x of the fixed finger's inner face in gripper_link [m]
TOOL_REACH = 0.100  # from the wrist's roll joint to between the finger tips [m]


def servo(name: str, lower: float, upper: float) -> Joint:
    """A joint that an STS3215 turns."""
    return Joint(
        name=name,
        lower=lower,
        upper=upper,
        velocity_max=3.14,
        effort_max=STALL_TORQUE,
        stiffness=120.0,
        damping=1.3,
        kind="small_servo",
    )


JAW = Joint(
    name="gripper_joint",
    lower=-0.2,
    upper=2.0,
    velocity_max=3.14,
    effort_max=1.0,
    stiffness=4.0,
    damping=0.06,
    kind="jaw_servo",
)

LINKS = (
    Link(
        name="shoulder_link",
        joint=servo("shoulder_pan_joint", -2.0, 2.0),
        xyz=(0, -0.0452, 0.0165),
        rpy=(pi / 2, 0, 0),
        axis=(0, -1, 0),
        mass=0.119,
        center=(0, 0.06, 0.015),
        shape="""
          <geom class="print" type="cylinder" fromto="0 0.030 0 0 0.042 0" size="0.034"/>
          <geom class="cap" type="box" pos="0 0.062 0.004" size="0.013 0.022 0.023"/>
          <geom class="print" type="box" pos="0 0.09 0.022" size="0.022 0.022 0.018"/>
          <geom class="cap" type="cylinder" fromto="-0.03 0.1025 0.0306 0.03 0.1025 0.0306"
            size="0.017"/>""",
    ),
    Link(
        name="upper_arm_link",
        joint=servo("shoulder_lift_joint", -1.75, 1.75),
        xyz=(0, 0.1025, 0.0306),
        rpy=(0, 0, 0),
        axis=(1, 0, 0),
        mass=0.162,
        center=(0, 0.07, 0.012),
        shape="""
          <geom class="print" type="capsule" fromto="0 0 0 0 0.11 0" size="0.015"/>
          <geom class="print" type="capsule" fromto="0 0.11 0 0 0.11257 0.028" size="0.014"/>
          <geom class="cap" type="cylinder" fromto="-0.028 0.11257 0.028 0.028 0.11257 0.028"
            size="0.016"/>""",
    ),
    Link(
        name="lower_arm_link",
        joint=servo("elbow_flex_joint", -1.575, 1.57),
        xyz=(0, 0.11257, 0.028),
        rpy=(0, 0, 0),
        axis=(1, 0, 0),
        mass=0.148,
        center=(0, 0.004, 0.08),
        shape="""
          <geom class="print" type="capsule" fromto="0 0 0.01 0 0.0052 0.1249" size="0.014"/>
          <geom class="cap" type="box" pos="0 0.004 0.105" size="0.018 0.013 0.022"/>
          <geom class="cap" type="cylinder" fromto="-0.026 0.0052 0.1349 0.026 0.0052 0.1349"
            size="0.014"/>""",
    ),
    Link(
        name="wrist_link",
        joint=servo("wrist_flex_joint", -3.5, 0.2),
        xyz=(0, 0.0052, 0.1349),
        rpy=(0, 0, 0),
        axis=(1, 0, 0),
        mass=0.066,
        center=(0, -0.03, 0.005),
        shape="""
          <geom class="print" type="capsule" fromto="0 -0.008 0 0 -0.03 0" size="0.013"/>
          <geom class="cap" type="box" pos="0 -0.042 0" size="0.013 0.016 0.014"/>""",
    ),
    Link(
        name="gripper_link",
        joint=servo("wrist_roll_joint", -1.0, 4.0),
        xyz=(0, -0.0601, 0),
        rpy=(0, 0, 0),
        axis=(0, 1, 0),
        mass=0.093,
        center=(0, -0.03, 0),
        shape=f"""
          <geom class="print" type="cylinder" fromto="0 0 0 0 -0.008 0" size="0.02"/>
          <geom class="cap" type="box" pos="-0.010 -0.022 0" size="0.020 0.014 0.013"/>
          <geom class="print" type="box" pos="0.012 -0.04 0" size="0.006 0.030 0.014"/>
          <geom class="print" type="box" pos="{PAD_FACE + 0.009} -0.082 0"
            size="0.005 0.018 0.010"/>
          <geom class="pad" type="box" pos="{PAD_FACE + 0.002} -0.082 0"
            size="0.002 0.018 0.010"/>""",
    ),
)


def gripper(jaw: Joint) -> str:
    """MJCF of the wrist's camera, the sites and the jaw, in the frame of `gripper_link`.

    At 0.13 rad the gap is one cube wide and the jaw's pad (tilted by -0.13) faces the fixed one.
    """
    return f"""
      <geom class="look" type="box" pos="0 -0.002 0.058" size="0.014 0.006 0.010"
        rgba="0.2 0.2 0.22 1"/>
      <geom class="look" type="box" pos="0 -0.002 0.032" size="0.006 0.003 0.018"
        rgba="0.96 0.74 0.16 1"/>
      <camera name="image_2" pos="-0.012 -0.025 0.060" xyaxes="0 0.57 -0.82 -1 0 0" fovy="75"/>
      <site name="flange" class="frame"/>
      <site name="tool" pos="{PAD_FACE} {-TOOL_REACH} 0" euler="{pi / 2} 0 0" class="frame"/>
      <body name="jaw_link" pos="-0.0202 -0.0244 0" euler="0 3.14158 0" gravcomp="1">
        <joint name="{jaw.name}" axis="0 0 1" range="{jaw.lower} {jaw.upper}" class="{jaw.kind}"/>
        {inertial(0.02, (0, -0.03, 0))}
        <geom class="print" type="cylinder" fromto="0 0 -0.015 0 0 0.015" size="0.010"/>
        <geom class="print" type="capsule" fromto="0.002 -0.004 0 0.012 -0.045 0" size="0.007"/>
        <geom class="print" type="box" pos="0.0068 -0.0595 0" euler="0 0 -0.13"
          size="0.004 0.017 0.010"/>
        <geom class="pad" type="box" pos="0.0008 -0.062 0" euler="0 0 -0.13"
          size="0.002 0.015 0.010"/>
      </body>"""


_BODY = f"""
    <body name="arm" euler="0 0 {pi / 2}">
      {inertial(0.6, (0, 0, 0.03))}
      <geom class="print" type="box" pos="0 -0.012 0.006" size="0.045 0.055 0.006"/>
      <geom class="cap" type="box" pos="0 -0.034 0.026" size="0.014 0.026 0.018"/>
      <geom class="print" type="box" pos="0 0.020 0.024" size="0.034 0.016 0.020"/>
      {chain(LINKS, gripper(JAW))}
    </body>"""

SO100 = Arm(
    name="so100",
    joints=(*(link.joint for link in LINKS), JAW),
    body=_BODY,
    couplings="",
    environment_camera="""
    <body name="camera_target" pos="0.19 0.0 0.05"/>
    <camera name="image_1" pos="0.56 -0.22 0.36" target="camera_target" mode="targetbody"
      fovy="40"/>""",
    home=(0.0, -1.2, 1.2, -0.9, 1.57, 0.3),
    start_noise=(0.06, 0.05, 0.05, 0.05, 0.05, 0.05),
    gripper_open=1.5,
    gripper_closed=-0.2,
    # As our driver does: from what it commanded, and without tolerances.
    controller=ControllerSettings(update_rate_hz=100.0, interpolate_from_desired_state=True),
)
