"""An arm's links and tool in space, from its URDF or MJCF, by MuJoCo. No ROS, no torch.

The model's frame is the robot's base frame. Letters: D joints of the robot file in its order.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats
from evo1_policy.command_line import printable
from evo1_policy.kinematics.config import PACKAGE
from evo1_policy.kinematics.urdf import Mimic, UrdfError, urdf_of
from evo1_policy.paths import confined, shares
from evo1_policy.robot_config import RobotConfig
from evo1_policy.untrusted import UntrustedError, parse_xml, read_text

MOST_MODEL_BYTES = 16 << 20
_PACKAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)


class ModelError(ValueError):
    """A model that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a frame is: position (3,) [m] in the base frame, rotation (3, 3), axes as columns."""

    position: Floats
    rotation: Floats


@dataclass(frozen=True, kw_only=True)
class _Follower:
    """A joint that follows one of the robot's by a polynomial, as the fingers of a gripper do."""

    qpos: int
    leader: int  # joint of the robot file
    coefficients: tuple[float, ...]  # of the leader's powers, from 0 up


@dataclass(frozen=True, kw_only=True)
class _ChainJoint:
    """A joint below the tool, where it stands with every joint at MuJoCo's own zero.

    What the tool does is then a product of exponentials of these axes.
    """

    leader: int  # joint of the robot file that moves it ...
    curve: np.polynomial.Polynomial | None  # ... to this of its position; None: just there
    rest: float
    slides: bool
    basis: Floats  # (3, 8) axis, a point of it, its cross product (3, 3), and that twice


def _cross(first: Floats, second: Floats) -> Floats:
    """(..., 3) cross products; numpy's own takes five times as long for as few."""
    return np.asarray(
        first[..., [1, 2, 0]] * second[..., [2, 0, 1]]
        - first[..., [2, 0, 1]] * second[..., [1, 2, 0]]
    )


