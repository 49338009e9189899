"""Recordings to judge, made by hand."""

from dataclasses import replace

import numpy as np

from evo1_bringup.demo.recording import (
    ChunkHeard,
    CommandHeard,
    Recording,
    StatusHeard,
    StreamHeard,
    TaskHeard,
)
from evo1_sim.trajectory import TrajectoryPoint

START_NS = 1_000_000_000_000
SECOND_NS = 1_000_000_000
ARM = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6")


def stream(rate_hz: float, seconds: float = 8.0) -> StreamHeard:
    stamps = START_NS + np.arange(0, seconds, 1 / rate_hz) * 1e9
    return StreamHeard(
        stamps_ns=stamps.astype(np.int64), received_ns=(stamps + 2e6).astype(np.int64)
    )


def status(at_s: float, frames: int, **fields: object) -> StatusHeard:
    made = StatusHeard(
        received_ns=START_NS + round(at_s * 1e9),
        stamp_ns=START_NS + round(at_s * 1e9),
        state="RUNNING",
        reason_code="",
        reason="",
        recovers_by_itself=False,
        observation_age_ms=20.0,
        observation_skew_ms=0.5,
        chunks_published=3,
        chunks_rejected=0,
        safety_interventions=0,
        frames_received={"image_1": frames, "image_2": frames},
        frames_rejected={"image_1": 0, "image_2": 0},
    )
    return replace(made, **fields)


def chunk(at_s: float, **fields: object) -> ChunkHeard:
    made = ChunkHeard(
        received_ns=START_NS + round(at_s * 1e9),
        stamp_ns=START_NS + round(at_s * 1e9) - 60_000_000,
        start_ns=START_NS + round(at_s * 1e9),
        chunk_id=1,
        inference_ms=50.0,
        overhead_ms=4.0,
        position_jump_rad=1e-9,
        velocity_jump_rad_s=1e-8,
        stretch=1.0,
        clipped_points=0,
        limited_points=0,
    )
    return replace(made, **fields)


def ramp(
    at_s: float, begin: float, end: float, *, seconds: float = 1.0, output: int = 0
) -> CommandHeard:
    """joint1 from `begin` to `end` on a line that ends at rest; the others stay at 0."""
    names = ARM if output == 0 else ("drive_joint",)
    still = (0.0,) * (len(names) - 1)
    return CommandHeard(
        output=output,
        received_ns=START_NS + round(at_s * 1e9),
        stamp_ns=START_NS + round(at_s * 1e9),
        joint_names=names,
        points=(
            TrajectoryPoint(
                positions=(begin, *still), velocities=(0.0, *still), time_from_start_ns=0
            ),
            TrajectoryPoint(
                positions=(end, *still),
                velocities=(0.0, *still),
                time_from_start_ns=round(seconds * 1e9),
            ),
        ),
    )


def good() -> Recording:
    """Eight seconds of a run without a fault."""
    joints = stream(100.0)
    positions = np.zeros((len(joints.stamps_ns), 7))
    positions[:, 0] = np.linspace(0.0, 0.5, len(positions))
    cameras = {"image_1": stream(30.0), "image_2": stream(30.0)}
    return Recording(
        start_ns=START_NS,
        end_ns=START_NS + 8 * SECOND_NS,
        joint_names=(*ARM, "drive_joint"),
        streams={**cameras, "joint_states": joints},
        published=cameras,
        joint_positions=positions,
        commands=(ramp(0.5, 0.0, 0.3), ramp(1.5, 0.3, 0.5)),
        chunks=(chunk(0.5), chunk(1.5, inference_ms=70.0)),
        statuses=tuple(status(t / 10, 100 + t * 3) for t in range(1, 80)),
        tasks=(TaskHeard(received_ns=START_NS, task="can_into_box", success=False, detail="out"),),
        publishers={"joint_states": 1},
    )
