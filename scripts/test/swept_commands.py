"""The command lines of the sweep, each with one input in it."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line with one input in it.

    Attributes:
        words: `{}` is the input, `{out}` an empty folder, `{good}` the folder of good things.
        reads: the folder of which it meets every damaged copy: episode, run, dataset, checkpoint.
        writes: whether the input is what it is asked to write to.
        node: whether it runs until it is told to end.
    """

    module: str
    words: tuple[str, ...]
    reads: str = ""
    writes: bool = False
    node: bool = False

    @property
    def sound(self) -> str:
        """The good thing on which it must succeed; '' where there is none that fits."""
        fits = not self.writes and not self.node and not self.module.endswith("replay")
        return {"episode": "episode_000000"}.get(self.reads, self.reads) if fits else ""

    def line(self, path: Path, home: Path, out: Path) -> list[str]:
        """Its arguments for one input."""
        places = {"{out}": str(out), "{good}": str(home / "good"), "{}": str(path)}
        words = list(self.words)
        if "\n" in str(path):  # YAML would fold it to a space, which names another file
            words = [word.replace(":={}", f":={json.dumps(str(path))}") for word in words]
        for key, value in places.items():
            words = [word.replace(key, value) for word in words]
        return words


def _command(
    module: str, text: str, reads: str = "", *, writes: bool = False, node: bool = False
) -> Command:
    words = tuple(text.split())
    return Command(module=module, words=words, reads=reads, writes=writes, node=node)


