"""The SO-101: the SO-100's servos and gripper on its own links, counted from the middles.

Origins and limits are those of the maker's URDF (TheRobotStudio/SO-ARM100,
Simulation/SO101/so101_new_calib.urdf, whose zeros are LeRobot's: the middle of each range), shapes
are the SO-100's. Its base looks along -y and is turned so that the arm looks along the world's +x.
"""

from dataclasses import replace
from math import pi

from evo1_sim.arms import so100
from evo1_sim.arms.arm import Link, chain, inertial

JAW = replace(so100.JAW, name="gripper", lower=-0.174533, upper=1.74533)

_BASE = (-0.020791, -0.0157608, -0.0324817)  # of the URDF's base over the middle of its foot [m]
# From the SO-100's gripper_link to this one's: its finger lies along -z there.
_GRIPPER = f"""
      <body name="gripper_frame" euler="{pi / 2} 0 {pi}" gravcomp="1">
        {so100.LINKS[-1].shape}
        {so100.gripper(JAW)}
      </body>"""


def _print(to: tuple[float, float, float], radius: float) -> str:
    """A printed link from its joint to the next, in the plane of the servos' middles."""
    x, y, z = to
    return f"""
          <geom class="print" type="capsule" fromto="0 0 {z} {x} {y} {z}" size="{radius}"/>"""


LINKS = (
    Link(
        name="shoulder",
        joint=so100.servo("shoulder_pan", -1.91986, 1.91986),
        xyz=(0.0207909, -0.0230745, 0.0948817),
        rpy=(-pi, 0, pi / 2),
        axis=(0, 0, 1),
        mass=0.1,
        center=(-0.0308, 0, -0.0253),
        shape="""
          <geom class="print" type="cylinder" fromto="0 0 0.045 0 0 0.03" size="0.034"/>
          <geom class="cap" type="box" pos="-0.026 0 -0.02" size="0.023 0.013 0.03"/>""",
    ),
    Link(
        name="upper_arm",
        joint=so100.servo("shoulder_lift", -1.74533, 1.74533),
        xyz=(-0.0303992, -0.0182778, -0.0542),
        rpy=(-pi / 2, -pi / 2, 0),
        axis=(0, 0, 1),
        mass=0.103,
        center=(-0.0898, -0.0084, 0.0184),
        shape=_print((-0.11257, -0.028, 0.0182), 0.015),
    ),
    Link(
        name="lower_arm",
        joint=so100.servo("elbow_flex", -1.69, 1.69),
        xyz=(-0.11257, -0.028, 0),
        rpy=(0, 0, pi / 2),
        axis=(0, 0, 1),
        mass=0.104,
        center=(-0.0981, 0.0032, 0.0183),
        shape=_print((-0.1349, 0.0052, 0.0182), 0.014),
    ),
    Link(
        name="wrist",
        joint=so100.servo("wrist_flex", -1.65806, 1.65806),
        xyz=(-0.1349, 0.0052, 0),
        rpy=(0, 0, -pi / 2),
        axis=(0, 0, 1),
        mass=0.079,
        center=(0, -0.0386, 0.0281),
        shape=_print((0, -0.045, 0.0181), 0.013),
    ),
    Link(
        name="gripper_link",
        joint=so100.servo("wrist_roll", -2.79253, 2.79253),
        xyz=(0, -0.0611, 0.0181),
        rpy=(pi / 2, 0, pi),
        axis=(0, 0, 1),
        mass=0.087,
        center=(0, 0, -0.0252),
        shape="",
    ),
)

_BODY = f"""
    <body name="arm" euler="0 0 {pi / 2}">
      <body name="foot" pos="{_BASE[0]} {_BASE[1]} {_BASE[2]}">
        {inertial(0.6, (0.02, 0, 0.06))}
        <geom class="print" type="box" pos="0.0208 0.012 0.0385" size="0.045 0.055 0.006"/>
        <geom class="cap" type="box" pos="0.0208 -0.01 0.058" size="0.014 0.026 0.018"/>
        {chain(LINKS, _GRIPPER)}
      </body>
    </body>"""

SO101 = replace(
    so100.SO100,
    name="so101",
    joints=(*(link.joint for link in LINKS), JAW),
    body=_BODY,
    home=(0.0, -1.1, 1.15, 0.65, 0.0, 0.3),
    gripper_closed=-0.17,
)