class ArmModel:
    """The bodies of one arm on its joints. Not for two threads at once.

    Args:
        source: of the model, for error messages.
        spec: the model as MuJoCo edits it; other bodies may have been added.
        joint_names: D names of the robot file.
        fixed: those of them that the model need not have, such as a gripper's.
        tool: site, body or link whose frame is the tool; empty: the last joint's body that moves,
            of joints that are not `fixed`: a finger is none.
        followers: joint -> what it mimics, where the file says so outside of MJCF.

    Attributes:
        model: compiled; `mink.Configuration(arm.model)` takes it.
        data: scratch of `place`: poses of the joint positions placed last.
        joint_names: as given.
        qpos: (D,) int, index of each joint in qpos; -1 where the model has no such joint.
        dofs: (D,) int, likewise in qvel.
        tool_name, tool_type: the tool as mink.FrameTask names frames ('site' or 'body').

    Raises:
        ModelError: a joint is missing or is no hinge or slide, or there is no such tool.
    """

    def __init__(
        self,
        source: str,
        spec: mujoco.MjSpec,
        joint_names: Sequence[str],
        *,
        fixed: Sequence[str] = (),
        tool: str = "",
        followers: dict[str, Mimic] | None = None,
    ) -> None:
        # Masses do not matter here, and a frame without any shape has none.
        spec.compiler.boundmass, spec.compiler.boundinertia = 1e-3, 1e-6
        try:
            self.model = spec.compile()
        except (ValueError, mujoco.FatalError) as error:
            raise ModelError(f"{source}: {printable(error)}") from error
        self.data = mujoco.MjData(self.model)
        self.joint_names = tuple(joint_names)
        self._source = source
        ids = [self._joint(name, fixed) for name in self.joint_names]
        self.qpos = np.array([-1 if i < 0 else self.model.jnt_qposadr[i] for i in ids])
        self.dofs = np.array([-1 if i < 0 else self.model.jnt_dofadr[i] for i in ids])
        self.joints = np.array(ids)
        self._known = self.qpos >= 0
        self._rest = self.model.qpos0.copy()
        self._followers = tuple(self._coupled(ids)) + tuple(self._mimics(followers or {}))
        self.tool_type, self.tool_name, self._tool = self._find_tool(tool, fixed)
        self._tool_chain = self._find_tool_chain()

    @property
    def leaders(self) -> npt.NDArray[np.int64]:
        """(njnt,) joint of the robot file that moves each joint of the model; -1: none does."""
        leaders = np.full(self.model.njnt, -1)
        for number, joint in enumerate(self.joints):
            if joint >= 0:
                leaders[joint] = number
        addresses = list(self.model.jnt_qposadr)
        for follower in self._followers:
            leaders[addresses.index(follower.qpos)] = follower.leader
        return leaders

    @property
    def tool_joints(self) -> frozenset[int]:
        """Places in the robot file of the joints that move the tool."""
        return frozenset(joint.leader for joint in self._tool_chain)

    def rate(self, joint: int, lower: Floats, upper: Floats) -> float:
        """How far a joint of the model moves at most for one of its leader [-].

        Args:
            joint: number in the model.
            lower: (D,) limits of the robot file [rad or m].
            upper: (D,) likewise.
        """
        address = self.model.jnt_qposadr[joint]
        for follower in self._followers:
            if follower.qpos == address:
                slope = np.polynomial.Polynomial(follower.coefficients).deriv()
                within = np.linspace(lower[follower.leader], upper[follower.leader], 65)
                return float(np.abs(slope(within)).max())
        return 1.0

    def qpos_at(self, positions: Floats) -> Floats:
        """(nq,) of MuJoCo for the robot's joint positions (D,); followers follow."""
        qpos: Floats = self._rest.copy()
        qpos[self.qpos[self._known]] = positions[self._known]
        for follower in self._followers:
            value, leader = 0.0, float(positions[follower.leader])
            for coefficient in reversed(follower.coefficients):
                value = value * leader + coefficient
            qpos[follower.qpos] = value
        return qpos

    def positions_of(self, qpos: Floats, default: Floats) -> Floats:
        """(D,) of the robot file from qpos (nq,); `default` (D,) for joints not in the model."""
        return np.asarray(np.where(self._known, qpos[self.qpos], default))

    def place(self, positions: Floats) -> None:
        """Put the arm at joint positions (D,) [rad or m]; its poses stand in `data`."""
        self.data.qpos[:] = self.qpos_at(positions)
        mujoco.mj_kinematics(self.model, self.data)

    def forward(self, positions: Floats) -> Pose:
        """Pose of the tool at joint positions (D,)."""
        self.place(positions)
        site = self.tool_type == "site"
        position = (self.data.site_xpos if site else self.data.xpos)[self._tool]
        rotation = (self.data.site_xmat if site else self.data.xmat)[self._tool]
        return Pose(position=position.copy(), rotation=rotation.reshape(3, 3).copy())

    def tool_velocities(self, positions: Floats, velocities: Floats) -> Floats:
        """(N, 3) how the tool moves in the base frame [m/s], of N joint states at once.

        Args:
            positions: (N, D) [rad or m].
            velocities: (N, D) [rad/s or m/s].
        """
        chain, count = self._tool_chain, len(positions)
        leaders = [joint.leader for joint in chain]
        values, rates = positions[:, leaders], velocities[:, leaders]
        for k, joint in enumerate(chain):
            if joint.curve is not None:
                rates[:, k] *= joint.curve.deriv()(values[:, k])
                values[:, k] = joint.curve(values[:, k])
        values -= [joint.rest for joint in chain]
        sine, versine = np.sin(values)[:, :, None, None], (1.0 - np.cos(values))[:, :, None, None]
        turned, moved = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
        axes, anchors = np.zeros((2, len(chain), count, 3))
        for k, joint in enumerate(chain):
            basis = (turned.reshape(-1, 3) @ joint.basis).reshape(count, 3, 8)
            axes[k], anchors[k] = basis[:, :, 0], moved + basis[:, :, 1]
            if joint.slides:
                moved = moved + axes[k] * values[:, k, None]
                continue
            turned = turned + sine[:, k] * basis[:, :, 2:5] + versine[:, k] * basis[:, :, 5:]
            moved = anchors[k] - turned @ joint.basis[:, 1]
        arms = moved + turned @ self._tool_at_rest - anchors
        slides = np.array([joint.slides for joint in chain], dtype=bool)[:, None, None]
        moves = np.where(slides, axes, _cross(axes, arms))
        return np.asarray((moves * rates.T[:, :, None]).sum(axis=0))

    def _find_tool_chain(self) -> tuple[_ChainJoint, ...]:
        """The joints between the base and the tool that move, from the base on."""
        model, data = self.model, self.data
        data.qpos[:] = model.qpos0
        mujoco.mj_kinematics(model, data)
        site = self.tool_type == "site"
        self._tool_at_rest = (data.site_xpos if site else data.xpos)[self._tool].copy()
        body = int(model.site_bodyid[self._tool]) if site else self._tool
        bodies = set()
        while body > 0:
            bodies.add(body)
            body = int(model.body_parentid[body])
        curves = {f.qpos: np.polynomial.Polynomial(f.coefficients) for f in self._followers}
        found = []
        for joint, leader in enumerate(self.leaders):
            if leader < 0 or int(model.jnt_bodyid[joint]) not in bodies:
                continue
            axis, address = data.xaxis[joint], int(model.jnt_qposadr[joint])
            cross = _cross(axis, np.eye(3)).T
            found.append(
                _ChainJoint(
                    leader=int(leader),
                    curve=curves.get(address),
                    rest=float(model.qpos0[address]),
                    slides=int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_SLIDE),
                    basis=np.column_stack([axis, data.xanchor[joint], cross, cross @ cross]),
                )
            )
        return tuple(found)

    def _joint(self, name: str, fixed: Sequence[str]) -> int:
        joint = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name)
        if joint < 0 and name not in fixed:
            known = [self.model.joint(i).name for i in range(self.model.njnt)]
            raise ModelError(
                f"{self._source}: it has no joint '{name}' of the robot file; joints there: "
                f"{', '.join(known)}; name the joints alike"
            )
        kinds = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
        if joint >= 0 and int(self.model.jnt_type[joint]) not in kinds:
            raise ModelError(f"{self._source}: joint '{name}' neither turns nor slides on an axis")
        return int(joint)

    def _coupled(self, ids: Sequence[int]) -> list[_Follower]:
        """Of MJCF: equality constraints between two joints."""
        found = []
        for i in range(self.model.neq):
            if int(self.model.eq_type[i]) != int(mujoco.mjtEq.mjEQ_JOINT):
                continue
            follower, leader = int(self.model.eq_obj1id[i]), int(self.model.eq_obj2id[i])
            if leader in ids:
                rests = self._rest[self.model.jnt_qposadr[[follower, leader]]]
                shift = np.polynomial.Polynomial([-rests[1], 1.0])
                curve = np.polynomial.Polynomial(self.model.eq_data[i][:5])(shift)
                coefficients = [float(c) for c in np.trim_zeros((curve + rests[0]).coef, "b")]
                found.append(self._follower(follower, ids.index(leader), coefficients or [0.0]))
        return found

    def _mimics(self, followers: dict[str, Mimic]) -> list[_Follower]:
        """Of URDF: <mimic>."""
        found = []
        for name, mimic in followers.items():
            joint = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name)
            if joint >= 0 and mimic.joint in self.joint_names:
                number = self.joint_names.index(mimic.joint)
                found.append(self._follower(joint, number, [mimic.offset, mimic.factor]))
        return found

    def _follower(self, joint: int, leader: int, coefficients: Sequence[float]) -> _Follower:
        address = int(self.model.jnt_qposadr[joint])
        return _Follower(qpos=address, leader=leader, coefficients=tuple(coefficients))

    def _find_tool(self, tool: str, fixed: Sequence[str]) -> tuple[str, str, int]:
        kinds = {"site": mujoco.mjtObj.mjOBJ_SITE, "body": mujoco.mjtObj.mjOBJ_BODY}
        for kind, number in kinds.items():
            found = mujoco.mj_name2id(self.model, number, tool) if tool else -1
            if found >= 0:
                return kind, tool, found
        if tool:
            known = [self.model.site(i).name for i in range(self.model.nsite)]
            known += [self.model.body(i).name for i in range(1, self.model.nbody)]
            raise ModelError(
                f"{self._source}: it has no site, body or link '{tool}'; there: {', '.join(known)}"
            )
        own = [name not in fixed for name in self.joint_names]
        body = int(self.model.jnt_bodyid[self.joints[own]].max())
        return "body", self.model.body(body).name, body


