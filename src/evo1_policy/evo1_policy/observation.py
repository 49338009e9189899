"""What the policy sees at one instant. Must not import ROS or torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evo1_policy.action_chunk import Floats

MOST_INSTRUCTION = 1000  # characters; models read a tenth of it


def instruction_problem(text: str) -> str:
    """Why words cannot be an instruction, whoever says them; '' where they can."""
    if not text.strip():
        return "the instruction is empty; say in words what to do"
    if len(text) > MOST_INSTRUCTION:
        return f"the instruction has {len(text):,} characters; at most {MOST_INSTRUCTION:,}"
    odd = next((char for char in text.strip() if not (char.isprintable() or char == "\u3000")), "")
    if odd:
        return f"the instruction holds a control character (U+{ord(odd):04X}); say it in words"
    return ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One settled observation at the reference camera's tick.

    Attributes:
        images: camera name -> (H, W, 3) uint8 RGB, in the robot file's order; those of a stream
            are decoded when they are looked at, which may raise perception.frames'
            DamagedImageError.
        state: (D,) float64 [rad], in the robot file's joint order, at stamp_ns.
        instruction: what to do, in words.
        stamp_ns: capture time of the reference camera's frame [ns].
        received_ns: when its last message had arrived, same clock [ns].
        skew_ns: largest distance between the stamps of any two of its images [ns].
        source_stamps_ns: stream name -> stamp of the sample used [ns].
    """

    images: Mapping[str, npt.NDArray[np.uint8]]
    state: Floats
    instruction: str
    stamp_ns: int
    received_ns: int
    skew_ns: int
    source_stamps_ns: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why there is no observation. A missing observation is a type, never a black image.

    Attributes:
        stream: name of the stream at fault (a camera's name, or 'joint_states').
        code: short reason: 'never', 'stale', 'clock', 'skew', 'joint', 'pending' (will settle by
            itself within a frame; no reason to hold).
        message: for people, with topic, numbers and what to do.
    """

    stream: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class JointSample:
    """Measured joint positions (D,) float64 [rad] in the robot file's order, at stamp_ns."""

    positions: Floats
    stamp_ns: int
