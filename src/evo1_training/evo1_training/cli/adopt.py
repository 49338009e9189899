"""adopt: say once how somebody else's dataset is read as a robot's. Must not import ROS."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evo1_policy.command_line import Parser, entry_point, printable
from evo1_policy.paths import write_whole

if TYPE_CHECKING:
    from evo1_policy.robot_config import RobotConfig
    from evo1_training.datasets.reader.adoption import AdoptedJoint, AdoptedTool, Adoption
    from evo1_training.datasets.reader.folder import DatasetFolder
    from evo1_training.datasets.reader.suites import Array

_DESCRIPTION = """\
Read a LeRobot dataset of anybody (v2.0, v2.1, v3.0) as a robot's: which of its numbers are which
joints, what they count, which camera is which image slot; or what they say of the end effector.
Shows what it proposes, and writes it as one small file beside the dataset, DATASET.evo1.yaml;
nothing of the dataset is changed. From then on check-dataset, view, norm-stats and train read the
folder as that robot's, in radians; a policy of the end effector drives the joints of the robot
file by inverse kinematics.

Names are matched as people write them (shoulder_pan.pos, main_shoulder_pan). What names and
numbers do not decide is asked on a terminal, and refused elsewhere with the option that says it.
"""
_EPILOG = """\
units (LeRobot's words)
  rad, deg          deg of an SO-101 or SO-100: LeRobot's, from the middle of each calibrated range
  range_m100_100    -100..100 of each joint's calibrated range: needs --calibration
  range_0_100       0..100 likewise, of grippers
  range_0_1, range_1_0   a gripper, 1 open or 1 closed
  m                 metres, of a joint whose robot file is in metres
  a file of units, or the name of one that ships (so100_lerobot, xarm6_authors)

examples
  evo1 adopt ~/datasets/so101_pick --robot so101
  evo1 adopt ~/datasets/so101_pick --robot so101 --units deg \\
      --camera image_1=front --camera image_2=top
  evo1 adopt ~/datasets/so101_pick --robot so101 --units range_m100_100 \\
      --calibration ~/.cache/huggingface/lerobot/calibration/robots/so101_follower/mine.json
  evo1 adopt ~/datasets/so100_push --robot so100 --units so100_lerobot
  evo1 adopt DATASET --robot my_arm.yaml --joint elbow=motor_3 --units gripper=range_0_1
  evo1 adopt ~/datasets/libero --robot xarm6_10hz.yaml --end-effector libero
"""
_PICTURES = 6


@entry_point("adopt")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    # Lazily: pyarrow and matplotlib take a second, --help shall not.
    from evo1_policy.checkpoint_layouts.hub import local_dataset
    from evo1_policy.kinematics.end_effector import described
    from evo1_policy.robot_config import load_robot
    from evo1_training.datasets.reader import SampleOptions, TrainingSamples, open_folder
    from evo1_training.datasets.reader.adoption import read_adoption, robot_file
    from evo1_training.datasets.reader.dataset_config import adopted, dataset_spec
    from evo1_training.datasets.reader.proposal import OpenQuestionsError, Wanted, propose
    from evo1_training.datasets.reader.robot_check import check_rate
    from evo1_training.next_commands import command
    from evo1_training.viewing.drawing import draw_contact_sheet
    from evo1_training.viewing.in_dataset import view_dataset

    file = robot_file(options.robot)
    root = local_dataset(options.path).expanduser()
    robot, folder = load_robot(file), open_folder(root)
    check_rate(folder, robot.interface)
    wanted = Wanted(
        units=_pairs(options.units, "--units", bare=True),
        joints=_pairs(options.joint, "--joint"),
        cameras=_pairs(options.camera, "--camera"),
        calibration=options.calibration,
        state=options.state,
        action=options.action,
        in_order=options.in_order,
        end_effector=described(options.end_effector) if options.end_effector else None,
        gripper=options.gripper,
    )
    name = (
        str(file.resolve()) if str(file) == str(Path(options.robot).expanduser()) else robot.name
    )
    try:
        adoption = propose(folder, robot, name, wanted, _ask if sys.stdin.isatty() else None)
    except OpenQuestionsError as error:
        said = sys.argv[1:] if arguments is None else arguments
        example = command("adopt", *said, *error.words)
        raise ValueError(f"{error}. With the first answer to each: {example}") from error
    print("\n".join(printable(line, 400) for line in _table(folder, robot, adoption)))
    spec = adopted(dataset_spec(root, read=False), adoption)
    # What train would refuse is refused here.
    TrainingSamples(spec, SampleOptions(horizon=1, image_size=8), robot=robot).close()
    path, text = adoption.source, adoption.to_yaml()
    same = path.is_file() and path.read_bytes() == text.encode()
    if not same:
        write_whole(path, text, sync=False)
    read_adoption(folder.info)
    sheet = path.with_suffix(".png")
    draw_contact_sheet(view_dataset(root, 0, columns=_PICTURES), sheet)
    print(f"{sheet}: its cameras, by image slot")
    print(f"{path}: {'as it was' if same else 'written'}; remove it to read the dataset as it is")
    print(f"next: {command('check_dataset', root)}")
    print(f"      {command('train', '--stage', 1, '--dataset', root)}")
    return 0


def _pairs(given: Sequence[str], option: str, *, bare: bool = False) -> Mapping[str, str]:
    """NAME=VALUE, by name; a VALUE alone under '' where that is allowed."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals and bare:
            name, value = "", name
        if not value:
            raise ValueError(f"{option} {text}: expected NAME=VALUE")
        if found.setdefault(name, value) != value:
            raise ValueError(f"{option} {text}: {found[name]} was given for the same")
    return found


def _ask(question: str, answers: Sequence[str], option: str) -> str:
    """Ask the person at the terminal.

    Raises:
        ValueError: Ctrl-D.
    """
    print(printable(question, 2000))
    for number, answer in enumerate(answers, 1):
        print(f"  {number}  {printable(answer)}")
    while True:
        try:
            said = input(f"number (it is also {option}): ").strip()
        except EOFError:
            raise ValueError(f"no answer; say it with {option}") from None
        if said in answers:
            return said
        if said.isdecimal() and 1 <= int(said) <= len(answers):
            return answers[int(said) - 1]


def _table(folder: "DatasetFolder", robot: "RobotConfig", adoption: "Adoption") -> Iterator[str]:
    """What the numbers were and are, over state and action."""
    from evo1_training.datasets.reader.adoption import AdoptedTool
    from evo1_training.datasets.reader.columns import read_columns

    suite, numbers = adoption.suite, adoption.numbers
    columns = read_columns(folder, suite.columns)
    states, actions = suite.states(columns), suite.actions(columns)
    count = f"{len(folder.episodes)} episodes, {folder.rows} frames"
    yield f"{folder.root}: {count} at {adoption.fps} Hz, as {robot.name}"
    if isinstance(numbers, AdoptedTool):
        yield from _tool_rows(adoption, numbers, states, actions)
    else:
        yield from _joint_rows(robot, adoption, numbers, states, actions)
    yield from (f"image slot {slot}: {key}" for slot, key in adoption.cameras.items())
    left = set(folder.info.cameras) - set(adoption.cameras.values())
    yield from (f"left aside: {key}" for key in sorted(left))


def _tool_rows(
    adoption: "Adoption", tool: "AdoptedTool", states: "Array", actions: "Array"
) -> Iterator[str]:
    """Each number of state and action: as it stands there, and in metres and radians."""
    meaning = tool.meaning
    yield f"end effector: {meaning.action_space}, each action counts from {meaning.reference}"
    row = "{:<7} {:<10} {:<28} {:>19}   {:>19} {}"
    yield row.format("", "number", "column", "from", "to", "")
    for what, key, form, rows in (
        ("state", tool.state, meaning.state, states),
        ("action", tool.action, meaning.action, actions),
    ):
        if form is None or rows.shape[1] != len(form.names):
            continue  # what is wrong is said when the dataset is opened
        after, turns = form.in_units(rows), len(form.names) - len(form.grippers)
        for k, name in enumerate(form.names):
            turn = "" if form.rotation == "rotation_6d" else "rad"
            unit = "m" if k < 3 else turn if k < turns else "(0 open, 1 closed)"
            yield row.format(
                what,
                name,
                adoption.columns[key][k],
                f"{rows[:, k].min():.4g} .. {rows[:, k].max():.4g}",
                f"{after[:, k].min():.3f} .. {after[:, k].max():.3f}",
                unit,
            ).rstrip()


def _joint_rows(
    robot: "RobotConfig",
    adoption: "Adoption",
    joints: "Sequence[AdoptedJoint]",
    states: "Array",
    actions: "Array",
) -> Iterator[str]:
    """What each joint was and is; where it leaves its limits."""
    import numpy as np

    units = adoption.suite.units
    angles = np.concatenate([states, actions])  # (2N, D)
    numbers = units.from_rad(angles) if units is not None else angles
    row = "{:<20} {:<28} {:<15} {:>19}   {:>16}   {:>16}"
    yield row.format("joint", "number", "unit", "from", "to [rad]", "limits [rad]")
    for j, joint in enumerate(robot.joints):
        one = joints[j]
        key, place = one.state
        low, high = joint.position_min, joint.position_max
        beyond = (angles[:, j] < low) | (angles[:, j] > high)
        yield row.format(
            joint.name,
            adoption.columns[key][place],
            one.unit,
            f"{numbers[:, j].min():.4g} .. {numbers[:, j].max():.4g}",
            f"{angles[:, j].min():.2f} .. {angles[:, j].max():.2f}",
            f"{low:.2f} .. {high:.2f}",
        ) + (f"   beyond in {100 * beyond.mean():.2g} % of the frames" if beyond.any() else "")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "evo1 adopt",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("path", metavar="DATASET", help="folder of the dataset, or hub:user/name[@revision]")
    add(
        "--robot", required=True, metavar="ROBOT", help="a robot file, or so101, so100, xarm6, ..."
    )
    many = partial(add, action="append", default=[])
    units = "what the numbers count, of all joints or of one"
    many("--units", metavar="[JOINT=]UNIT", help=units)
    follower = "LeRobot's calibration of the arm that was recorded (the follower)"
    add("--calibration", type=Path, metavar="FILE", help=follower)
    which = "which number is a joint of the robot file, by its name or place (0 and on)"
    many("--joint", metavar="JOINT=NAME", help=which)
    add("--in-order", action="store_true", help="the numbers are the joints in their order")
    camera = "which camera is an image slot, such as image_1=front"
    many("--camera", metavar="SLOT=NAME", help=camera)
    add("--state", default="", metavar="COLUMN", help="measured positions, if not the usual one")
    add("--action", default="", metavar="COLUMN", help="demonstrated ones, likewise")
    meaning = "the numbers are the end effector's: libero, libero_authors, bridge, or a YAML file"
    add("--end-effector", default="", metavar="NAME", help=meaning)
    ends = "with it: the gripper's number in the actions, where that differs"
    add("--gripper", type=_ends, metavar="OPEN,CLOSED", help=ends)
    return parser


def _ends(text: str) -> tuple[float, float]:
    opened, closed = (float(part) for part in text.split(","))
    return opened, closed


if __name__ == "__main__":
    sys.exit(main())