def arm_model(robot: RobotConfig) -> ArmModel:
    """The arm of a robot file: safety.collision.model, or else its urdf.

    Raises:
        ModelError: it names neither, or one that cannot be used.
    """
    collision = robot.safety.collision
    named = collision.model if collision else robot.urdf
    if not named:
        raise ModelError(
            f"the robot file of '{robot.name}' names no model; name a URDF or MJCF in "
            "safety.collision.model, or its urdf"
        )
    path = find_model(named)
    spec, followers = read_spec(path)
    return ArmModel(
        str(path),
        spec,
        robot.joint_names,
        fixed=[gripper.joint for gripper in robot.grippers],
        tool=collision.tool if collision else "",
        followers=followers,
    )


def find_model(name: str) -> Path:
    """The file that a robot file names: a whole path, or package://NAME/PATH of a package.

    Raises:
        ModelError: no such file.
    """
    if not name.startswith(PACKAGE):
        path = Path(name).expanduser()
        if path.is_absolute() and path.is_file():
            return path
        raise ModelError(
            f"{name}: no such model file. Beside a copy of a robot file (in a bag, dataset or "
            "checkpoint) its model does not lie: give the robot file itself (--robot FILE, "
            f"robot_file:=FILE), or let it name the model as {PACKAGE}NAME/PATH"
        )
    package, _, rest = name.removeprefix(PACKAGE).partition("/")
    if not _PACKAGE_NAME.fullmatch(package):
        raise ModelError(f"{printable(name)}: expected {PACKAGE}NAME/PATH")
    for share in shares(package):
        try:
            path = confined(share, rest, PACKAGE + package, own_links=True)
        except ValueError as error:
            raise ModelError(str(error)) from error
        if path.is_file():
            return path
    raise ModelError(f"{name}: no installed package has it; build and source its workspace")


