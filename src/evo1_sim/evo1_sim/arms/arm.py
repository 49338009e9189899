"""What a simulated arm is: its joints, and its MJCF."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_sim.controller import ControllerSettings


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One driven joint, with the limits of the real one and the gains of its servo."""

    name: str
    lower: float  # rad
    upper: float  # rad
    velocity_max: float  # rad/s
    effort_max: float  # N m
    stiffness: float  # N m/rad
    damping: float  # N m s/rad; damping over stiffness is the lag [s]
    kind: str = "servo"  # MJCF class of its friction and rotor inertia

    def actuator(self) -> str:
        """The MJCF of its position servo."""
        return (
            f'<position name="{self.name}" joint="{self.name}" kp="{self.stiffness}" '
            f'kv="{self.damping}" ctrlrange="{self.lower} {self.upper}" '
            f'forcerange="{-self.effort_max} {self.effort_max}"/>'
        )


@dataclass(frozen=True, kw_only=True)
class Follower:
    """A joint of the model that stands at offset + factor * a driven joint's position.

    Attributes:
        joint: its name in the model.
        column: which of the arm's joints it follows.
    """

    joint: str
    column: int
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm with its gripper. Arrays are (D,) float64 in the order of `joints`.

    Attributes:
        name: key of `ARMS`, and of the robot file.
        joints: in the robot file's order; the last is the gripper (a pair: of each side).
        body: MJCF of the base body `arm` and all that hangs on it, with the sites `flange` and
            `tool` (between the finger tips, z forward) and the wrist cameras, from `image_2` on.
        couplings: MJCF of the equality constraints between joints; may be empty.
        environment_camera: MJCF of the camera `image_1`, and of the body that it looks at.
        home: start pose [rad].
        start_noise: largest deviation from `home` at a reset [rad].
        gripper_open: position of the gripper [rad].
        gripper_closed: position of the gripper [rad].
        controller: of each of its command outputs; the simulation runs it at its own rate.
        followers: for an arm without weight, every joint of its model; it is moved by them.
    """

    name: str
    joints: tuple[Joint, ...]
    body: str
    couplings: str
    environment_camera: str
    home: tuple[float, ...]
    start_noise: tuple[float, ...]
    gripper_open: float
    gripper_closed: float
    controller: ControllerSettings
    followers: tuple[Follower, ...] = ()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names in the robot file's order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def lower(self) -> npt.NDArray[np.float64]:
        """Lower position limits (D,) [rad]."""
        return np.array([joint.lower for joint in self.joints])

    @property
    def upper(self) -> npt.NDArray[np.float64]:
        """Upper position limits (D,) [rad]."""
        return np.array([joint.upper for joint in self.joints])

    @property
    def velocity_max(self) -> npt.NDArray[np.float64]:
        """Velocity limits (D,) [rad/s]."""
        return np.array([joint.velocity_max for joint in self.joints])


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link of a serial chain, as its URDF joint states it.

    Attributes:
        name: of the body.
        joint: name of the joint to its parent.
        xyz: origin in the parent [m].
        rpy: orientation in the parent, fixed axes [rad].
        axis: of the joint, in this link.
        mass: [kg].
        center: of mass, in this link [m].
        shape: MJCF of its geoms.
    """

    name: str
    joint: Joint
    xyz: tuple[float, float, float]
    rpy: tuple[float, float, float]
    axis: tuple[int, int, int]
    mass: float
    center: tuple[float, float, float]
    shape: str


def chain(links: tuple[Link, ...], tip: str) -> str:
    """Nest the bodies of a serial chain; `tip` is the MJCF inside the last of them."""
    inner = tip
    for link in reversed(links):
        inner = f"""
        <body name="{link.name}" pos="{_row(link.xyz)}" euler="{_row(link.rpy)}" gravcomp="1">
          <joint name="{link.joint.name}" axis="{_row(link.axis)}"
            class="{link.joint.kind}" range="{link.joint.lower} {link.joint.upper}"/>
          {inertial(link.mass, link.center)}
          {link.shape}
          {inner}
        </body>"""
    return inner


def inertial(mass: float, center: tuple[float, float, float]) -> str:
    """MJCF of a mass [kg] at `center` [m], with the inertia of a fist-sized solid."""
    radius = 0.05 * (mass**0.5) + 0.01  # grows with the link; the servo's armature dominates
    moment = 0.4 * mass * radius**2
    return f'<inertial mass="{mass}" pos="{_row(center)}" diaginertia="{_row((moment,) * 3)}"/>'


def _row(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.10g}" for value in values)
