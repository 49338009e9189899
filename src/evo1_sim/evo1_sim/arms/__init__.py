"""The arms that can be simulated, by name."""

from evo1_sim.arms.arm import Arm, Joint
from evo1_sim.arms.so100 import SO100
from evo1_sim.arms.xarm6 import XARM6, XARM6_BIMANUAL

ARMS: dict[str, Arm] = {arm.name: arm for arm in (XARM6, SO100, XARM6_BIMANUAL)}

__all__ = ["ARMS", "Arm", "Joint"]