def read_spec(path: Path) -> tuple[mujoco.MjSpec, dict[str, Mimic]]:
    """A URDF or MJCF, with the joints that URDF's <mimic> lets follow others.

    Raises:
        ModelError: it cannot be read, or is neither.
    """
    try:
        text = read_text(path, what="model file", max_bytes=MOST_MODEL_BYTES)
        root = parse_xml(text, source=str(path))
        if root.tag == "mujoco":
            return mujoco.MjSpec.from_file(str(path)), {}
        if root.tag != "robot":
            raise ModelError(f"{path}: expected MJCF or URDF")
        followers = urdf_of(root, source=str(path)).followers()
        _prepare_urdf(root, path)
        return mujoco.MjSpec.from_string(ElementTree.tostring(root, "unicode")), followers
    except ModelError:
        raise
    except (UntrustedError, UrdfError) as error:
        raise ModelError(str(error)) from error
    except (ValueError, mujoco.FatalError) as error:
        raise ModelError(f"{path}: {printable(error)}") from error


def _prepare_urdf(root: ElementTree.Element, path: Path) -> None:
    """Leave out what only looks, or was read already; name meshes by their paths here."""
    for link in root.iter("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
    for joint in root.iter("joint"):
        for mimic in joint.findall("mimic"):
            joint.remove(mimic)
    for mesh in root.iter("mesh"):
        name = mesh.get("filename", "").removeprefix("file://")
        found = find_model(name) if name.startswith(PACKAGE) else path.parent / name
        mesh.set("filename", str(found.resolve()))
    for extension in root.findall("mujoco"):
        root.remove(extension)
    options = {"strippath": "false", "fusestatic": "false", "balanceinertia": "true"}
    ElementTree.SubElement(ElementTree.SubElement(root, "mujoco"), "compiler", options)
