"""Three ways in for who has data or weights already: each command prints the one to type next."""

import contextlib
import importlib
import io
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "evo1_training/test"))
sys.path.insert(0, str(Path(sys.path[0]) / "training"))
sys.path.insert(0, str(Path(sys.path[0]).parent / "datasets/reader"))
import foreign_dataset
from bag_writing import IMAGE, JOINT_STATE, Recording, at, joints_cdr, picture
from foreign_bags import STRING, say, write_bag
from swaying_arm import MODEL, PUBLISHED

from evo1_bringup.cli import PROGRAMS, parse_assignments
from evo1_bringup.system import systems_of
from evo1_policy.checkpoint import read_checkpoint, save_checkpoint, shipped_checkpoint
from evo1_policy.checkpoint_layouts import lerobot, official
from evo1_policy.model.evo1 import new_model
from evo1_policy.observation import Observation
from evo1_policy.policy import Policy
from evo1_policy.robot_config import load_robot
from evo1_sim.tasks import TASKS
from evo1_training import next_commands
from evo1_training.training.config_values import plain, to_yaml

LEROBOT_DEGREES = foreign_dataset.Foreign(
    scale=45.0,
    middle=(0.0, 0.0, 0.0, 0.0, 0.0, 50.0),
    cameras={"observation.images.front": 3, "observation.images.laptop": 3},
)
COMMAND = re.compile(r"evo1 (?:[a-z-]+) .*")
LINE_OF_A_MAP = re.compile(r"'((?:cameras|state|action): .*?)'(?=[;,.]|$| )")


class Shell:
    """Types commands in this process, and reads what they say."""

    def __init__(self, small: Path) -> None:
        self._small = small
        self.typed: list[str] = []

    def type(self, line: str) -> tuple[int, str]:
        """Exit status and all that was said."""
        program, *words = shlex.split(line)[1:]
        package, name = PROGRAMS[program]
        if program == "train":  # as few steps, and as small a model, as can be
            words += [
                *([] if "2" in words or "--from" in words else ["--config", str(self._small)]),
                *("steps=1", "batch_size=2", "warmup_steps=0", "watching.open_loop_frames=2"),
                *("data.workers=0", "data.cache_dir=", "device=cpu", "precision=fp32"),
                *("watching.plots=false", "watching.tensorboard=false"),
            ]
        main = importlib.import_module(f"{package}.cli.{name}").main
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main(words)
        self.typed.append(program)
        return status, said.getvalue()

    def follow(self, line: str, *, to: str = "launch") -> str:
        """Type a line, and the first that each tells to type next, up to a program."""
        while not line.startswith(f"evo1 {to} "):
            status, said = self.type(line)
            assert status == 0, said
            line = following(said)
        return line


def following(said: str) -> str:
    """What a command tells to type next; trials in simulation are left out here."""
    told = COMMAND.findall(re.split(r"next: |Next:\n", said)[-1])
    return next(line for line in told if not line.startswith("evo1 evaluate "))


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(next_commands, "_program", lambda: "evo1")
    (tmp_path / "small.yaml").write_text(to_yaml({"model": plain(MODEL), "from_scratch": True}))
    return Shell(tmp_path / "small.yaml")


@pytest.fixture
def pick_from_the_hub(tmp_path, monkeypatch):
    """An SO-101's dataset as LeRobot records it in degrees, of a task that the simulation has."""
    monkeypatch.setattr(foreign_dataset, "TASKS", (TASKS["so101"][0].instruction, "wave"))
    return foreign_dataset.write(tmp_path / "so101 pick", LEROBOT_DEGREES)


def drives(launch: str) -> None:
    """A launch line starts a policy that answers with this robot's angles."""
    name, *words = shlex.split(launch)[2:]
    (system,) = systems_of(name, parse_assignments(words))
    (node,) = (one for one in system.processes if one.executable == "policy_node")
    robot = system.robot
    policy = Policy.load(node.parameters["checkpoint"], robot=robot, device="cpu")
    image = np.zeros((24, 32, 3), np.uint8)
    seen = Observation(
        images={camera.name: image for camera in robot.cameras},
        state=np.array(robot.home),
        instruction=node.parameters["instruction"] or "pick",
        stamp_ns=0,
        received_ns=0,
        skew_ns=0,
    )
    actions = policy.infer(seen).actions
    low, high = robot.position_min - 1.5, robot.position_max + 1.5
    assert ((actions > low) & (actions < high)).all()  # degrees would be tens


