"""Two equal arms side by side as one robot: names with left_ and right_ before them."""

import re
from dataclasses import replace

from evo1_sim.arms.arm import Arm

SIDES = ("left", "right")
_NAMES = re.compile(r'\b(name|joint1|joint2|joint)="')
_SOLID = re.compile(r'class="(shell|cap|finger|pad|print)"')
# Bit 2 of contype is an arm's against objects. Bit 4 lets the right arm meet the left one, and
# neither of them itself.
_CONTACTS = {"left": 'conaffinity="4"', "right": 'contype="6"'}
_WRIST_CAMERAS = {"left": "image_2", "right": "image_3"}


def pair(name: str, arm: Arm, *, half_distance: float, environment_camera: str) -> Arm:
    """Two of `arm`, both looking along x, the left one at y = half_distance.

    The joints are those of the left arm, then those of the right; `image_1` is the environment
    camera, `image_2` the left wrist's, `image_3` the right wrist's.

    Args:
        name: of the pair.
        arm: what to put twice.
        half_distance: of a base from the x axis [m].
        environment_camera: as in Arm.
    """
    places = {"left": half_distance, "right": -half_distance}
    bodies = "".join(
        f'<body name="{side}_base" pos="0 {places[side]} 0">{_body(arm, side)}</body>'
        for side in SIDES
    )
    return Arm(
        name=name,
        joints=tuple(
            replace(joint, name=f"{side}_{joint.name}") for side in SIDES for joint in arm.joints
        ),
        body=f'<body name="arm">{bodies}</body>',  # one root: what touches it is held
        couplings="".join(_prefixed(arm.couplings, side) for side in SIDES),
        environment_camera=environment_camera,
        home=arm.home * 2,
        start_noise=arm.start_noise * 2,
        gripper_open=arm.gripper_open,
        gripper_closed=arm.gripper_closed,
        controller=arm.controller,
    )


def _body(arm: Arm, side: str) -> str:
    text = _prefixed(arm.body, side).replace(f"{side}_image_2", _WRIST_CAMERAS[side])
    return _SOLID.sub(rf'class="\1" {_CONTACTS[side]}', text)


def _prefixed(text: str, side: str) -> str:
    return _NAMES.sub(rf'\1="{side}_', text)
