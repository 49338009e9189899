"""Varied scenes for demonstrations: other looks, places, heights and friction, drawn by the seed.

A policy that saw one table under one light knows no other. What varies is written into the
compiled model (colours, lights, cameras, friction) or set by mocap bodies (what stands beside the
path, what the target stands on), so an episode costs neither a compilation nor a new renderer.

What evaluations test is held out, with a margin, and never drawn: colours near their yellow and
their green bottle's, anything bottle-shaped, heights near theirs, and the 30 mm around the area of
the targets. Some targets stand below and above those heights, some beyond that band: a policy may
learn from both sides of a gap, never from within it. Lengths are in metres, angles in radians.
"""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from evo1_sim.tasks import Cell, Task
from evo1_sim.tasks.disturbances import FROM_GOAL, FROM_TARGET

Vector = npt.NDArray[np.float64]
Rgb = tuple[float, float, float]

# The evaluation's table and bottle, and how far around their hues nothing is drawn [deg].
HELD_OUT: dict[Rgb, float] = {(0.93, 0.78, 0.12): 20.0, (0.08, 0.45, 0.16): 40.0}
GREY = 0.3  # a saturation below this is no colour that is held out
# How far behind the area's far edge some targets stand, and heights of what some stand on: none
# near the evaluation's 10, 20 and 30 mm.
BEYOND = (0.033, 0.050)
LOW, HIGH = (0.002, 0.006), (0.034, 0.044)
UNLIKE = 0.35  # least distance between two colours that have to be told apart, RGB in 0 to 1
APART = 0.12  # between the axes of two things
CAMERA_SHIFT, CAMERA_TURN = 0.004, np.radians(1.2)

STAND = "varied_stand"
STAND_HALF_HEIGHT = 0.025
PARKED = (0.0, 0.0, -3.0)  # below the floor
_SHAPES = {  # MJCF and half the height of each; none is a bottle
    "block": ('type="box" size="0.025 0.030 0.030"', 0.030),
    "book": ('type="box" size="0.055 0.040 0.012"', 0.012),
    "ball": ('type="sphere" size="0.030"', 0.030),
    "puck": ('type="cylinder" size="0.038 0.014"', 0.014),
}
_COLOURS = ("mat_rgba", "geom_rgba", "light_diffuse")
_KEPT = (*_COLOURS, "geom_friction", "light_pos", "light_dir", "cam_pos", "cam_quat", "cam_mode")


def hue_deg(rgb: Rgb) -> float:
    """Hue of a colour [deg]."""
    return colorsys.rgb_to_hsv(*rgb)[0] * 360.0


def held_out(rgb: Rgb) -> bool:
    """Whether a colour is like one of HELD_OUT: near in RGB, or no grey and of its hue."""
    for other, width_deg in HELD_OUT.items():
        if np.linalg.norm(np.subtract(rgb, other)) < UNLIKE:
            return True
        away = abs((hue_deg(rgb) - hue_deg(other) + 180) % 360 - 180)
        if colorsys.rgb_to_hsv(*rgb)[1] >= GREY and away < width_deg:
            return True
    return False