def test_a_dataset_in_degrees_becomes_a_policy_by_the_commands_that_are_printed(
    shell, pick_from_the_hub
):
    status, said = shell.type(f"evo1 adopt '{pick_from_the_hub}' --robot so101")
    assert status == 1  # units and cameras are nobody's to guess
    launch = shell.follow(COMMAND.findall(said)[-1])
    assert shell.typed == ["adopt", "adopt", "check-dataset", "train", "train"]
    drives(launch)


def test_bags_of_another_recorder_become_a_policy_by_what_is_printed(shell, tmp_path):
    for k in range(2):
        write_bag(tmp_path / "bags" / f"rosbag2_{k}", recorded_in_degrees(1.5))
    line, said, lines = "evo1 convert bags --robot so101 --to mine", "", {}
    line += " --storage png --workers 1 --instruction pick"
    for _ in range(4):  # topics, the names of the joints, their units, and done
        status, said = shell.type(line if not lines else f"{line} --map topics.yaml")
        if status == 0:
            break
        lines |= {one.partition(":")[0]: one for one in LINE_OF_A_MAP.findall(said)}
        (tmp_path / "topics.yaml").write_text("\n".join(lines.values()))
    assert status == 0, said
    assert yaml.safe_load((tmp_path / "topics.yaml").read_text())["cameras"] == {
        "image_1": "/front/image_raw",
        "image_2": "/laptop/image_raw",
    }
    drives(shell.follow(following(said)))


def test_the_authors_weights_become_a_policy_of_your_arm_by_what_is_printed(
    shell, pick_from_the_hub, tmp_path, monkeypatch
):
    monkeypatch.setattr(lerobot, "preset", lambda name: PUBLISHED)
    monkeypatch.setattr(official, "_DEFAULTS", PUBLISHED)
    weights = as_published(tmp_path / "Evo1_SO100")
    _, said = shell.type(f"evo1 adopt '{pick_from_the_hub}' --robot so101")
    train = shell.follow(COMMAND.findall(said)[-1], to="train")
    tokenizer = shipped_checkpoint("xarm6") / "tokenizer"
    drives(shell.follow(f"{train} --from {weights} tokenizer={tokenizer}"))


def recorded_in_degrees(seconds: float) -> Recording:
    """As `ros2 bag record -a` has it: two arms, two cameras, and what nobody needs."""
    recording = Recording(types={})
    robot = load_robot(Path(__file__).parents[1] / "robots" / "so101.yaml")
    for topic in ("/front/image_raw", "/laptop/image_raw"):
        recording.types[topic] = IMAGE
        for k in range(round(seconds * 30)):
            recording.image(topic, k * 1000 / 30, picture(k))
    for who, topic in (("follower", "/so101/joint_states"), ("leader", "/leader/joint_states")):
        recording.types[topic] = JOINT_STATE
        names = [f"{who}_{name}" for name in robot.joint_names]
        for ms in range(-200, round(seconds * 1000) + 100, 10):
            turn = 0.3 * np.sin((ms + 50 * (who == "leader")) / 300 + np.arange(robot.width))
            degrees = np.degrees(np.array(robot.home) * 0.8 + turn)
            recording.add(topic, at(ms), joints_cdr(at(ms), degrees, names))
    say(recording, "/chatter", STRING, 100, "hello")
    return recording


def as_published(folder: Path) -> Path:
    """The authors' SO100 folder: official layout, random weights, the paper's widths alone."""
    save_checkpoint(
        folder,
        model=new_model(PUBLISHED, seed=5),
        stats=read_checkpoint(shipped_checkpoint("xarm6")).stats,
        interface=load_robot(Path(__file__).parents[1] / "robots" / "xarm6.yaml").interface,
        tokenizer_dir=None,
        layout="official",
    )
    for name in ("evo1_ros2.json", "robot.yaml", "README.md"):
        (folder / name).unlink()
    bounds = {"min": [-90] * 6, "max": [90] * 6}
    stats = {"so100": {"observation.state": bounds, "action": bounds}}
    (folder / "norm_stats.json").write_text(json.dumps(stats))
    (folder / "config.json").rename(folder / "model_config.json")
    (folder / "config.json").write_text(json.dumps({"type": "evo1"}))
    return folder
