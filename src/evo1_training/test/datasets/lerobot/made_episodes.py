"""Frames that look recorded: moving gradients and smooth joints."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evo1_policy.robot_config import load_robot
from evo1_training.datasets.lerobot.encoding import EncodedEpisode, encode_episode
from evo1_training.datasets.lerobot.schema import AlignedFrame, DatasetSchema, Storage

ROBOT = load_robot(Path(__file__).parents[4] / "evo1_bringup" / "robots" / "xarm6.yaml")
STEP_NS = 33_333_333
HEIGHT, WIDTH = 48, 64


def schema(storage: Storage = "h264", size: tuple[int, int] = (HEIGHT, WIDTH)) -> DatasetSchema:
    return DatasetSchema(
        interface=ROBOT.interface,
        fps=30,
        image_sizes={"image_1": size, "image_2": size},
        storage=storage,
    )


def picture(episode: int, index: int, camera: int) -> np.ndarray:
    """(48, 64, 3) uint8 that shows which frame it is."""
    across, down = np.arange(WIDTH)[None, :], np.arange(HEIGHT)[:, None]
    shift = 2 * index + 20 * episode + 40 * camera
    channels = (across * 2 + shift, down * 3 + shift, across + down + shift)
    wave = [128 + 100 * np.sin(np.broadcast_to(item, (HEIGHT, WIDTH)) / 40) for item in channels]
    return np.stack(wave, axis=-1).astype(np.uint8)


def joints(episode: int, index: int) -> np.ndarray:
    """(7,) rad."""
    return np.array([0.5 * math.sin(index / 30 + joint + episode) for joint in range(7)])


def frames(episode: int, count: int) -> Iterator[AlignedFrame]:
    for index in range(count):
        tick = 1_700_000_000_000_000_000 + index * STEP_NS
        yield AlignedFrame(
            tick_ns=tick,
            images={
                "image_1": picture(episode, index, 0),
                "image_2": picture(episode, index, 1),
            },
            state=joints(episode, index),
            action=joints(episode, index + 1),
            source_stamps_ns={
                "image_1": tick,
                "image_2": tick - 2_000_000,
                "joint_states": tick - 1_000_000,
            },
            skew_ns=2_000_000,
            held=index == 3,
            intervention=index > 5,
        )


def encoded(
    folder: Path,
    episode: int = 0,
    count: int = 8,
    *,
    task: str = "put the can into the box",
    storage: Storage = "h264",
) -> EncodedEpisode:
    return encode_episode(
        frames(episode, count),
        schema=schema(storage),
        instruction=task,
        source=f"episode_{episode:06d}#0",
        folder=folder / f"encoded_{episode}",
    )
