"""Recordings to judge, made by hand."""

from types import SimpleNamespace

import numpy as np

from evo1_policy.control.signals import LoopState
from evo1_sim.trajectory import TrajectoryPoint
from evo1_training.live_run.recording import CommandHeard, Recording, StreamHeard

START_NS = 1_000_000_000_000
SECOND_NS = 1_000_000_000
ARM = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6")


def stream(rate_hz: float, seconds: float = 8.0) -> StreamHeard:
    stamps = START_NS + np.arange(0, seconds, 1 / rate_hz) * 1e9
    return StreamHeard(
        stamps_ns=stamps.astype(np.int64), received_ns=(stamps + 2e6).astype(np.int64)
    )


def stamp(ns: int) -> SimpleNamespace:
    return SimpleNamespace(sec=ns // SECOND_NS, nanosec=ns % SECOND_NS)


def status(at_s: float, frames: int, **fields: object) -> SimpleNamespace:
    """A PolicyStatus message of that moment."""
    names = ("image_1", "image_2")
    made = {
        "header": SimpleNamespace(stamp=stamp(START_NS + round(at_s * 1e9))),
        "state": LoopState.RUNNING.value,
        "reason_code": "",
        "reason": "",
        "observation_age_ms": 20.0,
        "observation_skew_ms": 0.5,
        "chunks_rejected": 0,
        "streams": [SimpleNamespace(name=n, received=frames, rejected=0) for n in names],
    }
    return SimpleNamespace(**made | fields)


def chunk(*, inference_ms: float = 50.0, **seam: object) -> SimpleNamespace:
    """An ActionChunk message."""
    made = {
        "position_jump_rad": 1e-9,
        "velocity_jump_rad_s": 1e-8,
        "stretch": 1.0,
        "clipped_points": 0,
        "limited_points": 0,
    }
    return SimpleNamespace(
        latency=SimpleNamespace(
            inference_ms=inference_ms, overhead_ms=4.0, capture_to_receive_ms=1.0
        ),
        seam=SimpleNamespace(**made | seam),
    )


def task(*, success: bool, detail: str) -> SimpleNamespace:
    """A TaskStatus message."""
    return SimpleNamespace(task="can_into_box", success=success, detail=detail)


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
        chunks=(chunk(), chunk(inference_ms=70.0)),
        chunks_received_ns=(START_NS + SECOND_NS // 2, START_NS + 3 * SECOND_NS // 2),
        statuses=tuple(status(t / 10, 100 + t * 3) for t in range(1, 80)),
        tasks=(task(success=False, detail="out"),),
        publishers={"joint_states": 1},
    )