def draw_colour(
    rng: np.random.Generator,
    *,
    unlike: tuple[Rgb, ...] = (),
    saturation: tuple[float, float] = (0.0, 0.85),
    value: tuple[float, float] = (0.15, 0.9),
) -> Rgb:
    """Draw a colour that no test has and that is told apart from others (R, G, B in 0 to 1)."""
    while True:
        rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
        distances = [np.linalg.norm(np.subtract(rgb, other)) for other in unlike]
        if not held_out(rgb) and all(far >= UNLIKE for far in distances):
            return rgb


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the target of a varied scene stands.

    Attributes:
        raised: height of what it stands on; 0: the table.
        beyond: how far behind the area's far edge; 0: where the scene has it.
    """

    raised: float
    beyond: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Place":
        """Most stand in the area, and most on the table."""
        kind, raised, beyond = rng.random(), rng.uniform(*LOW), rng.uniform(*BEYOND)
        if kind < 0.2:
            raised = rng.uniform(*HIGH)
        elif kind > 0.4:
            raised = 0.0
        return cls(raised=float(raised), beyond=float(beyond) if rng.random() < 0.2 else 0.0)


def varied_objects(task: Task) -> str:
    """MJCF of the bodies that varied scenes of a task have besides its own, all out of sight."""
    side = 0.8 * task.target_radius
    shapes = {f"varied_{name}": shape for name, (shape, _) in _SHAPES.items()}
    shapes[STAND] = f'type="box" size="{side} {side} {STAND_HALF_HEIGHT}"'
    return "".join(
        f"""
    <body name="{name}" mocap="true" pos="{PARKED[0]} {PARKED[1]} {PARKED[2]}">
      <geom name="{name}" {shape} rgba="0.35 0.35 0.37 0"/>
    </body>"""
        for name, shape in shapes.items()
    )


class SceneVariety:
    """Varies one compiled scene, again for every episode.

    Args:
        model: with `varied_objects`, as it was compiled.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._as_compiled = {name: getattr(model, name).copy() for name in _KEPT}
        self._ambient = model.vis.headlight.ambient.copy()

    def apply(self, task: Task, cell: Cell, data: mujoco.MjData, seed: int) -> dict[str, Any]:
        """Vary a start state whose objects have just been placed.

        Args:
            task: whose scene it is.
            cell: its bodies.
            data: of the model, with kinematics done.
            seed: the same gives the same scene.

        Returns:
            What was varied and to what, for JSON.
        """
        rng = np.random.default_rng([seed, 0x7A21ED])  # apart from the scene's own draws
        for name, values in self._as_compiled.items():
            getattr(self._model, name)[:] = values
        place = self._move_target(task, cell, data, Place.draw(rng), rng)
        looks = self._colour(task, rng)
        return {
            "seed": seed,
            **place,
            "colours": looks,
            "distractors": self._distract(task, cell, data, looks["table"], rng),
            "light": self._light(rng),
            "cameras": self._shake_cameras(data, rng),
            "friction": self._rub(rng),
        }

    # -- what moves ------------------------------------------------------------------------

    def _move_target(
        self, task: Task, cell: Cell, data: mujoco.MjData, place: Place, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Raise the target or move it back; where only words tell it, any of the choices."""
        names = [thing.name for thing in task.choices] or [task.target]
        name = names[int(rng.integers(len(names)))]
        x, y, _ = cell.position(name)
        back = task.target_area[1][0] + place.beyond if place.beyond else x
        others = [other for other in _standing(task) if other != name]
        crowded = any(
            np.hypot(*(cell.position(other)[:2] - (back, y))) < APART for other in others
        )
        beyond = 0.0 if crowded else place.beyond
        shift = np.array((back - x if beyond else 0.0, 0.0, place.raised))
        contents = task.contents if name == task.target else ()
        for moved in (name, *contents):
            cell.move(moved, cell.position(moved) + shift)
        self._show(STAND, (0.35, 0.35, 0.37) if place.raised else None)
        on = (x + shift[0], y, place.raised - STAND_HALF_HEIGHT) if place.raised else PARKED
        cell.guide(STAND, on)
        mujoco.mj_kinematics(self._model, data)
        return {
            "moved": name if beyond or place.raised else "",
            "raised_m": _rounded(place.raised),
            "beyond_m": _rounded(beyond),
        }

    def _distract(
        self,
        task: Task,
        cell: Cell,
        data: mujoco.MjData,
        table: Rgb,
        rng: np.random.Generator,
    ) -> list[dict[str, Any]]:
        """Put up to three things that have no part in the task where they are in nobody's way."""
        wanted = set(rng.permutation(list(_SHAPES))[: max(0, int(rng.integers(-1, 4)))])
        keep = [(cell.position(name)[:2], FROM_TARGET) for name in _standing(task)]
        keep.append((cell.position(task.goal)[:2], FROM_GOAL))
        unlike = (table, *self._colours_of(task))
        shown = []
        for shape, (_, half) in _SHAPES.items():
            spots = [
                at
                for at in rng.uniform(*task.spare_area, (30, 2))
                if all(np.hypot(*(at - other)) > far for other, far in keep)
            ]
            rgb, yaw = draw_colour(rng, unlike=unlike), rng.uniform(-np.pi, np.pi)
            here = shape in wanted and bool(spots)
            self._show(f"varied_{shape}", rgb if here else None)
            cell.guide(f"varied_{shape}", (*spots[0], half) if here else PARKED, yaw)
            if here:
                keep.append((spots[0], APART))
                shown.append({"shape": shape, "at_m": _list(spots[0]), "rgb": _list(rgb)})
        mujoco.mj_kinematics(self._model, data)
        return shown

    # -- what it looks like ----------------------------------------------------------------

    def _colour(self, task: Task, rng: np.random.Generator) -> dict[str, Any]:
        """Colour table, walls, floor, and the bodies whose colour the words do not name."""
        model, looks = self._model, {}
        named = self._colours_of(task)
        top = model.mat_rgba[model.material("table").id]
        if rng.random() < 0.7:
            top[:3] = draw_colour(rng, unlike=named, value=(0.15, 0.85))
        looks["table"] = _list(top[:3])
        for name in ("wall", "floor"):
            rgb = draw_colour(rng, saturation=(0.0, 0.4))
            for geom in range(model.ngeom):
                if model.geom(geom).name.startswith(name):
                    model.geom_rgba[geom, :3] = rgb
            looks[name] = _list(rgb)
        seen: list[Rgb] = [looks["table"]]
        for name in task.unnamed_colours:
            rgb = draw_colour(rng, unlike=tuple(seen), saturation=(0.4, 1.0), value=(0.4, 0.95))
            if rng.random() < 0.5:
                for geom in self._painted(name):
                    model.geom_rgba[geom, :3] = rgb
            looks[name] = _list(model.geom_rgba[self._painted(name)[0], :3])
            seen.append(looks[name])
        return looks

    def _light(self, rng: np.random.Generator) -> dict[str, Any]:
        """Brighter or darker, tinted, from elsewhere."""
        model = self._model
        factors = rng.uniform(0.7, 1.25, (model.nlight, 1)) * rng.uniform(
            0.94, 1.06, (model.nlight, 3)
        )
        shifts = rng.uniform(-0.4, 0.4, (model.nlight, 3))
        turns = rng.uniform(-0.12, 0.12, (model.nlight, 3))
        model.light_diffuse[:] *= factors
        model.light_pos[:] += shifts
        turned = model.light_dir + turns
        model.light_dir[:] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        ambient = rng.uniform(0.75, 1.2)
        model.vis.headlight.ambient[:] = self._ambient * ambient
        return {
            "diffuse": [_list(one) for one in factors],
            "shift_m": [_list(one) for one in shifts],
            "turn": [_list(one) for one in turns],
            "ambient": _rounded(ambient),
        }

    def _shake_cameras(self, data: mujoco.MjData, rng: np.random.Generator) -> dict[str, Any]:
        """Shift and turn every camera a little; one that looks at a body no longer follows it."""
        model, moved = self._model, {}
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        for camera in range(model.ncam):
            shift = rng.uniform(-CAMERA_SHIFT, CAMERA_SHIFT, 3)
            turn = rng.uniform(-CAMERA_TURN, CAMERA_TURN, 3)
            if model.cam_mode[camera] != mujoco.mjtCamLight.mjCAMLIGHT_FIXED:
                mujoco.mju_mat2Quat(model.cam_quat[camera], data.cam_xmat[camera])
                model.cam_mode[camera] = mujoco.mjtCamLight.mjCAMLIGHT_FIXED
            model.cam_pos[camera] += shift
            mujoco.mju_quatIntegrate(model.cam_quat[camera], turn, 1.0)
            moved[model.camera(camera).name] = {"shift_m": _list(shift), "turn_rad": _list(turn)}
        return moved

    # -- what it feels like ----------------------------------------------------------------

    def _rub(self, rng: np.random.Generator) -> dict[str, float]:
        """Scale the friction of the arm's pads, and that of everything else."""
        model = self._model
        arm = model.body_rootid[model.geom_bodyid] == model.body("arm").id
        pads, rest = rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.2)
        model.geom_friction[arm & (model.geom_priority > 0), 0] *= pads
        model.geom_friction[~arm, 0] *= rest
        return {"pads": _rounded(pads), "rest": _rounded(rest)}

    def _show(self, name: str, rgb: Rgb | None) -> None:
        """Colour a varied thing, or make it invisible."""
        rgba = self._model.geom(name).rgba
        rgba[:] = (*rgb, 1.0) if rgb else (0.0, 0.0, 0.0, 0.0)

    def _colours_of(self, task: Task) -> tuple[Rgb, ...]:
        """Colours that the task's things have now."""
        names = (*_standing(task), task.goal)
        geoms = [geom for name in names for geom in self._painted(name)[:1]]
        return tuple(_list(self._model.geom_rgba[geom, :3]) for geom in geoms)

    def _painted(self, name: str) -> list[int]:
        """The geoms of a body that are as its first visible one."""
        model, body = self._model, self._model.body(name)
        first = body.geomadr[0]
        seen = [k for k in range(first, first + body.geomnum[0]) if model.geom_rgba[k, 3] > 0]
        painted: list[int] = [
            k for k in seen if np.array_equal(model.geom_rgba[k], model.geom_rgba[seen[0]])
        ]
        return painted


def _standing(task: Task) -> Iterator[str]:
    """The bodies that stand where targets do."""
    yield from [thing.name for thing in task.choices] or [task.target]


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _list(values: Any) -> Any:
    return tuple(_rounded(value) for value in values)