_CLI, _TRAIN = "evo1_bringup.cli", "evo1_training.cli"
_SHORT = (
    "--single-stage --runs {out}/runs steps=1 batch_size=1 data.workers=0 data.holdout=0 "
    "watching.plots=false watching.tensorboard=false"
)
_NODE = "--ros-args -p robot_file:={good}/robot.yaml -p"
COMMANDS = (
    _command(_CLI, "launch so100 --dry-list robot_file:={}"),
    _command(_CLI, "launch xarm6 --dry-list checkpoint:={}", "checkpoint"),
    _command(_CLI, "launch so100 --dry-list port:=/dev/null calibration:={} checkpoint:={}"),
    _command(_CLI, "launch xarm6 --dry-list params_file:={}"),
    _command(_CLI, "launch xarm6 --dry-list robot_ip:=1.2.3.4 teleop:=true cameras:={}"),
    _command(f"{_TRAIN}.convert", "{} --to {out}/dataset --workers 1", "episode"),
    _command(
        f"{_TRAIN}.convert",
        "{good}/episode_000000 --to {} --append --workers 1",
        "dataset",
        writes=True,
    ),
    _command(f"{_TRAIN}.convert", "{good}/episode_000000 --to {} --workers 1", writes=True),
    _command(
        f"{_TRAIN}.convert",
        "{} --robot {good}/two_joints.yaml --instruction x --to {out}/dataset --workers 1",
        "episode",
    ),
    _command(
        f"{_TRAIN}.convert",
        "{good}/episode_000000 --robot {good}/two_joints.yaml --map {} --to {out}/new --workers 1",
    ),
    _command(f"{_TRAIN}.edit_dataset", "{} --trim 0:2-12 --to {out}/new", "dataset"),
    _command(f"{_TRAIN}.edit_dataset", "{good}/dataset {} --to {out}/new", "dataset"),
    _command(f"{_TRAIN}.recover", "{}", "episode", writes=True),
    _command(f"{_TRAIN}.recover", "--dry-run {}", "episode"),
    _command(f"{_TRAIN}.check_dataset", "{} --json {out}/a.json --report {out}/report", "dataset"),
    _command(f"{_TRAIN}.check_dataset", "{} --quick", "dataset"),
    _command(f"{_TRAIN}.view", "{} --out {out}", "dataset"),
    _command(
        f"{_TRAIN}.adopt", "{} --robot {good}/two_joints.yaml --units rad", "dataset", writes=True
    ),
    _command(f"{_TRAIN}.adopt", "{good}/dataset --robot {good}/two_joints.yaml --calibration {}"),
    _command(f"{_TRAIN}.adopt", "{good}/dataset --robot {}"),
    _command(f"{_TRAIN}.train", f"{_SHORT} --dataset {{}}", "dataset"),
    _command(f"{_TRAIN}.train", "--single-stage --print-config --config {}"),
    _command(f"{_TRAIN}.train", f"{_SHORT} --groups {{}}"),
    _command(f"{_TRAIN}.train", f"{_SHORT} --dataset {{good}}/dataset --robot {{}}"),
    _command(f"{_TRAIN}.train", f"{_SHORT} --dataset {{good}}/dataset --norm-stats {{}}"),
    _command(f"{_TRAIN}.train", f"{_SHORT} --dataset {{good}}/dataset --from {{}}", "checkpoint"),
    _command(f"{_TRAIN}.train", f"{_SHORT} --dataset {{good}}/dataset --backbone {{}}"),
    _command(f"{_TRAIN}.train", "--stage 2 --runs {}"),
    _command(f"{_TRAIN}.norm_stats", "{} --out {out}/stats.json", "dataset"),
    _command(f"{_TRAIN}.norm_stats", "{good}/dataset --robot {} --out {out}/stats.json"),
    _command(
        f"{_TRAIN}.evaluate", "--checkpoint {} --trials 1 --workers 1 --limit-s 1", "checkpoint"
    ),
    _command(f"{_TRAIN}.evaluate", "--expert --robot {} --trials 1 --workers 1 --limit-s 1"),
    _command(f"{_TRAIN}.rehearse", "--robot {} --episodes 1 --workers 1 --root {out}"),
    _command("evo1_policy.cli.convert_checkpoint", "{} {out}/policy --to own", "checkpoint"),
    _command(
        "evo1_policy.cli.convert_checkpoint",
        "{good}/checkpoint {} --to official",
        "checkpoint",
        writes=True,
    ),
    *(
        _command(
            "evo1_policy.cli.convert_checkpoint",
            f"{{good}}/checkpoint {{out}}/policy --to own --{option} {{}}",
        )
        for option in ("robot", "units", "tokenizer")
    ),
    _command("evo1_policy.cli.serve", "{} --protocol authors:0", "checkpoint", node=True),
    _command("evo1_policy.cli.serve", "{good}/checkpoint --interface {}", node=True),
    _command("evo1_policy.cli.serve", "{good}/checkpoint --token-file {}", node=True),
    _command(f"{_TRAIN}.train", f"--dataset {{good}}/dataset --interface {{}} {_SHORT}"),
    _command("evo1_policy.cli.replay", "{} --json {out}/a.json", "run"),
    _command("evo1_policy.cli.replay", "{good}/run --robot {}"),
    _command("evo1_policy.cli.replay", "{good}/run --checkpoint {}", "checkpoint"),
    _command("evo1_bringup.drivers.calibrate", "--port {} --to {out}/calibration.json"),
    _command("evo1_bringup.drivers.calibrate", "--port {out}/none --to {} --overwrite"),
)
ROS_COMMANDS = (
    *(
        _command(module, "--ros-args -p robot_file:={}", node=True)
        for module in (
            "evo1_policy.ros.policy_node",
            "evo1_sim.ros.sim_node",
            "evo1_bringup.ros.so100_driver_node",
            "evo1_sim.ros.so100_emulator_node",
            "evo1_bringup.ros.teleop_relay_node",
            "evo1_bringup.ros.gripper_bridge_node",
            "evo1_bringup.ros.xarm_direct_node",
        )
    ),
    *(
        _command("evo1_policy.ros.policy_node", f"{_NODE} {name}:={{}}", name, node=True)
        for name in ("checkpoint", "tokenizer", "units")
    ),
    _command(
        "evo1_bringup.ros.so100_driver_node",
        f"{_NODE} calibration:={{}} -p port:={{out}}/none",
        node=True,
    ),
    _command("evo1_bringup.ros.so100_driver_node", f"{_NODE} port:={{}}", node=True),
    _command(
        "evo1_sim.ros.so100_emulator_node",
        f"{_NODE} calibration:={{}} -p port:={{out}}/tty",
        node=True,
    ),
    _command(
        "evo1_training.ros.recorder_node",
        "--ros-args -p root:={out}/episodes -p robot_file:={}",
        node=True,
    ),
    _command("evo1_training.ros.recorder_node", f"{_NODE} root:={{}}", writes=True, node=True),
    _command("evo1_bringup.ros.teleop_node", "--robot so100 --robot-file {}", node=True),
    _command(
        "evo1_bringup.ros.teleop_node",
        "--robot so100 --device leader --port {} --calibration {}",
        node=True,
    ),
)
