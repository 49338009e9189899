"""Run by an interpreter that has lerobot: load a dataset offline and write down what it gives.

python read_with_lerobot.py DATASET OUT.npz
"""

import json
import sys

import numpy as np
import torch

# Beside a CPU-only torch, torchvision's compiled operators are missing; two must be declared.
library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
torch.set_num_threads(1)

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

root, out = sys.argv[1:]
steps = [i / 30 for i in range(5)]
dataset = LeRobotDataset(
    "local/made", root=root, video_backend="pyav", delta_timestamps={"action": steps}
)
items = [dataset[i] for i in range(len(dataset))]
columns = [key for key in items[0] if key != "task"]
arrays = {key: np.stack([np.asarray(item[key]) for item in items]) for key in columns}
arrays["tasks"] = np.array([item["task"] for item in items])
arrays["episodes"] = np.array(dataset.num_episodes)
arrays["fps"] = np.array(dataset.fps)
loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=0)
arrays["batch_state"] = np.asarray(next(iter(loader))["observation.state"])
stats = {
    key: {name: np.asarray(value).tolist() for name, value in item.items()}
    for key, item in dataset.meta.stats.items()
}
arrays["stats"] = np.array(json.dumps(stats))
np.savez(out, **arrays)
