"""The MJCF of a cell: light, floor, table, the arm that stands on it and the task's objects."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evo1_sim.arms import Arm

TIMESTEP_NS = 2_000_000
MAX_IMAGE = 1280  # pixels along a side that the offscreen buffer has room for
# Two such cameras keep 30 Hz beside the relay and the recorder on two cores.
IMAGE_WIDTH, IMAGE_HEIGHT = 256, 192  # px
TABLE_RGBA = "0.47 0.36 0.26 1"

# Contacts stiffer than these throw a can up now and then when it is set down (1 seed in 14).
# Arm geoms (type 2) meet objects and the table, never each other: the linkage overlaps itself.
_DEFAULTS = """
  <default>
    <geom contype="1" conaffinity="3" condim="4" friction="0.9 0.01 0.001" solref="0.01 1"
      solimp="0.95 0.99 0.001"/>
    <default class="servo"><joint damping="1" frictionloss="0.5" armature="0.1"/></default>
    <default class="small_servo">
      <joint damping="0.2" frictionloss="0.03" armature="0.01"/>
    </default>
    <default class="jaw_servo">
      <joint damping="0.02" frictionloss="0.01" armature="0.003"/>
    </default>
    <default class="linkage">
      <joint range="-0.05 0.9" damping="0.02" armature="0.002"/>
    </default>
    <default class="shell"><geom contype="2" conaffinity="0" rgba="0.93 0.93 0.94 1"/></default>
    <default class="cap"><geom contype="2" conaffinity="0" rgba="0.30 0.32 0.35 1"/></default>
    <default class="finger"><geom contype="2" conaffinity="0" rgba="0.20 0.20 0.22 1"/></default>
    <default class="pad">
      <geom contype="2" conaffinity="0" priority="1" condim="6" friction="1.4 0.03 0.002"
        solref="0.004 1" solimp="0.99 0.999 0.001" rgba="0.10 0.10 0.11 1"/>
    </default>
    <default class="print"><geom contype="2" conaffinity="0" rgba="0.96 0.74 0.16 1"/></default>
    <default class="look"><geom contype="0" conaffinity="0" mass="0"/></default>
    <default class="wall">
      <geom type="box" contype="0" conaffinity="0" rgba="0.62 0.67 0.70 1"/>
    </default>
    <default class="frame"><site size="0.004" group="4"/></default>
  </default>"""

_SURROUNDINGS = """
    <light pos="-0.3 -2.7 4.4" dir="0.12 0.54 -0.84" cutoff="80" exponent="0" castshadow="false"
      diffuse="0.55 0.55 0.53" specular="0.15 0.15 0.15"/>
    <light pos="4.0 1.6 3.3" dir="-0.73 -0.31 -0.62" cutoff="80" exponent="0" castshadow="false"
      diffuse="0.28 0.29 0.32" specular="0 0 0"/>
    <geom name="floor" class="look" type="plane" pos="0.7 0 -0.72" size="3.2 2.8 0.1"
      rgba="0.27 0.29 0.31 1"/>
    <geom name="wall1" class="wall" pos="-1.6 0 0.8" size="0.02 2.6 1.6"/>
    <geom name="wall2" class="wall" pos="3.0 0 0.8" size="0.02 2.6 1.6"/>
    <geom name="wall3" class="wall" pos="0.7 2.6 0.8" size="2.4 0.02 1.6"/>
    <geom name="wall4" class="wall" pos="0.7 -2.6 0.8" size="2.4 0.02 1.6"/>"""

# The collision surface is a plane (exact contacts of standing cylinders) inside the table's top.
_TABLE = """
    <geom name="table" type="plane" pos="{x} 0 0" size="{half_x} {half_y} 0.1" rgba="0 0 0 0"/>
    <geom class="look" type="box" pos="{x} 0 -0.02" size="{half_x} {half_y} 0.0199"
      material="table"/>
    <geom class="look" type="box" pos="{x} 0 -0.045" size="{inner_x} {inner_y} 0.006"
      rgba="0.25 0.25 0.27 1"/>
    <geom class="look" type="cylinder" fromto="{x} 0 -0.72 {x} 0 -0.04" size="0.07"
      rgba="0.25 0.25 0.27 1"/>"""


def model_xml(name: str, bodies: str, *, rest: str = "", table_rgba: str = TABLE_RGBA) -> str:
    """MJCF with the physics of every cell.

    Args:
        name: of the model.
        bodies: MJCF of what is in the world.
        rest: MJCF of other sections.
        table_rgba: colour of the table's top.
    """
    return f"""
<mujoco model="{name}">
  <compiler angle="radian" eulerseq="XYZ" autolimits="true"/>
  <option timestep="{TIMESTEP_NS * 1e-9:g}" integrator="implicitfast" cone="elliptic"
    impratio="10"><flag multiccd="enable"/></option>
  <statistic extent="1" center="0.3 0 0.2"/>
  <visual>
    <global offwidth="{MAX_IMAGE}" offheight="{MAX_IMAGE}"/>
    <quality shadowsize="0" offsamples="0" numslices="18" numstacks="7"/>
    <headlight ambient="0.38 0.38 0.38" diffuse="0.16 0.16 0.16" specular="0 0 0"/>
    <map znear="0.01" zfar="20"/>
  </visual>
  <asset>
    <material name="table" rgba="{table_rgba}" reflectance="0" specular="0.1"/>
  </asset>
  {_DEFAULTS}
  <worldbody>{bodies}
  </worldbody>
  {rest}
</mujoco>"""


def scene_xml(arm: "Arm", objects: str, *, welds: str = "", table_rgba: str = TABLE_RGBA) -> str:
    """The whole model.

    Args:
        arm: what stands on the table.
        objects: MJCF of the task's bodies.
        welds: MJCF of equality constraints between them.
        table_rgba: colour of the table's top.
    """
    table = _TABLE.format(x=0.32, half_x=0.5, half_y=0.55, inner_x=0.44, inner_y=0.49)
    actuators = "\n".join(joint.actuator() for joint in arm.joints)
    return model_xml(
        arm.name,
        f"""
    {_SURROUNDINGS}
    {table}
    {arm.environment_camera}
    {arm.body}
    {objects}""",
        rest=f"""
  <equality>{arm.couplings}{welds}</equality>
  <actuator>{actuators}</actuator>""",
        table_rgba=table_rgba,
    )
