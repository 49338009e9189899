"""MJCF of the things on the table, and whether one is inside another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_sim.tasks.cell import Cell

RED = "0.80 0.07 0.06 1"
BLUE = "0.10 0.25 0.75 1"
WHITE = "0.95 0.95 0.93 1"


@dataclass(frozen=True, kw_only=True)
class Can:
    """A standing drink can; its frame is at its centre, z along it."""

    name: str = "can"
    radius: float = 0.028  # m
    height: float = 0.100  # m
    mass: float = 0.12  # kg
    rgba: str = RED

    def body(self) -> str:
        """MJCF of the can: the wall with a lid and a band for the eye, and unseen flat ends.

        Ends that are boxes touch a box or another can in four points, where a cylinder has one.
        """
        half = self.height / 2
        end = f'type="box" mass="0" size="{self.radius * 0.7} {self.radius * 0.7} 0.002"'
        lid = 'class="look" rgba="0.58 0.59 0.61 1"'
        return f"""
    <body name="{self.name}" pos="0 0 {half}">
      <freejoint/>
      <geom name="{self.name}" type="cylinder" size="{self.radius} {half}" mass="{self.mass}"
        rgba="{self.rgba}"/>
      <geom {end} pos="0 0 {half - 0.002}" rgba="0 0 0 0"/>
      <geom {end} pos="0 0 {0.002 - half}" rgba="0 0 0 0"/>
      <geom {lid} type="cylinder" pos="0 0 {half}" size="{self.radius * 0.78} 0.0008"/>
      <geom {lid} type="cylinder" pos="0 0 {-half}" size="{self.radius * 0.78} 0.0008"/>
      <geom class="look" type="cylinder" pos="0 0 0" size="{self.radius + 0.0003} 0.012"
        rgba="0.95 0.93 0.90 1"/>
    </body>"""

    def points(self, cell: Cell) -> npt.NDArray[np.float64]:
        """Points on both rims (N, 3) in the world [m]: the can's hull."""
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ends = [np.insert(ring, 2, z, axis=1) for z in (-self.height / 2, self.height / 2)]
        return np.asarray(
            np.concatenate(ends) @ cell.rotation(self.name).T + cell.position(self.name)
        )


@dataclass(frozen=True, kw_only=True)
class Cube:
    """A wooden cube; its frame is at its centre."""

    name: str = "cube"
    side: float = 0.025  # m
    mass: float = 0.02  # kg
    rgba: str = RED

    def body(self) -> str:
        """MJCF of the cube."""
        half = self.side / 2
        return f"""
    <body name="{self.name}" pos="0 0 {half}">
      <freejoint/>
      <geom name="{self.name}" type="box" size="{half} {half} {half}" mass="{self.mass}"
        condim="6" rgba="{self.rgba}"/>
    </body>"""

    def points(self, cell: Cell) -> npt.NDArray[np.float64]:
        """Its corners (8, 3) in the world [m]."""
        signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, 8).T
        corners = signs * self.side / 2
        return np.asarray(corners @ cell.rotation(self.name).T + cell.position(self.name))


@dataclass(frozen=True, kw_only=True)
class OpenBox:
    """A box without a lid; its frame is at the middle of its underside."""

    name: str = "box"
    inner_x: float  # m
    inner_y: float  # m
    height: float  # m, outside
    wall: float = 0.005  # m
    mass: float = 0.6  # kg
    rgba: str = WHITE

    def body(self) -> str:
        """MJCF of the floor and the four walls."""
        x, y, w, half = self.inner_x / 2, self.inner_y / 2, self.wall / 2, self.height / 2
        part = f'type="box" mass="{self.mass / 5}" rgba="{self.rgba}"'
        inside = 'rgba="0.80 0.81 0.82 1"'  # a darker floor, so that the eye sees the depth
        return f"""
    <body name="{self.name}">
      <freejoint/>
      <geom name="{self.name}_floor" {part} pos="0 0 {w}" size="{x} {y} {w}"/>
      <geom class="look" type="box" pos="0 0 {2 * w}" size="{x} {y} 0.0004" {inside}/>
      <geom {part} pos="{x + w} 0 {half}" size="{w} {y + 2 * w} {half}"/>
      <geom {part} pos="{-x - w} 0 {half}" size="{w} {y + 2 * w} {half}"/>
      <geom {part} pos="0 {y + w} {half}" size="{x} {w} {half}"/>
      <geom {part} pos="0 {-y - w} {half}" size="{x} {w} {half}"/>
    </body>"""

    def missing(self, points: npt.NDArray[np.float64], cell: Cell, what: str) -> tuple[str, ...]:
        """What keeps all `points` (N, 3) [m] of an object from being inside; empty: inside."""
        local = (points - cell.position(self.name)) @ cell.rotation(self.name)
        problems = []
        if not cell.upright(self.name):
            problems.append(f"the {self.name} is tipped over")
        if not self._within(local).all():
            problems.append(f"the {what} is not within the walls of the {self.name}")
        elif local[:, 2].max() > self.height:
            problems.append(f"the {what} sticks out above the rim of the {self.name}")
        return tuple(problems)

    def around(self, points: npt.NDArray[np.float64], cell: Cell) -> npt.NDArray[np.bool_]:
        """Which of the points (N, 3) [m] are inside (N,)."""
        local = (points - cell.position(self.name)) @ cell.rotation(self.name)
        return self._within(local) & (local[:, 2] > 0.0) & (local[:, 2] <= self.height)

    def _within(self, local: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which of the points (N, 3) of its own frame [m] are between the walls (N,)."""
        slack = 0.002  # contacts are soft
        limits = np.array([self.inner_x / 2, self.inner_y / 2]) + slack
        return np.asarray(np.all(np.abs(local[:, :2]) <= limits, axis=1))
