"""The worst of the last seams, for people who watch. No ROS, no torch."""

from collections import deque
from dataclasses import dataclass

from evo1_policy.control.signals import SeamReport

KEPT = 100  # chunks


@dataclass(frozen=True, kw_only=True)
class WorstSeam:
    """Largest values over the last seams; before the first, those of a perfect one."""

    seams: int = 0
    position_jump_rad: float = 0.0
    velocity_jump_rad_s: float = 0.0
    acceleration_jump_rad_s2: float = 0.0
    jerk_rad_s3: float = 0.0
    chunk_offset_rad: float = 0.0
    smoothed_rad: float = 0.0
    stretch: float = 1.0


class SeamLog:
    """Remembers the last seams."""

    def __init__(self) -> None:
        self._seams: deque[SeamReport] = deque(maxlen=KEPT)

    def add(self, seam: SeamReport) -> None:
        """Remember one."""
        self._seams.append(seam)

    def worst(self) -> WorstSeam:
        """The largest of each value, not of one seam."""
        seams = self._seams
        return WorstSeam(
            seams=len(seams),
            position_jump_rad=max((seam.position_jump_rad for seam in seams), default=0.0),
            velocity_jump_rad_s=max((seam.velocity_jump_rad_s for seam in seams), default=0.0),
            acceleration_jump_rad_s2=max(
                (seam.acceleration_jump_rad_s2 for seam in seams), default=0.0
            ),
            jerk_rad_s3=max((seam.jerk_rad_s3 for seam in seams), default=0.0),
            chunk_offset_rad=max((seam.chunk_offset_rad for seam in seams), default=0.0),
            smoothed_rad=max((seam.smoothed_rad for seam in seams), default=0.0),
            stretch=max((seam.stretch for seam in seams), default=1.0),
        )
