"""A new arm costs one file: from its URDF to a policy that runs and is replayed."""

import dataclasses
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from evo1_bringup import new_robot
from evo1_policy.observation import Observation
from evo1_policy.perception.messages import deserialize
from evo1_policy.perception.streams import Streams
from evo1_policy.policy import Policy
from evo1_policy.replay.bag import open_bag
from evo1_policy.replay.replaying import replay
from evo1_policy.robot_config import load_robot
from evo1_sim.arms import find_arm
from evo1_sim.closed_loop import SITUATIONS, ClosedLoop
from evo1_sim.controller import ControllerSettings
from evo1_sim.rehearsals import Demonstration, Rehearsal
from evo1_sim.tasks.pick_and_place import FreeMotion
from evo1_sim.world import World
from evo1_training.cli import convert, train
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.simulated_takes import SimulatedTakes
from evo1_training.training.config_values import plain, to_yaml
from evo1_training.training.presets import preset
from evo1_training.training.train_config import SavingConfig, WatchingConfig

pytestmark = pytest.mark.gl

SOURCES = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(SOURCES / "evo1_training/test/training"),
    str(SOURCES / "evo1_policy/test/replay"),
]
WORDS = "wave with the lift"

JOINT = """
  <link name="{child}"/>
  <joint name="{name}" type="{kind}">
    <parent link="{parent}"/><child link="{child}"/>
    <origin xyz="0 0 0.12" rpy="{turn} 0 0"/><axis xyz="0 0 1"/>
    <limit lower="{lower}" upper="{upper}" velocity="{velocity}" effort="1"/>
  </joint>"""


def urdf_text():
    """Seven joints that turn, a finger that slides, and a camera over the table."""
    parts, parent = [], "base"
    for number in range(1, 8):
        turn = 1.57 * (-1) ** number
        at = {"name": f"turn{number}", "child": f"link{number}", "parent": parent, "turn": turn}
        parts.append(JOINT.format(kind="revolute", lower=-2.5, upper=2.5, velocity=1.5, **at))
        parent = f"link{number}"
    at = {"name": "finger_joint", "child": "finger", "parent": parent, "turn": 0}
    parts.append(JOINT.format(kind="prismatic", lower=0, upper=0.05, velocity=0.1, **at))
    return f'<robot name="mine"><link name="base"/><link name="top_camera"/>{"".join(parts)}' + (
        '<joint name="post" type="fixed"><parent link="base"/><child link="top_camera"/></joint>'
        "</robot>"
    )


def sway(robot, seconds, seed):
    """A demonstration that waves every joint within its limits."""
    times = np.arange(0, seconds, 1 / 30)[:, None]
    phase = np.arange(robot.width) + seed
    room = 0.2 * np.minimum(robot.position_max, 2.0)
    swing = room * np.sin(0.6 * times + phase) - room * np.sin(phase)
    path = np.clip(np.array(robot.home) + swing, robot.position_min, robot.position_max)
    demonstration = Demonstration(
        task="free", seed=seed, instruction=WORDS, joint_names=robot.joint_names, path=path
    )
    return Rehearsal(demonstration=demonstration, sway=np.zeros_like(path), pushed=False)


def record(robot, root):
    """Two takes of the kinematic arm, by the recorder's own session."""
    takes = SimulatedTakes(
        robot, World(find_arm(robot.name, robot)), EpisodeStore(root), width=64, height=48
    )
    attempts = [takes.record(sway(robot, 1.2, seed)) for seed in (0, 1)]
    takes.close()
    return attempts


def training(robot, dataset, runs):
    """A few steps of the smallest model."""
    from swaying_arm import MODEL

    tiny = preset("tiny")
    stage = dataclasses.replace(tiny.stage2, steps=2, batch_size=2, warmup_steps=0)
    config = dataclasses.replace(
        tiny,
        single=stage,
        runs=str(runs),
        device="cpu",
        precision="fp32",
        data=dataclasses.replace(
            tiny.data, datasets=(), root=str(dataset.parent), cache_dir=str(runs / "frames")
        ),
        saving=SavingConfig(every=2),
        watching=WatchingConfig(open_loop_frames=2, plots=False),
        model=dataclasses.replace(MODEL, views=len(robot.cameras), horizon=24),
    )
    file = runs / "choices.yaml"
    runs.mkdir()
    file.write_text(to_yaml(plain(config)))
    return file


