"""What conversion writes, the reader reads: the same frames, numbers and marks."""

import numpy as np
import pytest

from evo1_policy.robot_config import load_robot
from evo1_training.datasets.lerobot.encoding import encode_episode
from evo1_training.datasets.lerobot.schema import AlignedFrame, DatasetSchema
from evo1_training.datasets.lerobot.writing import open_dataset

HEIGHT, WIDTH, LENGTH, STEP_NS = 48, 64, 6, 33_333_333
SOURCE_NS = 1_000_000_000


@pytest.fixture(scope="module")
def robot(robots_dir):
    return load_robot(robots_dir / "xarm6.yaml")


def picture(k, camera):
    """Stripes that move, with little for a codec to lose."""
    columns = (np.arange(WIDTH) // 16 * 40 + 12 * k + 50 * camera) % 200 + 20
    return np.broadcast_to(columns[None, :, None], (HEIGHT, WIDTH, 3)).astype(np.uint8)


def frames(robot, episode):
    for k in range(LENGTH):
        tick_ns = SOURCE_NS + k * STEP_NS
        names = [camera.name for camera in robot.cameras]
        state = np.array(robot.home) + 0.01 * (10 * episode + k)
        yield AlignedFrame(
            tick_ns=tick_ns,
            images={name: picture(k + 10 * episode, i) for i, name in enumerate(names)},
            state=state,
            action=state + 0.005,
            source_stamps_ns=dict.fromkeys([*names, "joint_states"], tick_ns),
            skew_ns=0,
            held=k == 2,
        )


@pytest.mark.parametrize("storage", ["h264", "png"])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_converted_episodes_come_back_as_they_were(
    tmp_path, open_samples, robot, version, storage
):
    sizes = {camera.name: (HEIGHT, WIDTH) for camera in robot.cameras}
    schema = DatasetSchema(interface=robot.interface, fps=30, image_sizes=sizes, storage=storage)
    writer = open_dataset(tmp_path / "set", schema, version=version, append=False)
    for episode, task in enumerate(("pour", "stack the cans")):
        encoded = encode_episode(
            frames(robot, episode),
            schema=schema,
            instruction=task,
            source=f"episode_{episode:06d}",
            folder=tmp_path / f"encoded_{episode}",
        )
        writer.add(encoded)
    writer.close()

    samples = open_samples(tmp_path / "set", robot=robot, horizon=4, mask_held=True)
    assert len(samples) == 2 * LENGTH
    for row, sample in enumerate(samples):
        episode, k = divmod(row, LENGTH)
        expected = list(frames(robot, episode))
        assert sample.instruction == ("pour", "stack the cans")[episode]
        assert (sample.state == expected[k].state.astype(np.float32)).all()
        chunk = [expected[min(k + j, LENGTH - 1)].action for j in range(4)]
        assert (sample.actions == np.array(chunk, np.float32)).all()
        assert sample.action_mask.tolist() == [k + j < LENGTH and k + j != 2 for j in range(4)]
        wanted = np.stack(list(expected[k].images.values())).astype(int)
        error = np.abs(sample.images - wanted).mean()
        assert error == 0 if storage == "png" else error < 6
