"""Writes a small dataset with LeRobot itself; run with an interpreter that has lerobot.

Then reads it back the same way and saves what came out, for comparison: ROOT OUT.npz
"""

import sys

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")  # lets a wheel for CUDA import
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
torch.set_num_threads(1)
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

HEIGHT, WIDTH, FPS = 48, 64, 30
LENGTHS = (6, 9)
TASKS = ("put the can into the box", "pour")
CAMERAS = ("observation.images.image_1", "observation.images.image_2")


def picture(row, camera):
    x, y = np.arange(WIDTH)[None], np.arange(HEIGHT)[:, None]
    planes = [x * 3 + 9 * row, y * 4 + 30 * camera, x + y + 5 * row]
    return np.stack([np.broadcast_to(p, (HEIGHT, WIDTH)) % 256 for p in planes], -1)


def write(root, *, video):
    vector = {"dtype": "float32", "shape": (3,), "names": ["joint1", "joint2", "gripper"]}
    features = {"observation.state": vector, "action": vector}
    for camera in CAMERAS:
        names = ["height", "width", "channels"]
        kind = "video" if video else "image"
        features[camera] = {"dtype": kind, "shape": (HEIGHT, WIDTH, 3), "names": names}
    dataset = LeRobotDataset.create(
        "local/test", FPS, features, root=root, robot_type="xarm6", use_videos=video
    )
    row = 0
    for length, task in zip(LENGTHS, TASKS, strict=True):
        for _ in range(length):
            state = np.array([row, row + 0.1, row + 0.2], np.float32)
            frame = {"observation.state": state, "action": state + np.float32(0.5)}
            for number, camera in enumerate(CAMERAS):
                frame[camera] = picture(row, number).astype(np.uint8)
            if hasattr(dataset, "finalize"):
                dataset.add_frame({**frame, "task": task})
            else:
                dataset.add_frame(frame, task=task)
            row += 1
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()


def read(root):
    dataset = LeRobotDataset(
        "local/test",
        root=root,
        video_backend="pyav",
        delta_timestamps={"action": [step / FPS for step in range(4)]},
    )
    items = [dataset[row] for row in range(len(dataset))]
    images = [[(item[camera] * 255).round().byte() for camera in CAMERAS] for item in items]
    return {
        "images": np.stack([torch.stack(pair).permute(0, 2, 3, 1).numpy() for pair in images]),
        "state": np.stack([item["observation.state"].numpy() for item in items]),
        "action": np.stack([item["action"].numpy() for item in items]),
        "pad": np.stack([item["action_is_pad"].numpy() for item in items]),
        "task": np.array([item["task"] for item in items]),
    }


if __name__ == "__main__":
    write(sys.argv[1], video=sys.argv[3] == "video")
    np.savez(sys.argv[2], **read(sys.argv[1]))