class Driven(ClosedLoop):
    """The policy loop, driven by a true policy that sees a grey picture."""

    def __init__(self, policy, robot, situation, controller):
        super().__init__(robot, situation, controller)
        self._policy = policy

    def _observe(self, now_ns, seen_ns):
        seen = super()._observe(now_ns, seen_ns)
        grey = np.full((48, 64, 3), 128, np.uint8)
        images = {camera.name: grey for camera in self._robot.cameras}
        return dataclasses.replace(seen, images=images, instruction=WORDS)

    def _result(self, now_ns):
        request = self._inference[1] if self._inference else None
        done = super()._result(now_ns)
        if done is None:
            return None
        return dataclasses.replace(done, chunk=self._policy.infer(request.observation))


def with_chunks(episode, robot, policy, to):
    """The episode as a bag in which a policy looked on and told its chunks."""
    import recorded_run

    recorded_run.NAMES = robot.joint_names
    told = recorded_run.Run(old=True)
    streams, looked_ns = Streams(robot), 0
    cameras = {f"/{camera.topic}": camera.name for camera in robot.cameras}
    with open_bag(episode) as bag:
        for message in bag.messages([*cameras, f"/{robot.state.topic}"]):
            now_ns = message.log_ns
            content = deserialize(message.data, message.type, topic=message.topic)
            told.messages.append((now_ns, message.topic, message.type, message.data))
            stamp_ns = recorded_run.stamp_of(message.data)
            if message.topic in cameras:
                pixels = content.data.reshape(content.height, content.width, 3)
                name = cameras[message.topic]
                streams.add_image(name, pixels, stamp_ns=stamp_ns, received_ns=now_ns)
            else:
                streams.add_joints(
                    robot.joint_names, content.position, stamp_ns=stamp_ns, received_ns=now_ns
                )
            seen = streams.sample(now_ns, WORDS)
            if isinstance(seen, Observation) and now_ns > looked_ns + 300_000_000:
                looked_ns = now_ns
                chunk = policy.infer(seen)
                report = recorded_run.chunk_message(
                    len(told.made),
                    chunk,
                    seen,
                    old=True,
                    embodiment=robot.embodiment,
                    model_hash=policy.model_hash,
                )
                told.made.append(chunk)
                told.add(now_ns + 1, recorded_run.CHUNK_TOPIC, recorded_run.CHUNK_TYPE, report)
    return told.write(to, notes=False), len(told.made)


def test_a_new_arm_is_recorded_trained_run_and_replayed_from_its_file_alone(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(FreeMotion, "missing", lambda self, cell: ())  # a person found it good
    (tmp_path / "mine.urdf").write_text(urdf_text())
    file = tmp_path / "mine.yaml"
    answers = ("acceleration=4", "max_start_error_rad=0.5", "max_tracking_error_rad=0.3")
    words = ["mine", "--urdf", str(tmp_path / "mine.urdf"), "--to", str(file)]
    assert new_robot.main([*words, *(w for answer in answers for w in ("--set", answer))]) == 0
    robot = load_robot(file)
    assert robot.joint_names == (*(f"turn{i}" for i in range(1, 8)), "finger_joint")
    assert (robot.joints[-1].unit, robot.gripper.open) == ("m", 0.05)
    assert [camera.topic for camera in robot.cameras] == ["top_camera/image_raw"]

    attempts = record(robot, tmp_path / "episodes")
    assert [(attempt.detail, attempt.take.grade) for attempt in attempts] == [("", "pass")] * 2

    dataset = tmp_path / "data" / "waves"
    assert convert.main([str(tmp_path / "episodes"), "--to", str(dataset), "--workers", "1"]) == 0
    choices = training(robot, dataset, tmp_path / "runs")
    chosen = ["--single-stage", "--config", str(choices), "data.workers=0"]
    assert train.main(chosen) == 0, capsys.readouterr().err
    (best,) = (tmp_path / "runs" / "waves").glob("*/best")
    assert yaml.safe_load((best / "robot.yaml").read_text())["name"] == "mine"

    load = partial(Policy.load, best, device="cpu")
    loop = Driven(
        load(robot=robot), robot, SITUATIONS[0], ControllerSettings(update_rate_hz=100.0)
    )
    loop.run(1.5)
    measured = loop.measure()
    assert measured.sent > 0
    assert (measured.refused, measured.reasons) == (0, ())

    (episode, _) = sorted((tmp_path / "episodes").iterdir())
    bag, count = with_chunks(episode, robot, load(robot=robot, seed=3), tmp_path / "bag")
    report = replay(
        bag, lambda robot, seed, steps: load(robot=robot, seed=seed), robot_file=file, seed=3
    )
    assert report.passed
    assert len(report.compared) == count >= 3
